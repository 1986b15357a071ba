"""/api/training/start, stop, status: managed trainings."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from grandstand.assembly import Assembly
from grandstand.model.session import Session, Status
from grandstand.service.access import Grant, Scope
from grandstand.service.queue import Waiting
from grandstand.service.training import NewTraining
from grandstand.web.answers import ANY, answer, gives, listing, shape
from grandstand.web.auth import Authority
from grandstand.web.bodies import QueueChange, TrainingStart, TrainingStop

WAITING = {
    "type": "object",
    "description": "A training that waits.",
    "properties": {
        "position": {"type": "integer", "description": "1 goes next."},
        "priority": {"type": "integer", "description": "The highest goes first."},
        "session": shape("Session"),
    },
    "required": ["position", "priority", "session"],
}


def routes(house: Assembly, authority: Authority) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/api/training", tags=["training"])
    watch = authority.require(Scope.WATCH)
    operate = authority.require(Scope.OPERATE)

    @router.post("/start", **gives(ANY, 400, 404, 415, 422, 503, status=202))
    async def start_training(body: TrainingStart, grant: Grant = operate) -> Response:
        """Start a training on a scenario."""
        told = body.model_dump(exclude={"early_stopping"})
        told["tags"], told["labels"] = tuple(told["tags"]), tuple(told["labels"])
        if body.early_stopping is not None:
            told["early_stopping"] = body.early_stopping.model_dump(
                by_alias=True, exclude_none=True
            )
        if (source := (told["resume_from"] or {}).get("session_id")) is not None:
            grant.check(Scope.OPERATE, source)
        started = await house.training.start(NewTraining(**told))
        session = started.session
        waiting = started.queue_position > 0
        return answer(
            {
                "message": f"training on {session.scenario_name} "
                + (f"waits at place {started.queue_position}" if waiting else "is starting"),
                "session_id": session.session_id,
                "status": session.status,
                "queue_position": started.queue_position,
                "data": {
                    "status": session.status,
                    "scenario_name": session.scenario_name,
                    "num_episodes": started.num_episodes,
                    "start_time": session.start_time or session.created_at,
                },
            },
            202,
        )

    @router.post("/stop", **gives(ANY, 400, 404, 409, 422))
    async def stop_training(body: TrainingStop | None = None, grant: Grant = operate) -> Response:
        """Stop a training; its model is kept."""
        session_id = body.session_id if body else None
        if session_id is not None:
            grant.check(Scope.OPERATE, session_id)
        session = await house.training.stop(session_id, closed=grant.closed)
        return answer(
            {
                "message": _stopped(session),
                "session_id": session.session_id,
                "status": session.status,
                "data": {
                    "status": session.status,
                    "scenario_name": session.scenario_name,
                    "episodes_completed": session.current_episode,
                    "total_episodes": session.total_episodes,
                    "models": house.shelf.files_of(session),
                },
            }
        )

    @router.get("/status", **gives(ANY))
    async def training_status(grant: Grant = watch) -> Response:
        """What is being trained now."""
        return answer(await house.training.status(grant.closed))

    @router.get("/queue", **gives(listing("queue", WAITING)))
    async def training_queue(grant: Grant = watch) -> Response:
        """The trainings that wait for a free place, the next one first."""
        return answer(_queue(await house.queue.listing(), grant))

    @router.patch("/queue/{session_id}", **gives(listing("queue", WAITING), 404, 409, 422))
    async def move_in_queue(session_id: str, body: QueueChange, grant: Grant = operate) -> Response:
        """Give a waiting training another priority or place."""
        return answer(_queue(await house.queue.move(session_id, **body.model_dump()), grant))

    @router.delete("/queue/{session_id}", **gives(shape("Session"), 404, 409))
    async def leave_queue(session_id: str, grant: Grant = operate) -> Response:
        """Take a training out of the queue; its session is stopped and can be resumed."""
        return answer(await house.queue.cancel(session_id))

    return router


def _queue(waiting: list[Waiting], grant: Grant) -> dict[str, Any]:
    rows = [
        {"position": w.position, "priority": w.priority, "session": w.session}
        for w in waiting
        if grant.covers(Scope.WATCH, w.session.session_id)
    ]
    return {"queue": rows, "total": len(rows), "next_cursor": None}


def _stopped(session: Session) -> str:
    if session.status is Status.STOPPED:
        return "training stopped"
    if session.status is Status.STOPPING:
        return "training is stopping; it ends at its next update"
    return f"training had {session.status.value} already"
