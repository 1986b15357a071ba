"""/api/training/sessions: sessions, and what they report."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from grandstand.assembly import Assembly
from grandstand.errors import ValidationFailed
from grandstand.model.session import Status
from grandstand.model.telemetry import (
    DECISION,
    GRAPH,
    METRICS,
    Batch,
    parse_batch,
    parse_record,
)
from grandstand.service.access import Grant, Scope
from grandstand.service.sessions import VERBS, NewSession
from grandstand.web.answers import ANY, answer, gives, listing, shape, takes
from grandstand.web.auth import Authority
from grandstand.web.bodies import Finish, Heartbeat, SessionCreate, SessionUpdate

BASE = "/api/training/sessions"
RECEIPT = {
    "type": "object",
    "required": ["message", "seq"],
    "properties": {
        "message": {"type": "string"},
        "seq": {"type": "integer"},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}


def routes(house: Assembly, authority: Authority) -> APIRouter:
    """The router."""
    router = APIRouter(tags=["sessions"])
    watch = authority.require(Scope.WATCH)
    report = authority.require(Scope.REPORT)
    operate = authority.require(Scope.OPERATE)
    sessions = house.sessions

    @router.post(BASE, **gives(shape("Session"), 409, 422, status=201))
    async def create_session(body: SessionCreate, grant: Grant = report) -> Response:
        """Open an external session; it is running at once."""
        new = NewSession(**body.model_dump())
        return answer(await sessions.create(new), 201)

    @router.get(BASE, **gives(listing("sessions", shape("Session")), 422))
    async def list_sessions(
        grant: Grant = watch,
        status: Annotated[
            str | None,
            Query(description="Statuses, separated by commas, or `all`. Left out: not ended."),
        ] = None,
        algorithm: str | None = None,
        tag: str | None = None,
        q: Annotated[str | None, Query(max_length=200)] = None,
        archived: bool | None = False,
        sort: str = "-created_at",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: str | None = None,
    ) -> Response:
        """Sessions, newest first; those that have ended only when asked for."""
        page = await sessions.listing(
            statuses=_statuses(status),
            algorithm=algorithm,
            tag=tag,
            q=q,
            archived=archived,
            sort=sort,
            limit=limit,
            cursor=cursor,
        )
        return answer(
            {"sessions": page.sessions, "total": page.total, "next_cursor": page.next_cursor}
        )

    @router.get(BASE + "/{session_id}", **gives(shape("Session"), 404))
    async def get_session(session_id: str, grant: Grant = watch) -> Response:
        """One session."""
        return answer(await sessions.get(session_id))

    @router.put(BASE + "/{session_id}", **gives(shape("Session"), 404, 409, 422))
    async def update_session(
        session_id: str, body: SessionUpdate, grant: Grant = report
    ) -> Response:
        """Change a session; the status of a managed one is a wish."""
        changes = body.model_dump(exclude_unset=True)
        empty = [k for k, v in changes.items() if v is None and k != "end_time"]
        if empty:
            raise ValidationFailed(f"{empty[0]}: must not be null", details={"field": empty[0]})
        return answer(await sessions.update(session_id, changes))

    @router.delete(BASE + "/{session_id}", **gives(None, 404, 409, status=204))
    async def delete_session(
        session_id: str, force: bool = False, files: bool = False, grant: Grant = operate
    ) -> Response:
        """Delete a session with all its records; its sockets close with 4410."""
        await sessions.delete(session_id, force=force, files=files)
        return Response(status_code=204)

    async def take(session_id: str, type: str, request: Request, grant: Grant) -> Response:
        batch = parse_record(type, await request.body())
        receipt = await house.telemetry.record(session_id, batch, grant)
        told: dict[str, Any] = {"message": "recorded", "seq": receipt.last_seq}
        if receipt.warnings:
            told["warnings"] = receipt.warnings
        return answer(told)

    @router.post(
        BASE + "/{session_id}/metrics",
        openapi_extra=takes("TrainingMetrics"),
        **gives(RECEIPT, 400, 404, 409, 413, 415, 422, 503),
    )
    async def post_metrics(session_id: str, request: Request, grant: Grant = report) -> Response:
        """Record metrics; answered once they are stored for good."""
        return await take(session_id, METRICS, request, grant)

    @router.post(
        BASE + "/{session_id}/bot_decision",
        openapi_extra=takes("BotDecision"),
        **gives(RECEIPT, 400, 404, 409, 413, 415, 422, 503),
    )
    async def post_decision(session_id: str, request: Request, grant: Grant = report) -> Response:
        """Record a decision."""
        return await take(session_id, DECISION, request, grant)

    @router.post(
        BASE + "/{session_id}/graph_update",
        openapi_extra=takes("PerformanceGraph"),
        **gives(RECEIPT, 400, 404, 409, 413, 415, 422, 503),
    )
    async def post_graph(session_id: str, request: Request, grant: Grant = report) -> Response:
        """Append points to a graph."""
        return await take(session_id, GRAPH, request, grant)

    @router.post(
        BASE + "/{session_id}/records",
        openapi_extra=takes("BatchIn"),
        **gives(ANY, 400, 404, 409, 413, 415, 422, 503),
    )
    async def post_records(session_id: str, request: Request, grant: Grant = report) -> Response:
        """Record a batch; a `batch_id` makes sending it again harmless."""
        batch: Batch = parse_batch(await request.body())
        receipt = await house.telemetry.record(session_id, batch, grant)
        told: dict[str, Any] = {
            "accepted": receipt.accepted,
            "last_seq": receipt.last_seq,
            "duplicate": receipt.duplicate,
        }
        if receipt.warnings:
            told["warnings"] = receipt.warnings
        if (
            any(
                r.type == "training_status" and r.value["event"] == "checkpoint"
                for r in batch.records
            )
            and grant.attempt is not None
        ):
            await house.training.checkpoint_taken(session_id)
        return answer(told)

    for verb in VERBS:
        _verb(router, house, operate, verb)

    @router.get(BASE + "/{session_id}/order", **gives(ANY, 404, 409))
    async def get_order(session_id: str, grant: Grant = report) -> Response:
        """What the worker of a managed session is to do."""
        return answer(await house.training.order(session_id, grant))

    @router.post(BASE + "/{session_id}/heartbeat", **gives(ANY, 404, 409, 422))
    async def post_heartbeat(session_id: str, body: Heartbeat, grant: Grant = report) -> Response:
        """A reporter's sign of life; answered with what is wanted of it."""
        from grandstand.model.session import Wanted

        known = Wanted(body.wanted) if body.wanted else None
        return answer(
            await house.training.heartbeat(
                session_id, grant, known=known, wait_seconds=body.wait_seconds
            )
        )

    @router.post(BASE + "/{session_id}/finish", **gives(shape("Session"), 404, 409, 422))
    async def post_finish(session_id: str, body: Finish, grant: Grant = report) -> Response:
        """End a session."""
        told = body.model_dump()
        return answer(await house.training.finish(session_id, grant, told.pop("status"), **told))

    return router


def _verb(router: APIRouter, house: Assembly, operate: Any, verb: str) -> None:
    @router.post(
        f"{BASE}/{{session_id}}/{verb}",
        name=f"{verb}_session",
        summary=f"Ask a session to {verb}",
        **gives(ANY, 404, 409),
    )
    async def ask(session_id: str, grant: Grant = operate) -> Response:
        return answer(await house.sessions.ask(session_id, verb))


def names_in(text: str | None) -> list[str] | None:
    """Names separated by commas; None when nothing was said."""
    if text is None:
        return None
    return [name for part in text.split(",") if (name := part.strip())]


def _statuses(text: str | None) -> list[Status] | None:
    names = names_in(text)
    if names is None:
        return None
    if "all" in names:
        return []
    try:
        return [Status(name) for name in names]
    except ValueError:
        raise ValidationFailed(
            f"status: unknown status in {text!r}",
            details={"field": "status", "allowed": ["all", *(s.value for s in Status)]},
        ) from None
