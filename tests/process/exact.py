"""What a training came to, so that two can be held against each other number for number."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from .conftest import Server

EPISODES = 1200
CLOCKS = {"elapsed_seconds", "training_time_elapsed", "steps_per_second", "timestamp", "seq"}

Whole: TypeAlias = tuple[str, list[dict[str, Any]]]
"""Hash of the last checkpoint, and history."""


def digest_into(digest: Any, value: Any) -> None:
    """Feed everything of a checkpoint's state into a hash, in an order of its own."""
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            if key not in CLOCKS:
                digest.update(f"{key}:".encode())
                digest_into(digest, value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            digest_into(digest, item)
    elif isinstance(value, torch.Tensor):
        digest.update(np.ascontiguousarray(value.numpy()).tobytes())
    else:
        digest.update(repr(value).encode())


def hash_of(server: Server, session_id: str) -> str:
    """SHA-256 of the last checkpoint's state."""
    path = server.checkpoints(session_id)[-1] / "state.pt"
    digest = hashlib.sha256()
    digest_into(digest, torch.load(path, weights_only=True))
    return digest.hexdigest()


def records(server: Server, session_id: str) -> list[dict[str, Any]]:
    """What the trainer reported, in order, clocks and the machine's figures apart."""
    rows = []
    for row in server.history(session_id, "training_metrics"):
        extra = {k: v for k, v in (row.get("extra") or {}).items() if k not in CLOCKS}
        if any(name.startswith("system/") for name in extra):
            continue
        rows.append({k: v for k, v in row.items() if k not in CLOCKS} | {"extra": extra})
    return rows


def run_through(home: Path, **more: Any) -> Whole:
    """Hash and history of the training that runs through, as a child of its server.

    Args:
        home: an empty folder.
        more: into the order to train.
    """
    server = Server(home)
    try:
        server.start()
        session_id = server.train(num_episodes=EPISODES, save_interval=50, **more)
        server.until(session_id, "completed")
        return hash_of(server, session_id), records(server, session_id)
    finally:
        server.end()
