"""Checkpoints on disk, as both sides see them: names, manifests, damage.

    ROOT/checkpoint_episode_{N}/
        high_agent.pt  low_agent.pt      (of one level: agent.pt)
        state.pt                         all that an exact continuation needs
        metadata.json  training_history.json
        manifest.json                    SHA-256 and size of every other file

The field writes them (`train/checkpoint.py`), the house lists and hands them out.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "manifest.json"
STATE = "state.pt"
FOLDER = "checkpoints"
"""Where they lie in a session's folder."""
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
