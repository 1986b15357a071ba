"""/api/scenarios, /api/models, /api/evaluations."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response

from grandstand.assembly import Assembly
from grandstand.service.access import Grant, Scope
from grandstand.service.models import EvaluationRequest, Model
from grandstand.web.answers import ANY, answer, gives, listing
from grandstand.web.auth import Authority
from grandstand.web.bodies import Evaluate, Evaluated


def routes(house: Assembly, authority: Authority) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/api", tags=["models"])
    watch = authority.require(Scope.WATCH)
    report = authority.require(Scope.REPORT)
    operate = authority.require(Scope.OPERATE)

    @router.get("/scenarios", **gives(listing("scenarios", ANY)))
    def list_scenarios(grant: Grant = watch) -> Response:
        """Every scenario there is to train on."""
        found = [s.to_mapping() for s in house.scenarios.all()]
        return answer({"scenarios": found, "total": len(found), "next_cursor": None})

    @router.get("/scenarios/{name}", **gives(ANY, 404))
    def get_scenario(name: str, grant: Grant = watch) -> Response:
        """One scenario."""
        return answer(house.scenarios.get(name).to_mapping())

    @router.get("/models", **gives(listing("models", ANY)))
    def list_models(grant: Grant = watch) -> Response:
        """Every model that was saved, newest first."""
        found = [_model(m) for m in house.models.all()]
        return answer({"models": found, "total": len(found), "next_cursor": None})

    @router.get("/models/{name}", **gives(ANY, 404))
    def get_model(name: str, grant: Grant = watch) -> Response:
        """One model, by its session's id or (the newest) by its scenario's name."""
        return answer(_model(house.models.get(name)))

    @router.post("/models/{name}/evaluate", **gives(ANY, 404, 422, 503, status=202))
    async def evaluate_model(
        name: str, body: Evaluate | None = None, grant: Grant = operate
    ) -> Response:
        """Have a worker play a model and score it against the exact optimum."""
        request = EvaluationRequest(**(body or Evaluate()).model_dump())
        return answer({"evaluation_id": await house.models.evaluate(name, request)}, 202)

    @router.get("/evaluations/{evaluation_id}", **gives(ANY, 404))
    async def get_evaluation(evaluation_id: str, grant: Grant = watch) -> Response:
        """How an evaluation is going, and what it found."""
        return answer(await house.models.evaluation(evaluation_id))

    @router.get("/evaluations/{evaluation_id}/order", **gives(ANY, 404))
    async def get_evaluation_order(evaluation_id: str, grant: Grant = report) -> Response:
        """What the worker of an evaluation is to do."""
        return answer(await house.models.evaluation_order(evaluation_id))

    @router.put("/evaluations/{evaluation_id}", **gives(ANY, 404, 422))
    async def put_evaluation(
        evaluation_id: str, body: Evaluated, grant: Grant = report
    ) -> Response:
        """What the worker found."""
        await house.models.evaluated(evaluation_id, grant, body.status, body.result, body.error)
        return answer(await house.models.evaluation(evaluation_id))

    return router


def _model(model: Model) -> dict[str, Any]:
    saved = datetime.fromtimestamp(model.saved_at, UTC)
    return {**asdict(model), "saved_at": saved}
