"""/api/training/sessions: made, found, changed, steered, ended (reports: `web/reports.py`)."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from grandstand.assembly import Assembly
from grandstand.errors import ValidationFailed
from grandstand.model.checkpoints import checkpoint_name
from grandstand.model.session import Kind, Session, Status
from grandstand.service.access import Grant, Scope
from grandstand.service.files import checkpoint_archive, list_checkpoints, remove_checkpoint
from grandstand.service.sessions import VERBS, NewSession
from grandstand.store.session_groups import GroupBy
from grandstand.store.session_list import SORTS
from grandstand.web.answers import ANY, answer, gives, listing, shape, zipped
from grandstand.web.auth import Authority
from grandstand.web.bodies import (
    BulkChange,
    Finish,
    Heartbeat,
    SessionCreate,
    SessionUpdate,
    SessionWords,
    Sizes,
)
from grandstand.web.reports import BASE

COUNTS = {
    "type": "object",
    "description": "How many of each status the other filters leave, on all pages together.",
    "additionalProperties": {"type": "integer"},
}
LISTED = listing("sessions", shape("Session"), counts=COUNTS)
LISTED["properties"]["groups"] = {
    "type": "array",
    "description": "With `group`: the groups in order, and how many of the sessions are in each.",
    "items": {
        "type": "object",
        "required": ["value", "count"],
        "properties": {
            "value": {"type": ["string", "null"], "description": "Null: those that have none."},
            "count": {"type": "integer"},
        },
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
        return answer(_seen(await sessions.create(new), grant), 201)

    @router.get(BASE, **gives(LISTED, 422))
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
        sort: Annotated[
            str, Query(description=f"One of {', '.join(SORTS)}; `-` in front: the largest first.")
        ] = "-created_at",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: str | None = None,
        group: Annotated[
            GroupBy | None, Query(description="Tell the groups they fall into as well.")
        ] = None,
        within: Annotated[
            str | None,
            Query(
                max_length=300,
                description="Of one group alone: `tag:NAME`; `tag` is those without any. So with "
                "scenario, algorithm and status.",
            ),
        ] = None,
    ) -> Response:
        """Sessions, newest first; those that have ended only when asked for."""
        page = await sessions.listing(
            statuses=_statuses(status),
            algorithm=algorithm,
            tag=tag,
            q=q,
            archived=archived,
            locked=not grant.closed,
            sort=sort,
            limit=limit,
            cursor=cursor,
            group=group,
            within=_group(within),
        )
        groups = {} if page.groups is None else {"groups": page.groups}
        return answer(
            {
                "sessions": page.sessions,
                "total": page.total,
                "counts": page.counts,
                **groups,
                "next_cursor": page.next_cursor,
            }
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
        changes = _changes(body)
        if session_id in grant.closed:
            await _by_script(session_id, grant)
        return answer(_seen(await sessions.update(session_id, changes), grant))

    @router.patch(BASE + "/{session_id}", **gives(shape("Session"), 404, 422))
    async def describe_session(
        session_id: str, body: SessionWords, grant: Grant = operate
    ) -> Response:
        """Give a session another name, notes or tags, as people do who look after it."""
        return answer(await sessions.update(session_id, _changes(body)))

    @router.delete(BASE + "/{session_id}", **gives(None, 404, 409, status=204))
    async def delete_session(
        session_id: str, force: bool = False, files: bool = False, grant: Grant = operate
    ) -> Response:
        """Delete a session with all its records; its sockets close with 4410."""
        await sessions.delete(session_id, force=force, files=files)
        return Response(status_code=204)

    @router.post(BASE + "/bulk", **gives(ANY, 415, 422))
    async def change_many(body: BulkChange, grant: Grant = operate) -> Response:
        """Archive, tag or delete many sessions; one that is refused keeps none of the rest."""
        outcome = await house.bulk.change(
            body.ids,
            body.action,
            tags=body.tags,
            files=body.files,
            may=lambda session_id: grant.check(Scope.OPERATE, session_id),
        )
        refused = [
            {"session_id": session_id, "error": why.code, "message": why.message}
            for session_id, why in outcome.refused
        ]
        return answer({"done": outcome.done, "refused": refused})

    @router.post(BASE + "/sizes", **gives(ANY, 415, 422))
    async def sizes(body: Sizes, grant: Grant = watch) -> Response:
        """What sessions take on disk, in bytes; those that are not there are left out."""
        ids = [one for one in body.ids if grant.covers(Scope.WATCH, one)]
        rows = [
            {
                "session_id": size.database.session_id,
                "records": size.database.records,
                "log_bytes": size.database.log,
                "series_bytes": size.database.series,
                "media_bytes": size.database.media,
                "file_bytes": size.files,
            }
            for size in (await house.bulk.sizes(ids) if ids else [])
        ]
        return answer({"sessions": rows, "total": len(rows), "next_cursor": None})

    for verb in VERBS:
        _verb(router, house, operate, verb)

    @router.get(BASE + "/{session_id}/checkpoints", **gives(listing("checkpoints", ANY), 404))
    async def get_checkpoints(session_id: str, grant: Grant = watch) -> Response:
        """A session's checkpoints, newest first, each verified; damaged ones say what is wrong."""
        await sessions.get(session_id)
        found = await asyncio.to_thread(list_checkpoints, sessions.folder(session_id))
        rows = [asdict(checkpoint) for checkpoint in found]
        return answer({"checkpoints": rows, "total": len(rows), "next_cursor": None})

    @router.get(
        BASE + "/{session_id}/checkpoints/{episode}",
        response_class=StreamingResponse,
        **gives(None, 404, 422, files=("application/zip",)),
    )
    async def get_checkpoint(
        session_id: str, episode: Annotated[int, Path(ge=0)], grant: Grant = watch
    ) -> StreamingResponse:
        """One checkpoint, as a zip archive."""
        await sessions.get(session_id)
        folder = sessions.folder(session_id)
        file = await asyncio.to_thread(checkpoint_archive, folder, episode)
        return zipped(file, f"{session_id}-{checkpoint_name(episode)}.zip")

    @router.delete(
        BASE + "/{session_id}/checkpoints/{episode}", **gives(None, 404, 422, status=204)
    )
    async def delete_checkpoint(
        session_id: str, episode: Annotated[int, Path(ge=0)], grant: Grant = operate
    ) -> Response:
        """Delete one checkpoint."""
        await sessions.get(session_id)
        await asyncio.to_thread(remove_checkpoint, sessions.folder(session_id), episode)
        return Response(status_code=204)

    @router.get(BASE + "/{session_id}/order", **gives(ANY, 404, 409))
    async def get_order(session_id: str, grant: Grant = report) -> Response:
        """What the worker of a managed session is to do."""
        if session_id in grant.closed:
            grant.check(Scope.WATCH, session_id)
        return answer(await house.training.order(session_id, grant))

    @router.post(BASE + "/{session_id}/heartbeat", **gives(ANY, 404, 409, 422))
    async def post_heartbeat(session_id: str, body: Heartbeat, grant: Grant = report) -> Response:
        """A reporter's sign of life; answered with what is wanted of it."""
        from grandstand.model.session import Wanted

        known = Wanted(body.wanted) if body.wanted else None
        return answer(
            await house.training.heartbeat(
                session_id,
                grant,
                known=known,
                wait_seconds=body.wait_seconds,
                listens=body.listens,
                paused=body.paused,
            )
        )

    @router.post(BASE + "/{session_id}/finish", **gives(shape("Session"), 404, 409, 422))
    async def post_finish(session_id: str, body: Finish, grant: Grant = report) -> Response:
        """End a session."""
        told = body.model_dump()
        if session_id in grant.closed:
            await _by_script(session_id, grant)
        session = await house.training.finish(session_id, grant, told.pop("status"), **told)
        return answer(_seen(session, grant))

    async def _by_script(session_id: str, grant: Grant) -> None:
        """Hold that a session one may report into, but not watch, is a script's own: a worker has
        a token.

        Raises:
            Unauthenticated: the session wants the token of its room.
        """
        if (await sessions.get(session_id)).kind is Kind.MANAGED:
            grant.check(Scope.WATCH, session_id)

    return router


def _group(within: str | None) -> tuple[GroupBy, str | None] | None:
    """What `within` names.

    Raises:
        ValidationFailed: there are no such groups.
    """
    if within is None:
        return None
    by, colon, value = within.partition(":")
    if by not in list(GroupBy):
        raise ValidationFailed(
            f"within: there are no groups by {by!r}",
            detail="Write tag:NAME, or scenario, algorithm or status instead of tag.",
            details={"field": "within", "allowed": list(GroupBy)},
        )
    return GroupBy(by), value if colon else None


def _changes(body: SessionUpdate | SessionWords) -> dict[str, Any]:
    """What a body wants changed.

    Raises:
        ValidationFailed: something is to be nothing.
    """
    changes = body.model_dump(exclude_unset=True)
    empty = [k for k, v in changes.items() if v is None and k != "end_time"]
    if empty:
        raise ValidationFailed(f"{empty[0]}: must not be null", details={"field": empty[0]})
    return changes


def _seen(session: Session, grant: Grant) -> Session:
    """A session as whoever reports into it may see it: where it is watched in a room, barely."""
    if session.session_id not in grant.closed:
        return session
    return Session(
        session_id=session.session_id,
        training_session_id=session.training_session_id,
        kind=session.kind,
        name=session.session_id,
        algorithm="",
        status=session.status,
        wanted=session.wanted,
        created_at=session.created_at,
        last_seq=session.last_seq,
    )


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
