"""How well models play: asked for, played by a worker, kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grandstand.errors import NotFound, Unavailable, ValidationFailed
from grandstand.model.session import new_id
from grandstand.model.telemetry import finite_or_name
from grandstand.service.access import Grant
from grandstand.service.ledger import Ledger, Unit
from grandstand.service.scenarios import Scenarios
from grandstand.service.shelf import Model, Shelf
from grandstand.store import evaluations, jobs
from grandstand.store.jobs import Job, JobKind, JobStatus


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """How to evaluate; see `Evaluations.ask`."""

    scenario_name: str | None = None
    episodes: int = 1000
    seed: int = 0
    greedy: bool = True
    market_noise: bool = False
    trajectories: int = 0


class Evaluations:
    """The verbs of evaluations.

    Args:
        cache: folder where workers keep what is worked out once for a scenario (the optimum).
        missing: says what keeps workers from running here, None when nothing does.
    """

    def __init__(
        self,
        ledger: Ledger,
        scenarios: Scenarios,
        shelf: Shelf,
        cache: Path,
        missing: Callable[[bool], Unavailable | None],
    ) -> None:
        self._ledger = ledger
        self._scenarios = scenarios
        self._shelf = shelf
        self.cache_folder = cache
        self.missing = missing
        self.work_waiting: Callable[[], None] = lambda: None

    def scenario_of(self, model: Model) -> dict[str, Any]:
        """The scenario as it was when the model was trained, else as it is now."""
        return self._shelf.scenario_of(model) or self._scenarios.get(model.name).to_mapping()

    async def listing(self, model_name: str | None) -> list[dict[str, Any]]:
        """The newest evaluations, of one model or of all, newest first."""
        rows = await self._ledger.database.read(lambda c: evaluations.listing(c, model_name))
        return [shown(row) for row in rows]

    async def ask(self, name: str, request: EvaluationRequest) -> str:
        """Have a worker play a model; returns the evaluation's id.

        Raises:
            NotFound: no such model or scenario.
            Unavailable: trainings cannot run here.
        """
        model = self._shelf.get(name)
        if (missing := self.missing(False)) is not None:
            raise missing
        scenario = (
            self._scenarios.get(request.scenario_name).to_mapping()
            if request.scenario_name
            else self.scenario_of(model)
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

    async def get(self, evaluation_id: str) -> dict[str, Any]:
        """What is known of an evaluation.

        Raises:
            NotFound: no such evaluation.
        """
        row = await self._ledger.database.read(lambda c: evaluations.get(c, evaluation_id))
        return shown(row)

    async def order(self, evaluation_id: str) -> dict[str, Any]:
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

    async def record(
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

    def fail(self, unit: Unit, job: Job, why: str, error: Mapping[str, Any] | None) -> None:
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


def shown(row: Any) -> dict[str, Any]:
    """A stored evaluation as every door shows it."""
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
