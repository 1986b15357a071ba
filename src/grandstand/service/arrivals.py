"""Checkpoints and models that workers on other machines send here, so that nothing is lost with a
machine: taken in whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from grandstand.errors import NotFound, Unavailable, ValidationFailed
from grandstand.model.archives import archive, unpack
from grandstand.model.checkpoints import (
    ASIDE,
    FOLDER,
    checkpoint_name,
    damage,
    newest_whole,
    prune,
    put_in_place,
    sync,
)
from grandstand.model.session import new_id
from grandstand.service.shelf import PARTS


@dataclass(frozen=True, slots=True)
class Arrived:
    """What was taken in: its name, the names of its files, and their size in bytes."""

    name: str
    files: tuple[str, ...]
    size_bytes: int


def take_checkpoint(
    folder: Path, episode: int, file: IO[bytes], *, keep: int, most_bytes: int
) -> Arrived:
    """Put a checkpoint that was sent among those of its session; on disk in full on return.

    Args:
        folder: the session's.
        episode: finished episodes, the N of its name; one of the same N is replaced.
        file: a zip archive of it.
        keep: how many of the newest stay, beside the best one.
        most_bytes: what it may unpack to.

    Raises:
        ValidationFailed: it is no archive, not whole (code ``checkpoint_damaged``), or of another
            episode. Nothing is kept.
        Unavailable: the disk is full or not writable (code ``disk_unwritable``).
    """
    root = folder / FOLDER
    aside = root / f"{ASIDE}{checkpoint_name(episode)}.{new_id()}"
    try:
        _clear(root)
        aside.mkdir(parents=True)
        names = unpack(file, aside, most_bytes=most_bytes)
        if (wrong := damage(aside)) is not None:
            raise ValidationFailed(
                f"the checkpoint did not arrive whole: {wrong}",
                code="checkpoint_damaged",
                detail="Send it again.",
            )
        told = json.loads((aside / "metadata.json").read_bytes())
        if told.get("episode") != episode:
            raise ValidationFailed(
                f"this is the checkpoint of episode {told.get('episode')}",
                details={"field": "episode"},
            )
        for name in names:
            sync(aside / name)
        size = sum((aside / name).stat().st_size for name in names)
        put_in_place(aside, episode)
        best = told.get("best")
        prune(root, keep_last=keep, best=int(best[1]) if best else None)
    except OSError as error:
        raise _unwritable(error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Arrived(checkpoint_name(episode), tuple(sorted(names)), size)


def take_model(folder: Path, scenario_name: str, file: IO[bytes], *, most_bytes: int) -> Arrived:
    """Put the model a training ended with where its session's files lie.

    Args:
        folder: the session's.
        scenario_name: its files begin with it.
        file: a zip archive of it, with the scenario it was trained on.
        most_bytes: what it may unpack to.

    Raises:
        ValidationFailed: it is no archive, or holds other files.
        Unavailable: the disk is full or not writable (code ``disk_unwritable``).
    """
    allowed = {f"{scenario_name}_{part}" for part in PARTS} | {"scenario.json"}
    aside = folder / f"{ASIDE}model.{new_id()}"
    try:
        _clear(folder)
        aside.mkdir(parents=True)
        names = unpack(file, aside, most_bytes=most_bytes)
        if others := sorted(set(names) - allowed):
            raise ValidationFailed(
                f"{others[0]} is no part of a model",
                details={"field": "files", "allowed": sorted(allowed)},
            )
        for name in names:
            sync(aside / name)
        size = sum((aside / name).stat().st_size for name in names)
        for name in names:
            (aside / name).replace(folder / name)
        sync(folder)
    except OSError as error:
        raise _unwritable(error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Arrived(scenario_name, tuple(sorted(names)), size)


def newest_checkpoint(folder: Path, episode: int | None = None) -> tuple[str, IO[bytes]] | None:
    """The checkpoint of an episode, else the newest whole one, as a name and a zip archive to be
    closed; None where there is none.

    Raises:
        NotFound: there is none of that episode (code ``checkpoint_not_found``).
        ValidationFailed: that one is damaged (code ``checkpoint_damaged``).
    """
    root = folder / FOLDER
    if episode is None:
        path = newest_whole(root).path
        if path is None:
            return None
    else:
        path = root / checkpoint_name(episode)
        if not path.is_dir():
            raise NotFound(
                f"there is no checkpoint of episode {episode}", code="checkpoint_not_found"
            )
        if (wrong := damage(path)) is not None:
            raise ValidationFailed(
                f"{path.name} cannot be used: {wrong}", code="checkpoint_damaged"
            )
    return path.name, archive((part, f"{path.name}/{part.name}") for part in sorted(path.iterdir()))


def _clear(root: Path) -> None:
    """Remove what a server that was killed left; a session has one worker, which sends one thing
    at a time."""
    for left in root.glob(f"{ASIDE}*"):
        shutil.rmtree(left, ignore_errors=True)


def _unwritable(error: OSError) -> Unavailable:
    return Unavailable(
        "what was sent could not be written to disk",
        code="disk_unwritable",
        detail=error.strerror or type(error).__name__,
    )
