"""Trained models: where their files lie, and how well they play."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grandstand.errors import NotFound, Unavailable, ValidationFailed
from grandstand.model.session import Session, new_id
from grandstand.model.telemetry import finite_or_name
from grandstand.service.access import Grant
from grandstand.service.ledger import Ledger, Unit
from grandstand.service.scenarios import Scenarios
from grandstand.store import evaluations, jobs
from grandstand.store.jobs import Job, JobKind, JobStatus

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


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """How to evaluate; see `Models.evaluate`."""

    scenario_name: str | None = None
    episodes: int = 1000
    seed: int = 0
    greedy: bool = True
    market_noise: bool = False
    trajectories: int = 0


class Models:
    """The verbs of models.

    Args:
        folder: where model files lie; `sessions/{id}/` in it belongs to one session each.
    """

    def __init__(self, ledger: Ledger, scenarios: Scenarios, folder: Path, cache: Path) -> None:
        self._ledger = ledger
        self._scenarios = scenarios
        self.folder = folder
        self.cache_folder = cache
        self.missing: Callable[[bool], Unavailable | None] = lambda may_wait: None
        self.work_waiting: Callable[[], None] = lambda: None

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

    async def evaluate(self, name: str, request: EvaluationRequest) -> str:
        """Have a worker play a model; returns the evaluation's id.

        Raises:
            NotFound: no such model or scenario.
            Unavailable: trainings cannot run here.
        """
        model = self.get(name)
        if (missing := self.missing(False)) is not None:
            raise missing
        scenario = (
            self._scenarios.get(request.scenario_name).to_mapping()
            if request.scenario_name
            else self._trained_on(model)
        )
        evaluation_id = new_id()
        payload = {
            **asdict(request),
            "scenario": scenario,
            "model_name": model.name,
            "model_folder": model.folder,
            "cache_folder": str(self.cache_folder.resolve()),
        }

        def work(unit: Unit) -> None:
            evaluations.add(
                unit.connection,
                evaluation_id,
                model.id,
                scenario["name"],
                asdict(request),
                unit.at,
            )
            jobs.add(
                unit.connection, JobKind.EVALUATE, unit.at, payload, evaluation_id=evaluation_id
            )

        await self._ledger.write(work)
        self.work_waiting()
        return evaluation_id

    async def evaluation(self, evaluation_id: str) -> dict[str, Any]:
        """What is known of an evaluation.

        Raises:
            NotFound: no such evaluation.
        """
        row = await self._ledger.database.read(lambda c: evaluations.get(c, evaluation_id))
        return {
            "evaluation_id": row.id,
            "model": row.model_name,
            "scenario_name": row.scenario_name,
            "request": row.request,
            "status": row.status,
            "created_at": row.created_at,
            "finished_at": row.finished_at,
            "error": row.error,
            **(row.result or {}),
        }

    async def evaluation_order(self, evaluation_id: str) -> dict[str, Any]:
        """What a worker is to evaluate.

        Raises:
            NotFound: no such evaluation.
        """

        def work(unit: Unit) -> dict[str, Any]:
            evaluations.get(unit.connection, evaluation_id)
            job = jobs.of_evaluation(unit.connection, evaluation_id)
            if job is None:
                raise NotFound(f"evaluation {evaluation_id} has no job", code="no_job")
            evaluations.change(unit.connection, evaluation_id, status="running")
            return {**job.payload, "evaluation_id": evaluation_id}

        return await self._ledger.write(work)

    async def evaluated(
        self,
        evaluation_id: str,
        grant: Grant,
        status: str,
        result: Mapping[str, Any] | None,
        error: Mapping[str, Any] | None,
    ) -> None:
        """Store what a worker found.

        Raises:
            NotFound: no such evaluation.
            ValidationFailed: completed without a result.
        """
        if status == "completed" and not result:
            raise ValidationFailed("result: missing", details={"field": "result"})

        def work(unit: Unit) -> None:
            evaluations.get(unit.connection, evaluation_id)
            evaluations.change(
                unit.connection,
                evaluation_id,
                status=status,
                result=finite_or_name(dict(result)) if result else None,
                error=finite_or_name(dict(error)) if error else None,
                finished_at=unit.at,
            )
            job = jobs.of_evaluation(unit.connection, evaluation_id)
            if job is not None:
                done = JobStatus.DONE if status == "completed" else JobStatus.FAILED
                jobs.change(unit.connection, job.id, status=done, finished_at=unit.at)

        await self._ledger.write(work)

    def fail_evaluation(
        self, unit: Unit, job: Job, why: str, error: Mapping[str, Any] | None
    ) -> None:
        """Its worker ended without a word."""
        if job.evaluation_id is None:
            return
        evaluations.change(
            unit.connection,
            job.evaluation_id,
            status="failed",
            error=finite_or_name(dict(error or {"message": why})),
            finished_at=unit.at,
        )
        jobs.change(unit.connection, job.id, status=JobStatus.FAILED, finished_at=unit.at)

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

    def _trained_on(self, model: Model) -> dict[str, Any]:
        """The scenario as it was when the model was trained."""
        path = Path(model.folder) / "scenario.json"
        if path.is_file():
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return data
        return self._scenarios.get(model.name).to_mapping()


def no_training_part(command: str, detail: str = "") -> Unavailable:
    """The answer while the learning part is not installed."""
    return Unavailable(
        "the training part is not installed",
        code="training_unavailable",
        detail=detail or f"Install it with: {command}",
        details={"command": command},
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
