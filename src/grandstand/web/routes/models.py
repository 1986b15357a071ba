"""/api/models, /api/evaluations: what trainings left behind, and how good it is."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from grandstand.assembly import Assembly
from grandstand.service.access import Grant, Scope
from grandstand.service.evaluations import EvaluationRequest
from grandstand.web.answers import ANY, answer, gives, listing, zipped
from grandstand.web.auth import Authority
from grandstand.web.bodies import Act, CompareModels, Evaluate, Evaluated


def routes(house: Assembly, authority: Authority) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/api", tags=["models"])
    watch = authority.require(Scope.WATCH)
    report = authority.require(Scope.REPORT)
    operate = authority.require(Scope.OPERATE)

    async def reached(name: str, grant: Grant, scope: Scope) -> None:
        """Hold that a model's session is not closed to whoever asks."""
        if grant.closed:
            model = await asyncio.to_thread(house.shelf.get, name)
            grant.check(scope, model.id)

    @router.get("/models", **gives(listing("models", ANY)))
    async def list_models(grant: Grant = watch) -> Response:
        """Every model that was saved, newest first, with its newest evaluation."""
        found = [m for m in await house.models.described() if m["id"] not in grant.closed]
        return answer({"models": found, "total": len(found), "next_cursor": None})

    @router.post("/models/compare", **gives(ANY, 404, 415, 422))
    async def compare_models(body: CompareModels, grant: Grant = watch) -> Response:
        """Models beside one another: returns with 95 % intervals, differing configuration."""
        for name in body.models:
            await reached(name, grant, Scope.WATCH)
        return answer(await house.models.compare(body.models))

    @router.get("/models/{name}", **gives(ANY, 404))
    async def get_model(name: str, grant: Grant = watch) -> Response:
        """One model, by its session's id or (the newest) by its scenario's name."""
        await reached(name, grant, Scope.WATCH)
        return answer(await house.models.describe(name))

    @router.get(
        "/models/{name}/download",
        response_class=StreamingResponse,
        **gives(None, 404, files=("application/zip",)),
    )
    async def download_model(name: str, grant: Grant = watch) -> StreamingResponse:
        """The model's files and the scenario it was trained on, as a zip archive."""
        await reached(name, grant, Scope.WATCH)
        filename, file = await asyncio.to_thread(house.shelf.archive, name)
        return zipped(file, filename)

    @router.delete("/models/{name}", **gives(None, 404, 409, status=204))
    async def delete_model(name: str, grant: Grant = operate) -> Response:
        """Delete a model's files; its session and checkpoints stay."""
        await reached(name, grant, Scope.OPERATE)
        await house.models.remove(name)
        return Response(status_code=204)

    @router.post("/models/{name}/act", **gives(ANY, 404, 415, 422, 503))
    async def act(name: str, body: Act, grant: Grant = watch) -> Response:
        """What the model does in one situation."""
        await reached(name, grant, Scope.WATCH)
        return answer(
            await house.models.act(name, body.observation, greedy=body.greedy, seed=body.seed)
        )

    @router.post("/models/{name}/evaluate", **gives(ANY, 404, 422, 503, status=202))
    async def evaluate_model(
        name: str, body: Evaluate | None = None, grant: Grant = operate
    ) -> Response:
        """Have a worker play a model and score it against the exact optimum."""
        await reached(name, grant, Scope.OPERATE)
        request = EvaluationRequest(**(body or Evaluate()).model_dump())
        return answer({"evaluation_id": await house.evaluations.ask(name, request)}, 202)

    @router.get("/evaluations", **gives(listing("evaluations", ANY)))
    async def list_evaluations(model: str | None = None, grant: Grant = watch) -> Response:
        """The newest 200 evaluations, of one model (its session's id) or of all."""
        found = [
            row
            for row in await house.evaluations.listing(model)
            if row["model"] not in grant.closed
        ]
        return answer({"evaluations": found, "total": len(found), "next_cursor": None})

    @router.get("/evaluations/{evaluation_id}", **gives(ANY, 404))
    async def get_evaluation(evaluation_id: str, grant: Grant = watch) -> Response:
        """How an evaluation is going, and what it found."""
        found = await house.evaluations.get(evaluation_id)
        if grant.closed:
            grant.check(Scope.WATCH, found["model"])
        return answer(found)

    @router.get("/evaluations/{evaluation_id}/order", **gives(ANY, 404))
    async def get_evaluation_order(evaluation_id: str, grant: Grant = report) -> Response:
        """What the worker of an evaluation is to do."""
        if grant.closed:
            grant.check(Scope.WATCH, (await house.evaluations.get(evaluation_id))["model"])
        return answer(await house.evaluations.order(evaluation_id))

    @router.put("/evaluations/{evaluation_id}", **gives(ANY, 404, 422))
    async def put_evaluation(
        evaluation_id: str, body: Evaluated, grant: Grant = report
    ) -> Response:
        """What the worker found."""
        await house.evaluations.record(evaluation_id, grant, body.status, body.result, body.error)
        return answer(await house.evaluations.get(evaluation_id))

    return router
