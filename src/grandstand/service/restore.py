"""Putting a backup back. It is read through and verified before anything of the server is touched.

What a backup is, says `backups.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import posixpath
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

import grandstand
from grandstand.errors import Conflict, NotFound, ValidationFailed
from grandstand.model.checkpoints import sync
from grandstand.service.backups import (
    DATABASE,
    FILES,
    FORMAT,
    HEAD,
    MANIFEST,
    PIECE,
    Backup,
    Places,
    not_written,
)
from grandstand.store import snapshot
from grandstand.store.snapshot import Facts

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@dataclass(frozen=True, slots=True)
class Restored:
    """What `restore` did; `kept` says where what was there before lies now."""

    backup: Backup
    kept: list[str]


def check(file: Path) -> Backup:
    """Read a backup through, and compare all that is in it with what its manifest says.

    Raises:
        NotFound: there is no such file.
        ValidationFailed: it is no backup, or damaged (code ``backup_damaged``).
        Conflict: it is newer than this version understands.
    """
    with tempfile.TemporaryDirectory(prefix="grandstand-check-") as folder:
        return _unpack(file, Path(folder) / DATABASE, {})


def restore(places: Places, file: Path, at: datetime, *, force: bool = False) -> Restored:
    """Put a backup back. Nothing is touched before all of it was read and found whole.

    Args:
        places: where to. No server may use them.
        file: the backup.
        at: the present; names what is kept.
        force: put aside what is there. Without, nothing may be.

    Raises:
        Conflict: something is there, or in use, or the backup is of another kind of database or
            newer than this version understands.
        NotFound, ValidationFailed: see `check`.
        Unavailable: the disk is full or not writable, the database does not take it.
    """
    head = _head_of(file)
    kind = snapshot.kind_of(places.database)
    if head["database"] != kind:
        raise Conflict(
            f"this is a backup of {head['database']}, and the settings name {kind}",
            code="other_database",
            detail="Set DATABASE_URL to a database of the same kind.",
        )
    in_the_way = [str(folder) for folder in places.folders.values() if _visible(folder)]
    if snapshot.occupied(places.database):
        snapshot.check_replaceable(places.database, head["schema"])
        in_the_way.insert(0, "the database")
    if in_the_way and not force:
        raise Conflict(
            f"there is something already: {', '.join(in_the_way)}",
            code="would_overwrite",
            detail="Choose an empty place (--data-dir), or put what is there aside with --force.",
        )
    aside = f".before-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    staged = {name: folder / ".restoring" for name, folder in places.folders.items()}
    database = _beside(places)
    kept: list[str] = []
    try:
        for folder in staged.values():
            shutil.rmtree(folder, ignore_errors=True)  # of a restore that was cut short
        found = _unpack(file, database, staged)
        for name, folder in places.folders.items():
            kept += _move_in(folder, staged[name], aside)
        was = snapshot.put_back(places.database, database, found.facts, aside)
        if was is not None:
            kept.insert(0, was)
    except OSError as error:
        raise not_written(error.filename or file, error) from error
    finally:
        database.unlink(missing_ok=True)
        for folder in staged.values():
            shutil.rmtree(folder, ignore_errors=True)
    return Restored(found, kept)


def _head_of(file: Path) -> dict[str, Any]:
    """What a backup says of itself.

    Raises:
        NotFound, ValidationFailed, Conflict: see `check`.
    """
    with _reading(file) as tar:
        first = tar.next()
        if first is None or first.name != HEAD:
            raise _damaged(f"{file} is no backup of Grandstand")
        return _head(tar, first)


def _head(tar: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    head: dict[str, Any] = json.loads(_content(tar, member).read())
    if head["format"] > FORMAT or head["schema"] > snapshot.HEAD:
        raise Conflict(
            f"this backup is of Grandstand {head['grandstand']}, which is newer than this "
            f"({grandstand.__version__})",
            code="backup_too_new",
            detail=f"Restore it with Grandstand {head['grandstand']} or newer.",
        )
    return head


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with zstd.open(file, "rb") as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
            yield tar
    except FileNotFoundError as error:
        if error.filename != str(file):
            raise
        raise NotFound(f"there is no backup {file}", code="backup_not_found") from error
    except (tarfile.TarError, zstd.ZstdError, EOFError, KeyError, ValueError) as error:
        raise _damaged(f"{file} cannot be read to its end ({error})") from error


def _unpack(file: Path, database: Path, folders: Mapping[str, Path]) -> Backup:
    """Read a backup through, check it, and write what is wanted of it.

    Args:
        database: the file its database is written into.
        folders: name in the backup → folder its files are written into; others are only checked.

    Raises:
        NotFound, ValidationFailed, Conflict: see `check`.
        OSError: the disk is full or not writable.
    """
    head: dict[str, Any] = {}
    manifest: dict[str, Any] = {}
    digests: dict[str, tuple[str, int]] = {}
    links: dict[str, str] = {}
    with _reading(file) as tar:
        for member in tar:
            if member.name == HEAD:
                head = _head(tar, member)
            elif member.name == MANIFEST:
                manifest = json.loads(_content(tar, member).read())
            elif member.name == DATABASE:
                database.parent.mkdir(parents=True, exist_ok=True)
                digests[DATABASE] = _write(_content(tar, member), database)
            else:
                place = _place(member.name, folders)
                if member.issym():
                    links[member.name] = member.linkname
                    _check_link(member)
                    if place is not None:
                        place.parent.mkdir(parents=True, exist_ok=True)
                        place.unlink(missing_ok=True)
                        place.symlink_to(member.linkname)
                    continue
                digests[member.name] = _write(_content(tar, member), place)
                if place is not None:
                    os.utime(place, (member.mtime, member.mtime))
    if not head or not manifest:
        raise _damaged(f"{file} is no whole backup of Grandstand: it has no manifest")
    told = {name: (str(sha), int(size)) for name, (sha, size) in manifest["files"].items()}
    if digests != told or links != manifest["links"]:
        wrong = sorted(
            name for name in digests.keys() | told.keys() if digests.get(name) != told.get(name)
        )
        raise _damaged(f"not what the manifest says: {', '.join(wrong[:5]) or 'its links'}")
    facts = Facts(manifest["schema"], manifest["batches"], manifest["sessions"])
    snapshot.check_file(head["database"], database, facts)
    return Backup(
        file,
        head["grandstand"],
        head["database"],
        datetime.fromisoformat(head["created_at"]),
        facts,
        sum(name.startswith(f"{FILES}/") for name in digests),
        file.stat().st_size,
    )


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        raise _damaged(f"it holds {member.name!r}, which is no file")
    return content


def _place(name: str, folders: Mapping[str, Path]) -> Path | None:
    """Where a file belongs, None where it is not wanted.

    Raises:
        ValidationFailed: its name leads elsewhere.
    """
    parts = PurePosixPath(name).parts
    if len(parts) < 3 or parts[0] != FILES or ".." in parts or "\\" in name or "\0" in name:
        raise _damaged(f"it holds {name!r}")
    folder = folders.get(parts[1])
    if folder is None:
        return None
    place = folder.joinpath(*parts[2:])
    # A link of the backup itself must not lead what comes after it out of the folder.
    if folder.exists() and not place.parent.resolve().is_relative_to(folder.resolve()):
        raise _damaged(f"it holds {name!r}, which leads elsewhere")
    return place


def _check_link(member: tarfile.TarInfo) -> None:
    """Raises ValidationFailed: a link that leads out of its folder."""
    inside = PurePosixPath(*PurePosixPath(member.name).parts[:2])
    leads = posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname))
    if not PurePosixPath(leads).is_relative_to(inside):
        raise _damaged(f"it holds {member.name!r}, which leads elsewhere")


def _write(content: IO[bytes], place: Path | None) -> tuple[str, int]:
    """Write a file, durable when this returns, or only hash it; gives SHA-256 and size."""
    digest = hashlib.sha256()
    size = 0
    with contextlib.ExitStack() as stack:
        target = None
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            target = stack.enter_context(place.open("wb"))
        while piece := content.read(PIECE):
            digest.update(piece)
            size += len(piece)
            if target is not None:
                target.write(piece)
        if target is not None:
            target.flush()
            os.fsync(target.fileno())
    return digest.hexdigest(), size


def _move_in(folder: Path, staged: Path, aside: str) -> list[str]:
    """Make a folder hold what is staged in it; what it held goes into one named `aside`. It is not
    renamed itself: it may be a volume."""
    kept = []
    if old := _visible(folder):
        away = folder / aside
        away.mkdir()
        for path in old:
            path.rename(away / path.name)
        kept.append(str(away))
    if staged.is_dir():
        for path in sorted(staged.iterdir()):
            path.rename(folder / path.name)
        sync(folder)
    return kept


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _beside(places: Places) -> Path:
    """Where the database is unpacked: on the disk it will be on, so that it is moved at once."""
    file = snapshot.file_of(places.database)
    if file is not None:
        return file.with_name(f".{file.name}.restoring")
    return next(iter(places.folders.values())) / ".restoring-database"


def _damaged(why: str) -> ValidationFailed:
    return ValidationFailed(
        f"the backup cannot be used: {why}",
        code="backup_damaged",
        detail="Take another one, or fetch this one again: it may have been cut short.",
    )
