"""Checkpoints on disk, as both sides see them: names, manifests, damage.

    ROOT/checkpoint_episode_{N}/
        high_agent.pt  low_agent.pt      (of one level: agent.pt)
        state.pt                         all that an exact continuation needs
        metadata.json  training_history.json
        manifest.json                    SHA-256 and size of every other file

The field writes them (`train/checkpoint.py`); the house lists them, hands them out, and takes in
those that were written on another machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "manifest.json"
STATE = "state.pt"
FOLDER = "checkpoints"
"""Where they lie in a session's folder."""
ASIDE = ".writing_"
"""How the names of those begin that are being written or removed."""
_NAME = re.compile(r"checkpoint_episode_(\d+)")


@dataclass(frozen=True)
class Found:
    """The answer of `newest_whole`."""

    path: Path | None
    """The newest undamaged checkpoint; None if there is none."""
    damaged: list[str]
    """Names of newer ones passed over, newest first, each with the reason."""


def checkpoint_name(episode: int) -> str:
    """`checkpoint_episode_{N}`."""
    return f"checkpoint_episode_{episode}"


def episode_of(path: Path) -> int | None:
    """N of `checkpoint_episode_{N}`, or None for another name."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else None


def checkpoints(root: Path) -> list[Path]:
    """Checkpoint folders by episode, oldest first, whole or not."""
    if not root.is_dir():
        return []
    numbered = [
        (number, path) for path in root.iterdir() if (number := episode_of(path)) is not None
    ]
    return [path for _, path in sorted(numbered)]


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, as a phrase; None if it is whole."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        listed = dict(manifest["files"])
        expected = [(name, entry["sha256"]) for name, entry in listed.items()]
    except FileNotFoundError:
        return "no manifest"
    except (OSError, ValueError, KeyError, TypeError):
        return "unreadable manifest"
    if not {STATE, "metadata.json", "training_history.json"} <= listed.keys():
        return "incomplete manifest"
    for name, digest in expected:
        if Path(name).name != name:
            return f"a manifest that names {name!r}"
        try:
            data = (path / name).read_bytes()
        except OSError:
            return f"{name} missing"
        if hashlib.sha256(data).hexdigest() != digest:
            return f"{name} damaged"
    return None


def newest_whole(root: Path) -> Found:
    """The newest checkpoint that passes its manifest, and the newer ones that do not."""
    damaged: list[str] = []
    for path in reversed(checkpoints(root)):
        wrong = damage(path)
        if wrong is None:
            return Found(path, damaged)
        damaged.append(f"{path.name}: {wrong}")
    return Found(None, damaged)


def put_in_place(aside: Path, episode: int) -> Path:
    """Give a checkpoint written beside its place its own name; durable when this returns.

    Args:
        aside: its folder, in the checkpoints' folder; its files are synced already.
        episode: finished episodes, the N of its name. One of the same N is replaced.

    Raises:
        OSError: the disk is full or not writable.
    """
    root = aside.parent
    final = root / checkpoint_name(episode)
    sync(aside)
    if final.exists():
        old = root / f"{ASIDE}replaced_{final.name}"
        final.rename(old)
        aside.rename(final)
        shutil.rmtree(old)
    else:
        aside.rename(final)
    sync(root)
    return final


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write new files into a folder, durable when this returns but for their names (`sync` it).

    Raises:
        OSError: the disk is full or not writable; some files may be there.
    """
    with ExitStack() as opened:
        handles = []
        for name, data in files.items():
            file = opened.enter_context((folder / name).open("xb", buffering=0))
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            if hasattr(os, "posix_fadvise"):
                # Has the writing begin, so that the first sync waits for all of it, not each for
                # its own.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            handles.append(file.fileno())
        for handle in handles:
            os.fsync(handle)


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable."""
    if os.name == "nt" and path.is_dir():  # there a folder cannot be opened, nor needs it
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def prune(root: Path, *, keep_last: int, best: int | None = None) -> list[str]:
    """Remove old checkpoints; returns the names removed.

    Args:
        keep_last: how many of the newest stay, at least 1.
        best: episode of one more that stays, e.g. the best so far.
    """
    removed = []
    for path in checkpoints(root)[: -max(keep_last, 1)]:
        if episode_of(path) == best:
            continue
        # Under its own name a half-removed one could be mistaken for a whole one that got damaged.
        aside = root / f"{ASIDE}removed_{path.name}"
        path.rename(aside)
        shutil.rmtree(aside)
        removed.append(path.name)
    return removed
