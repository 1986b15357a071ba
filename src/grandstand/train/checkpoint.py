"""Checkpoints: a folder that is whole or not there, and can tell.

    ROOT/checkpoint_episode_{N}/
        high_agent.pt  low_agent.pt      (a flat policy: agent.pt)
        state.pt                         all that an exact continuation needs
        metadata.json  training_history.json
        manifest.json                    SHA-256 and size of every other file

A checkpoint is written aside, synced to disk, then renamed; a kill at any point leaves the ones
before it as they were. Reading verifies the manifest first and never runs code from a file.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from grandstand.errors import NotFound, ValidationFailed
from grandstand.model.checkpoints import (
    ASIDE,
    MANIFEST,
    STATE,
    checkpoint_name,
    damage,
    put_in_place,
    write,
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back, verified."""

    path: Path
    episode: int
    state: dict[str, Any]
    """For `Trainer.load_state_dict`."""
    metadata: dict[str, Any]
    history: Any


def save_checkpoint(
    root: Path,
    episode: int,
    state: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    metadata: Mapping[str, Any],
    history: Any,
) -> Path:
    """Write one checkpoint; when this returns it is on disk in full.

    Args:
        root: folder of one session's checkpoints; made if missing. One writer at a time.
        episode: finished episodes, the N of its name. One of the same N is replaced.
        state: from `Trainer.state_dict`.
        models: from `Trainer.models`: an agent's content by file stem.
        metadata, history: JSON data; NaN and infinities are allowed.

    Raises:
        OSError: the disk is full or not writable; nothing is left behind under the final name.
    """
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob(f"{ASIDE}*"):  # a writer was killed here
        shutil.rmtree(left)
    files = {f"{stem}.pt": _packed(content) for stem, content in models.items()}
    files[STATE] = _packed(state)
    files["metadata.json"] = json.dumps({"episode": episode, **metadata}).encode()
    files["training_history.json"] = json.dumps(history).encode()
    manifest = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in files.items()
    }
    files[MANIFEST] = json.dumps({"format": 1, "episode": episode, "files": manifest}).encode()

    aside = root / f"{ASIDE}{checkpoint_name(episode)}"
    aside.mkdir()
    write(aside, files)
    return put_in_place(aside, episode)


def _packed(content: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    return buffer.getvalue()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint back.

    Raises:
        NotFound: there is no such folder (code `checkpoint_not_found`).
        ValidationFailed: it is damaged (code `checkpoint_damaged`).
    """
    if not path.is_dir():
        raise NotFound(f"There is no checkpoint {path.name!r}.", code="checkpoint_not_found")
    wrong = damage(path)
    if wrong is not None:
        raise ValidationFailed(
            f"{path.name} cannot be used: {wrong}.",
            code="checkpoint_damaged",
            detail="Continue from an earlier checkpoint.",
        )
    metadata = json.loads((path / "metadata.json").read_bytes())
    return Checkpoint(
        path=path,
        episode=int(metadata["episode"]),
        state=torch.load(path / STATE, map_location="cpu", weights_only=True),
        metadata=metadata,
        history=json.loads((path / "training_history.json").read_bytes()),
    )
