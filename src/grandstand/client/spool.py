"""Records on disk while the server is away, so that neither a long absence nor the end of the
training loses them.

A spool is one session's folder below `.grandstand` (`GRANDSTAND_SPOOL`)::

    session.json    which session, at which server, and how to open it there; no token
    records.bin     frames, appended: a head (kind, rows, length, CRC-32), then the body to post
    sent.bin        how many bytes of records.bin the server has acknowledged

It is made when it is needed and removed when the server has everything. Each body carries its
batch id, so sending one twice stores it once. A frame that was being written when the process was
killed is recognised by its checksum and left out. `grandstand sync` sends what a process left
behind (`sync.py`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple

import msgspec

try:
    import fcntl
except ImportError:  # Windows: two programs on one spool are then not kept apart
    fcntl = None  # type: ignore[assignment]

SESSION: Final = "session.json"
RECORDS: Final = "records.bin"
SENT: Final = "sent.bin"
DEFAULT_FOLDER: Final = ".grandstand"
OFF: Final = "off"
LIMIT_BYTES: Final = 2**30
"""Most that one session leaves on disk; then the oldest wait in memory and are dropped there."""

Kind = Literal["records", "finish"]
_KINDS: Final[dict[Kind, bytes]] = {"records": b"R", "finish": b"F"}
_NAMES: Final[dict[bytes, Kind]] = {mark: name for name, mark in _KINDS.items()}
_HEAD: Final = struct.Struct("<cIII")
_POSITION: Final = struct.Struct("<Q")


class Frame(NamedTuple):
    """One request that waits: its body, and where it ends in the file."""

    kind: Kind
    rows: int
    body: bytes
    end: int


class SpoolFull(OSError):
    """No more is taken: the spool has reached its bound."""


def spool_folder(env: Mapping[str, str] = os.environ) -> Path | None:
    """Where spools go: ``GRANDSTAND_SPOOL``, else `.grandstand` in the working directory; None when
    it says "off"."""
    told = env.get("GRANDSTAND_SPOOL", "").strip()
    if told.lower() == OFF:
        return None
    return Path(told or DEFAULT_FOLDER).expanduser().absolute()


class Spool:
    """What one session has waiting on disk. One thread at a time.

    Args:
        parent: folder of all spools; it and the session's own are made with the first record.
        session: for `session.json`: ``session_id``, ``url`` and ``opening``.
        limit: most bytes.
    """

    def __init__(
        self, parent: Path, session: Mapping[str, Any], *, limit: int = LIMIT_BYTES
    ) -> None:
        self.parent = parent
        self.folder: Path | None = None
        self._session = dict(session)
        self._limit = limit
        self._file: IO[bytes] | None = None
        self._marker: IO[bytes] | None = None
        self._size = 0
        self._sent = 0

    @property
    def waiting(self) -> bool:
        """Whether it holds anything the server has not acknowledged."""
        return self._sent < self._size

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self._size

    def append(self, kind: Kind, rows: int, body: bytes) -> int:
        """Put a request behind the others, and on the disk itself; returns where it ends.

        Raises:
            OSError: the disk is full, the folder cannot be written; `SpoolFull` beyond the limit.
        """
        if self._size + len(body) > self._limit:
            raise SpoolFull(f"the spool has reached {self._limit:,} bytes")
        file = self._file or self._open()
        begin = self._size
        head = _HEAD.pack(_KINDS[kind], rows, len(body), zlib.crc32(body))
        try:
            file.write(head + body)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            # Half a frame must not lie between two whole ones.
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), begin)
                file.seek(begin)
            raise
        self._size = begin + len(head) + len(body)
        return self._size

    def first(self) -> Frame | None:
        """The oldest request that is not acknowledged."""
        if self._file is None or not self.waiting:
            return None
        return _read(self._file.fileno(), self._sent)

    def done(self, frame: Frame) -> None:
        """The server has it."""
        self._sent = frame.end
        if self._marker is not None:
            os.pwrite(self._marker.fileno(), _POSITION.pack(frame.end), 0)

    def note_opened(self) -> None:
        """The session exists at the server now, and need not be opened by who comes later."""
        self._session["opened"] = True
        if self.folder is not None:
            _write_session(self.folder, self._session)

    def remove(self) -> None:
        """Forget it all, on disk too."""
        folder = self.folder
        self.leave()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.parent.rmdir()  # if it was the last

    def twin(self) -> Spool:
        """An empty one of its own for a forked process; these files stay the parent's."""
        return Spool(self.parent, self._session, limit=self._limit)

    def leave(self) -> None:
        """Let go of the files; they stay for `grandstand sync`."""
        for file in (self._file, self._marker):
            if file is not None:
                file.close()
        self._file = self._marker = self.folder = None
        self._size = self._sent = 0

    def _open(self) -> IO[bytes]:
        name = f"{self._session['session_id']}-{os.getpid()}-{secrets.token_hex(3)}"
        folder = self.parent / name
        folder.mkdir(parents=True)
        file = (folder / RECORDS).open("w+b")
        self._marker = (folder / SENT).open("w+b")
        self._marker.write(_POSITION.pack(0))
        self._marker.flush()
        lock(file)
        _write_session(folder, self._session)
        self.folder, self._file = folder, file
        return file


class Left:
    """A spool that a process has left behind, to be sent by another. A context manager.

    Attributes:
        session: what its `session.json` says.
    """

    def __init__(self, folder: Path) -> None:
        """Raises:
        OSError: it cannot be read; `BlockingIOError` while the process that writes it is alive.
        ValueError: it is no spool.
        """
        self.folder = folder
        try:
            found = msgspec.json.decode((folder / SESSION).read_bytes())
        except msgspec.DecodeError as error:
            raise ValueError(f"{folder / SESSION} is damaged: {error}") from error
        if not isinstance(found, dict) or not isinstance(found.get("session_id"), str):
            raise ValueError(f"{folder / SESSION} is damaged: it names no session")
        self.session: dict[str, Any] = found
        self._file = (folder / RECORDS).open("rb")
        try:
            lock(self._file)
            self._marker = (folder / SENT).open("r+b")
        except OSError:
            self._file.close()
            raise
        told = self._marker.read(_POSITION.size)
        self._sent: int = _POSITION.unpack(told)[0] if len(told) == _POSITION.size else 0

    def frames(self) -> Iterator[Frame]:
        """What is left to send, in order; up to the first that was not written whole."""
        while (frame := _read(self._file.fileno(), self._sent)) is not None:
            yield frame
            self._sent = frame.end
            os.pwrite(self._marker.fileno(), _POSITION.pack(frame.end), 0)

    def rows(self) -> int:
        """Records (rows counted) that are left to send."""
        at, rows = self._sent, 0
        while (frame := _read(self._file.fileno(), at)) is not None:
            at, rows = frame.end, rows + frame.rows
        return rows

    def note(self, **changes: Any) -> None:
        """Change `session.json`."""
        self.session |= changes
        _write_session(self.folder, self.session)

    def remove(self) -> None:
        """Everything is sent: delete it."""
        shutil.rmtree(self.folder)

    def __enter__(self) -> Left:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._marker.close()


def lock(file: IO[bytes]) -> None:
    """Keep other processes off this spool for as long as the file is open.

    Raises:
        BlockingIOError: another process has it.
    """
    if fcntl is not None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def spools_in(folder: Path) -> list[Path]:
    """The spools in a folder, oldest first; the folder may also be one itself."""
    if (folder / SESSION).is_file():
        return [folder]
    found = [path.parent for path in folder.glob(f"*/{SESSION}")]
    return sorted(found, key=lambda path: (path.stat().st_mtime, path.name))


def _read(descriptor: int, at: int) -> Frame | None:
    """The frame that begins at `at`; None at the end, or where one was not written whole."""
    head = os.pread(descriptor, _HEAD.size, at)
    if len(head) < _HEAD.size:
        return None
    mark, rows, length, checksum = _HEAD.unpack(head)
    body = os.pread(descriptor, length, at + _HEAD.size)
    if mark not in _NAMES or len(body) < length or zlib.crc32(body) != checksum:
        return None
    return Frame(_NAMES[mark], rows, body, at + _HEAD.size + length)


def _write_session(folder: Path, session: Mapping[str, Any]) -> None:
    aside = folder / f".{SESSION}.part"
    aside.write_bytes(msgspec.json.encode(session))
    aside.replace(folder / SESSION)
