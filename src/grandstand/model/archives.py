"""Zip archives of a few files, as both sides pack and unpack checkpoints and models."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO

from grandstand.errors import ValidationFailed

IN_MEMORY = 8 * 2**20
"""Bytes of an archive that stay in memory; larger ones go through a temporary file."""


def archive(files: Iterable[tuple[Path, str]]) -> IO[bytes]:
    """Files under their names in a zip archive, not compressed: weights do not shrink."""
    spool: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - the reader closes
    with zipfile.ZipFile(spool, "w", zipfile.ZIP_STORED) as packed:
        for path, name in files:
            packed.write(path, name)
    spool.seek(0)
    return spool


def unpack(file: IO[bytes], folder: Path, *, most_bytes: int) -> list[str]:
    """Write an archive's files into a folder, and name them.

    Args:
        file: the archive; its names may stand in one folder, which is left out.
        folder: where to; it exists.
        most_bytes: what the files may come to altogether.

    Raises:
        ValidationFailed: it is no archive, a name in it leads elsewhere, or it holds too much
            (code ``archive_invalid``).
        OSError: the disk is full or not writable.
    """
    try:
        with zipfile.ZipFile(file) as packed:
            entries = [entry for entry in packed.infolist() if not entry.is_dir()]
            if sum(entry.file_size for entry in entries) > most_bytes:
                raise _invalid(f"it unpacks to more than {most_bytes:,} bytes")
            named = {}
            for entry in entries:
                parts = PurePosixPath(entry.filename).parts
                name = parts[-1] if parts else ""
                plain = name.strip(".") and not set(name) & set("/\\:\0")
                if not plain or len(parts) > 2 or ".." in parts or name in named:
                    raise _invalid(f"it names a file {entry.filename!r}")
                named[name] = entry
            for name, entry in named.items():
                with packed.open(entry) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise _invalid(str(error) or type(error).__name__) from error
    return list(named)


def _invalid(why: str) -> ValidationFailed:
    return ValidationFailed(
        f"the body is no archive that can be used: {why}",
        code="archive_invalid",
        detail="Send a zip archive of plain files.",
    )
