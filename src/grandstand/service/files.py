"""What trainings leave on disk, handed out: checkpoints and models as archives."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from grandstand.errors import NotFound
from grandstand.model.archives import archive
from grandstand.model.checkpoints import (
    FOLDER,
    checkpoint_name,
    checkpoints,
    damage,
    episode_of,
)


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """A checkpoint as people see it.

    Attributes:
        episode: finished episodes when it was taken; names it within its session.
        step: environment steps by then; None where it cannot be read.
        damage: what is wrong with it, None when it is whole. A damaged one is passed over.
        best: whether it had the best mean return of those kept.
    """

    name: str
    episode: int
    step: int | None
    size_bytes: int
    saved_at: datetime
    damage: str | None
    best: bool


def list_checkpoints(session_folder: Path) -> list[CheckpointFacts]:
    """Every checkpoint of a session, newest first; reads and verifies all of them."""
    found = []
    best: int | None = None
    for path in reversed(checkpoints(session_folder / FOLDER)):
        wrong = damage(path)
        told = {} if wrong else json.loads((path / "metadata.json").read_bytes())
        if best is None and told.get("best"):
            best = int(told["best"][1])
        sizes = [file.stat().st_size for file in path.iterdir() if file.is_file()]
        episode = episode_of(path)
        assert episode is not None
        found.append(
            CheckpointFacts(
                name=path.name,
                episode=episode,
                step=told.get("step"),
                size_bytes=sum(sizes),
                saved_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
                damage=wrong,
                best=episode == best,
            )
        )
    return found


def checkpoint_archive(session_folder: Path, episode: int) -> IO[bytes]:
    """One checkpoint as a zip archive, to be read from its start and closed.

    Raises:
        NotFound: there is none of that episode (code ``checkpoint_not_found``).
    """
    path = session_folder / FOLDER / checkpoint_name(episode)
    if not path.is_dir():
        raise NotFound(
            f"there is no checkpoint of episode {episode}",
            code="checkpoint_not_found",
            detail="GET …/checkpoints lists what there is; older ones are removed.",
            details={"episode": episode},
        )
    return archive((file, f"{path.name}/{file.name}") for file in sorted(path.iterdir()))


def remove_checkpoint(session_folder: Path, episode: int) -> None:
    """Delete one checkpoint.

    Raises:
        NotFound: there is none of that episode (code ``checkpoint_not_found``).
    """
    path = session_folder / FOLDER / checkpoint_name(episode)
    if not path.is_dir():
        raise NotFound(f"there is no checkpoint of episode {episode}", code="checkpoint_not_found")
    aside = path.with_name(f".removed_{path.name}")
    path.rename(aside)
    shutil.rmtree(aside)
