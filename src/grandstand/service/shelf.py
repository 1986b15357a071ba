"""The models folder: what trainings left in it, and the documented paths into it."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from grandstand.errors import NotFound
from grandstand.model.archives import archive
from grandstand.model.session import Session, new_id

logger = logging.getLogger("grandstand.models")

PARTS = ("high_agent.pt", "low_agent.pt", "history.json", "agent.pt")
_NAME = re.compile(r"[A-Za-z0-9._~-]{1,128}")


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model on disk.

    Attributes:
        id: the session it came from.
        name: the scenario it was trained on; its files begin with it.
        files: file name → size in bytes.
        current: whether the documented paths (`models/{name}_high_agent.pt` …) show it.
    """

    id: str
    name: str
    folder: str
    files: dict[str, int]
    size_bytes: int
    saved_at: float
    current: bool


class Shelf:
    """The models on disk.

    Args:
        folder: where they lie; `sessions/{id}/` in it belongs to one session each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[Model]:
        """Every model that has been saved, newest first."""
        sessions = self.folder / "sessions"
        folders = sessions.iterdir() if sessions.is_dir() else ()
        found = [model for f in folders if (model := self._of(f)) is not None]
        return sorted(found, key=lambda m: m.saved_at, reverse=True)

    def get(self, name: str) -> Model:
        """A model by the id of its session, or the newest of a scenario by that scenario's name.

        Raises:
            NotFound: there is none (code ``model_not_found``).
        """
        if _NAME.fullmatch(name) and name.strip("."):
            if (model := self._of(self.folder / "sessions" / name)) is not None:
                return model
            for model in self.all():
                if model.name == name:
                    return model
        raise NotFound(
            f"there is no model {name}",
            code="model_not_found",
            detail="GET /api/models lists them; a training that finishes or is stopped saves one.",
            details={"name": name},
        )

    def archive(self, name: str) -> tuple[str, IO[bytes]]:
        """A model's files with the scenario it was trained on, as a zip archive, and its name.

        Raises:
            NotFound: there is none.
        """
        model = self.get(name)
        folder = Path(model.folder)
        files = [(folder / file, file) for file in sorted(model.files)]
        if (folder / "scenario.json").is_file():
            files.append((folder / "scenario.json", "scenario.json"))
        return f"{model.name}-{model.id}.zip", archive(files)

    def remove(self, model: Model) -> None:
        """Delete a model's files; the documented paths then show the newest that is left."""
        for file in model.files:
            (Path(model.folder) / file).unlink(missing_ok=True)
            shown = self.folder / file
            if shown.is_symlink() and not shown.exists():
                shown.unlink()
        left = [other for other in self.all() if other.name == model.name]
        for file in left[0].files if left else ():
            _point(self.folder / file, Path(left[0].folder) / file)

    def scenario_of(self, model: Model) -> dict[str, Any] | None:
        """The scenario as it was when the model was trained; None where it was not kept."""
        path = Path(model.folder) / "scenario.json"
        if not path.is_file():
            return None
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return data

    def files_of(self, session: Session) -> dict[str, str]:
        """The model files a session has saved: file name → path relative to the models folder."""
        folder = self.folder / "sessions" / session.session_id
        model = self._of(folder) if folder.is_dir() else None
        if model is None:
            return {}
        return {name: f"sessions/{session.session_id}/{name}" for name in model.files}

    # The documented paths always show a scenario's newest session.

    def show_newest(self, session: Session) -> None:
        """Let `models/{scenario}_high_agent.pt` and its like show this session's files."""
        if session.scenario_name is None:
            return
        source = self.folder / "sessions" / session.session_id
        for part in PARTS:
            name = f"{session.scenario_name}_{part}"
            if (source / name).is_file():
                _point(self.folder / name, source / name)

    def show_checkpoints(self, session: Session) -> None:
        """Let `models/checkpoints/{scenario}` show this session's checkpoints."""
        if session.scenario_name is None:
            return
        checkpoints = self.folder / "sessions" / session.session_id / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        _point(self.folder / "checkpoints" / session.scenario_name, checkpoints)

    def _of(self, folder: Path) -> Model | None:
        high = [*folder.glob("*_high_agent.pt"), *folder.glob("*_agent.pt")]
        if not high:
            return None
        name = re.sub(r"_(high_|low_)?agent\.pt$", "", high[0].name)
        files = {
            p.name: p.stat().st_size for part in PARTS if (p := folder / f"{name}_{part}").is_file()
        }
        shown = self.folder / high[0].name
        return Model(
            id=folder.name,
            name=name,
            folder=str(folder.resolve()),
            files=files,
            size_bytes=sum(files.values()),
            saved_at=high[0].stat().st_mtime,
            current=shown.exists() and shown.resolve() == high[0].resolve(),
        )


def _point(link: Path, target: Path) -> None:
    """Make `link` show `target`, atomically: a relative link, or a copy where links cannot be."""
    link.parent.mkdir(parents=True, exist_ok=True)
    aside = link.with_name(f".{link.name}.{new_id()}")
    try:
        aside.symlink_to(os.path.relpath(target, link.parent), target_is_directory=target.is_dir())
    except OSError:
        if target.is_dir():
            return  # The session's own folder still holds them.
        shutil.copy2(target, aside)
    if link.is_dir() and not link.is_symlink():
        logger.warning("%s is a folder of its own; left as it is", link)
        aside.unlink()
        return
    aside.replace(link)
