"""/api/supervisors: who takes trainings, on this machine and on others."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Response

from grandstand.assembly import Assembly
from grandstand.service.access import Grant, Scope
from grandstand.service.supervisors import Told
from grandstand.store.jobs import Job
from grandstand.store.supervisors import Supervisor
from grandstand.web.answers import ANY, answer, gives, listing
from grandstand.web.auth import Authority
from grandstand.web.bodies import Drain, Launched, Take, WorkerGone

BASE = "/api/supervisors"
SHAPE: Final[dict[str, Any]] = {
    "type": "object",
    "description": "A supervisor.",
    "properties": {
        "name": {"type": "string"},
        "labels": {"type": "array", "items": {"type": "string"}},
        "capacity": {"type": "integer", "description": "Trainings it runs at once."},
        "running": {"type": "integer"},
        "draining": {"type": "boolean", "description": "It takes no more."},
        "here": {"type": "boolean", "description": "Part of a server, not on its own."},
        "living": {"type": "boolean", "description": "Heard of within three heartbeats."},
        "version": {"type": "string"},
        "started_at": {"type": "string", "format": "date-time"},
        "last_seen_at": {"type": "string", "format": "date-time"},
    },
}


def routes(house: Assembly, authority: Authority) -> APIRouter:
    """The router."""
    router = APIRouter(tags=["workers"])
    watch = authority.require(Scope.WATCH)
    operate = authority.require(Scope.OPERATE)
    supervise = authority.require(Scope.SUPERVISE)
    supervisors = house.supervisors

    @router.get(BASE, **gives(listing("supervisors", SHAPE)))
    async def list_supervisors(grant: Grant = watch) -> Response:
        """Who takes trainings, by name."""
        rows = [_shown(*one) for one in await supervisors.listing()]
        return answer({"supervisors": rows, "total": len(rows), "next_cursor": None})

    @router.patch(BASE + "/{name}", **gives(SHAPE, 404, 415, 422))
    async def drain_supervisor(name: str, body: Drain, grant: Grant = operate) -> Response:
        """Have a supervisor take no more trainings (those it runs go on), or take some again."""
        return answer(_shown(*await supervisors.drain(name, body.draining)))

    @router.post(BASE + "/{name}/take", **gives(ANY, 403, 409, 415, 422))
    async def take_job(name: str, body: Take, grant: Grant = supervise) -> Response:
        """A supervisor's sign of life; answered with a training to run, as soon as there is one."""
        told = Told(
            name,
            body.instance,
            tuple(body.labels),
            body.capacity,
            body.running,
            body.version,
        )
        given = await supervisors.take(
            told, wait_seconds=body.wait_seconds, room=body.room, draining=body.draining
        )
        job = given.job
        return answer(
            {
                "job": {**_job(job), "token": given.token} if job is not None else None,
                "draining": given.draining,
                "heartbeat_seconds": supervisors.heartbeat_seconds,
                "nice": house.settings.training.nice,
            }
        )

    @router.get(BASE + "/{name}/jobs", **gives(listing("jobs", ANY), 403))
    async def list_jobs(name: str, grant: Grant = supervise) -> Response:
        """The trainings a supervisor has."""
        rows = [
            {**_job(job), "silent_seconds": silent}
            for job, silent in await supervisors.jobs_of(name)
        ]
        return answer({"jobs": rows, "total": len(rows), "next_cursor": None})

    @router.post(
        BASE + "/{name}/jobs/{job_id}/launched", **gives(None, 403, 404, 415, 422, status=204)
    )
    async def job_launched(
        name: str, job_id: int, body: Launched, grant: Grant = supervise
    ) -> Response:
        """Say by which handle the worker of a training is found again."""
        await supervisors.launched(name, job_id, body.attempt, body.handle)
        return Response(status_code=204)

    @router.post(BASE + "/{name}/jobs/{job_id}/gone", **gives(None, 403, 404, 415, 422, status=204))
    async def job_gone(
        name: str, job_id: int, body: WorkerGone, grant: Grant = supervise
    ) -> Response:
        """Say that a worker has ended; its training goes back into the queue, or has failed."""
        await supervisors.gone(
            name, job_id, body.attempt, why=body.why, error=body.error, counts=body.counts
        )
        return Response(status_code=204)

    @router.delete(BASE + "/{name}", **gives(None, 403, status=204))
    async def leave(name: str, instance: str, grant: Grant = supervise) -> Response:
        """A supervisor leaves."""
        await supervisors.leave(name, instance)
        return Response(status_code=204)

    return router


def _shown(one: Supervisor, living: bool) -> dict[str, Any]:
    return {
        "name": one.name,
        "labels": one.labels,
        "capacity": one.capacity,
        "running": one.running if living else 0,
        "draining": one.draining,
        "here": one.here,
        "living": living,
        "version": one.version,
        "started_at": one.started_at,
        "last_seen_at": one.last_seen_at,
    }


def _job(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "session_id": job.session_id,
        "attempt": job.attempt,
        "handle": job.handle,
    }
