"""Backups: one file with the database and what lies beside it, taken while the server runs.

    grandstand-….tar.zst
        backup.json             format, versions, when; first, so that it is known what comes
        files/models/…          models, checkpoints
        files/scenarios/…       scenarios of one's own
        database                of this moment, see `store/snapshot.py`
        manifest.json           SHA-256 of every file, what the database holds; last, so that a
                                backup that was cut short has none

A checkpoint is never newer than what the database has of its session, so files are taken first:
put back, a training goes on from its newest checkpoint and repeats what is stored already. What a
session leaves when it ends is looked for once more afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import grandstand
from grandstand.errors import Unavailable
from grandstand.model.checkpoints import FOLDER, damage, episode_of, sync
from grandstand.store import snapshot
from grandstand.store.snapshot import Facts

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SUFFIX: Final = ".tar.zst"
FORMAT: Final = 1
HEAD, DATABASE, MANIFEST, FILES = "backup.json", "database", "manifest.json", "files"
IN_MEMORY: Final = 32 * 2**20
"""Bytes of a file that are held in memory while it is taken; larger ones are on disk meanwhile."""
PIECE: Final = 2**20
LEVEL: Final = 3
PASSES: Final = 5
"""How often a training's checkpoints are looked for anew that are removed faster than taken."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a server keeps what is worth keeping.

    Attributes:
        database: its URL.
        folders: name in the backup → folder; one that is not there is left out.
    """

    database: str
    folders: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds.

    Attributes:
        version: of Grandstand that took it.
        kind: of database: ``sqlite`` or ``postgresql``.
        files: of models, checkpoints and scenarios.
        size_bytes: of the backup itself.
        damaged: checkpoints that were damaged before they were taken, each with the reason.
    """

    file: Path
    version: str
    kind: str
    created_at: datetime
    facts: Facts
    files: int
    size_bytes: int
    damaged: list[str] = field(default_factory=list)


def default_name(at: datetime) -> str:
    """The name of a backup taken at a moment; names in order are times in order."""
    return f"grandstand-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}{SUFFIX}"


def older(folder: Path, keep: int) -> list[Path]:
    """The backups in a folder that bear such names, but for the newest `keep`; oldest first."""
    return sorted(folder.glob(f"grandstand-????????T??????Z{SUFFIX}"))[:-keep]


def take(places: Places, target: Path, at: datetime) -> Backup:
    """Write a backup; it has its name only once it is whole and on disk.

    Args:
        places: what to keep; servers may go on writing there.
        target: the file to make; replaced if it exists.
        at: the present.

    Raises:
        NotFound: there is no database of ours.
        Unavailable: the database cannot be read, or the target not written.
    """
    kind = snapshot.kind_of(places.database)
    schema = snapshot.schema_of(places.database)
    writing = target.with_name(f".{target.name}.writing")
    copied = target.with_name(f".{target.name}.database")
    damaged: list[str] = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(target, error) from error
    try:
        with _for_us_alone(writing) as raw:
            with (
                zstd.open(raw, "wb", options=_options()) as packed,
                tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
            ):
                into = _Archive(tar)
                head = {
                    "format": FORMAT,
                    "grandstand": grandstand.__version__,
                    "database": kind,
                    "schema": schema,
                    "created_at": at.astimezone(UTC).isoformat(),
                }
                into.add_bytes(HEAD, json.dumps(head, indent=2).encode())
                for name, folder in places.folders.items():
                    damaged += _take_folder(into, f"{FILES}/{name}", folder)
                facts = snapshot.take(places.database, copied)
                for name, folder in places.folders.items():
                    _take_changed(into, f"{FILES}/{name}", folder)
                with copied.open("rb") as content:
                    into.add(DATABASE, content, copied.stat().st_mtime)
                manifest = {
                    "files": into.digests,
                    "links": into.links,
                    "schema": facts.schema,
                    "batches": facts.batches,
                    "sessions": facts.sessions,
                }
                into.add_bytes(MANIFEST, json.dumps(manifest).encode())
            raw.flush()
            os.fsync(raw.fileno())
        writing.rename(target)
        sync(target.parent)
    except OSError as error:
        raise not_written(target, error) from error
    finally:
        for left in (writing, copied):
            left.unlink(missing_ok=True)
    files = sum(name.startswith(f"{FILES}/") for name in into.digests)
    return Backup(
        target, grandstand.__version__, kind, at, facts, files, target.stat().st_size, damaged
    )


class _Archive:
    """A tar being written, with what was put into it.

    Attributes:
        digests: name → SHA-256 and size; of a name written twice, the later one counts.
        links: name → where it points to.
        seen: name → what the file looked like when it was taken.
    """

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.digests: dict[str, tuple[str, int]] = {}
        self.links: dict[str, str] = {}
        self.seen: dict[str, tuple[int, int, int]] = {}

    def add_bytes(self, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        info.mode = 0o600
        with tempfile.SpooledTemporaryFile(len(content) + 1) as spool:
            spool.write(content)
            spool.seek(0)
            self._tar.addfile(info, spool)

    def add(self, name: str, source: IO[bytes], modified_at: float) -> None:
        """Add a file that does not change."""
        info = tarfile.TarInfo(name)
        info.size = os.fstat(source.fileno()).st_size
        info.mtime = modified_at
        info.mode = 0o600
        hashing = _Hashing(source)
        self._tar.addfile(info, hashing)
        self.digests[name] = (hashing.digest(), info.size)

    def add_living(self, name: str, source: IO[bytes]) -> None:
        """Add a file that may be written to meanwhile, as it is once it was read."""
        stat = os.fstat(source.fileno())
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as spool:
            shutil.copyfileobj(source, spool, PIECE)
            info = tarfile.TarInfo(name)
            info.size = spool.tell()
            info.mtime = stat.st_mtime
            info.mode = 0o600
            spool.seek(0)
            hashing = _Hashing(spool)
            self._tar.addfile(info, hashing)
        self.digests[name] = (hashing.digest(), info.size)
        self.seen[name] = _looks(stat)

    def add_link(self, name: str, target: str) -> None:
        info = tarfile.TarInfo(name)
        info.type = tarfile.SYMTYPE
        info.linkname = target
        self._tar.addfile(info)
        self.links[name] = target


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece: bytes = self._source.read(size)
        self._hash.update(piece)
        return piece

    def digest(self) -> str:
        return self._hash.hexdigest()


def _take_folder(into: _Archive, above: str, folder: Path) -> list[str]:
    """Put a folder's files into the archive; gives the checkpoints that were damaged."""
    damaged = []
    for path, name in _walk(folder, above):
        if path.name == FOLDER and path.is_dir() and not path.is_symlink():
            damaged += _take_checkpoints(into, name, path)
        else:
            _take_file(into, name, path)
    return damaged


def _take_changed(into: _Archive, above: str, folder: Path) -> None:
    """Take again what was made or replaced since, other than checkpoints."""
    for path, name in _walk(folder, above):
        if path.is_symlink():
            if into.links.get(name) != _target(path):
                _take_file(into, name, path)
        elif path.is_file():
            with contextlib.suppress(FileNotFoundError):
                if into.seen.get(name) != _looks(path.stat()):
                    _take_file(into, name, path)


def _walk(folder: Path, above: str) -> Iterator[tuple[Path, str]]:
    """What is in a folder, in order, but not what is being written or was put aside; folders of
    checkpoints as a whole."""
    try:
        entries = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in entries:
        name = f"{above}/{path.name}"
        if path.name.startswith("."):
            continue
        inside = path.is_dir() and not path.is_symlink()
        if inside and not (path.name == FOLDER and _has_checkpoints(path)):
            yield from _walk(path, name)
        else:
            yield path, name


def _has_checkpoints(folder: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return any(episode_of(p) is not None and not p.is_symlink() for p in folder.iterdir())
    return False


def _take_file(into: _Archive, name: str, path: Path) -> None:
    if path.is_symlink():
        # Only those that show something of ours: `models/NAME_agent.pt` is one.
        if (target := _target(path)) is not None:
            into.add_link(name, target)
        return
    if not path.is_file():
        return
    with contextlib.suppress(FileNotFoundError), path.open("rb") as source:
        into.add_living(name, source)


def _target(path: Path) -> str | None:
    """Where a relative link leads; None for any other."""
    with contextlib.suppress(OSError):
        target = path.readlink()
        return None if target.is_absolute() else target.as_posix()
    return None


def _take_checkpoints(into: _Archive, above: str, folder: Path) -> list[str]:
    """Put a session's checkpoints into the archive, the newest first: old ones are removed while a
    training goes on. Each whole or not at all."""
    damaged: list[str] = []
    for _ in range(PASSES):
        names = (
            [p for p in folder.iterdir() if episode_of(p) is not None] if folder.is_dir() else []
        )
        taken = False
        for path in sorted(names, key=lambda p: episode_of(p) or 0, reverse=True):
            with contextlib.ExitStack() as stack:
                try:
                    # All opened before any is read: what is open stays whole if it is removed.
                    opened = [
                        (inner.name, stack.enter_context(inner.open("rb")))
                        for inner in sorted(path.iterdir())
                        if inner.is_file()
                    ]
                except FileNotFoundError:
                    continue  # removed meanwhile: there are newer ones
                for inner_name, source in opened:
                    into.add_living(f"{above}/{path.name}/{inner_name}", source)
                taken = True
                if path.is_dir() and (why := damage(path)) is not None and path.is_dir():
                    damaged.append(f"{path}: {why}")
        if taken or not names:
            return damaged
    return damaged


def _looks(stat: os.stat_result) -> tuple[int, int, int]:
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _options() -> dict[int, int]:
    return {
        int(zstd.CompressionParameter.compression_level): LEVEL,
        int(zstd.CompressionParameter.checksum_flag): 1,
    }


def _for_us_alone(path: Path) -> IO[bytes]:
    """A file that only this user may read: password hashes and signing keys are in a backup."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def not_written(target: Path | str, error: OSError) -> Unavailable:
    return Unavailable(
        f"{target} cannot be written: {error.strerror or error}",
        code="not_writable",
        detail="Nothing of it was kept; make room there, or choose another place.",
    )
