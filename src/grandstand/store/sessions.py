"""Sessions as rows: making, finding, changing them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    String,
    and_,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from grandstand.errors import Conflict, ValidationFailed
from grandstand.model.session import ALIVE, ENDED, Kind, Session, Status, Wanted
from grandstand.store.log import no_session
from grandstand.store.tables import sessions

SORTS = {
    "created_at": sessions.c.created_at,
    "start_time": sessions.c.start_time,
    "last_seen_at": sessions.c.last_seen_at,
    "name": sessions.c.name,
    "status": sessions.c.status,
    "algorithm": sessions.c.algorithm,
    "scenario_name": sessions.c.scenario_name,
    "current_episode": sessions.c.current_episode,
}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list of sessions."""

    sessions: list[Session]
    total: int
    next_cursor: str | None


def insert_session(connection: Connection, values: dict[str, Any]) -> int:
    """Store a new session; returns its primary key.

    Raises:
        Conflict: the id is taken (code ``session_exists``).
    """
    session_id = values["session_id"]
    if connection.scalar(select(sessions.c.pk).where(sessions.c.session_id == session_id)):
        raise Conflict(
            f"there is a session {session_id} already",
            code="session_exists",
            detail="Use another training_session_id, or resume=true to go on with that one.",
            details={"session_id": session_id},
        )
    result = connection.execute(insert(sessions).values(**values))
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def row_of(connection: Connection, session_id: str) -> Row[Any]:
    """A session's row.

    Raises:
        NotFound: no such session.
    """
    row = connection.execute(
        select(sessions).where(sessions.c.session_id == session_id)
    ).one_or_none()
    if row is None:
        raise no_session(session_id)
    return row


def get(connection: Connection, session_id: str) -> Session:
    """One session.

    Raises:
        NotFound: no such session.
    """
    return shape(row_of(connection, session_id))


def find(connection: Connection, session_id: str) -> Session | None:
    """One session, None when there is none of that id."""
    row = connection.execute(
        select(sessions).where(sessions.c.session_id == session_id)
    ).one_or_none()
    return shape(row) if row is not None else None


def at_work(connection: Connection) -> list[Session]:
    """Managed sessions with a worker at them, newest first."""
    rows = connection.execute(
        select(sessions)
        .where(
            sessions.c.kind == Kind.MANAGED.value,
            sessions.c.status.in_([s.value for s in ALIVE]),
        )
        .order_by(sessions.c.created_at.desc(), sessions.c.pk.desc())
    )
    return [shape(row) for row in rows]


def change(connection: Connection, session_pk: int, values: dict[str, Any]) -> None:
    """Set columns of a session's row."""
    connection.execute(update(sessions).where(sessions.c.pk == session_pk).values(**values))


def remove(connection: Connection, session_pk: int) -> None:
    """Delete a session and everything stored of it."""
    connection.execute(delete(sessions).where(sessions.c.pk == session_pk))


def silent_since(connection: Connection, moment: datetime, kind: Kind) -> list[str]:
    """Ids of sessions that should report and have not since `moment`."""
    rows = connection.execute(
        select(sessions.c.session_id).where(
            sessions.c.kind == kind.value,
            sessions.c.status.in_([s.value for s in ALIVE]),
            func.coalesce(sessions.c.last_seen_at, sessions.c.created_at) < moment,
        )
    )
    return [session_id for (session_id,) in rows]


def ended_before(connection: Connection, moment: datetime) -> list[str]:
    """Ids of sessions that ended before `moment`."""
    rows = connection.execute(
        select(sessions.c.session_id).where(
            sessions.c.status.in_([s.value for s in ENDED]), sessions.c.end_time < moment
        )
    )
    return [session_id for (session_id,) in rows]


def listing(
    connection: Connection,
    *,
    statuses: Sequence[Status] | None = None,
    kind: Kind | None = None,
    algorithm: str | None = None,
    tag: str | None = None,
    q: str | None = None,
    archived: bool | None = False,
    sort: str = "-created_at",
    limit: int = 100,
    cursor: str | None = None,
) -> Page:
    """A page of sessions.

    Args:
        statuses: only these; None means those that have not ended, an empty list means all.
        q: part of the name, id, scenario, algorithm, tags or notes, whatever the case.
        sort: a key of `SORTS`, with ``-`` in front for the largest first.
        cursor: `next_cursor` of the page before.

    Raises:
        ValidationFailed: unknown sort, or a cursor of another list.
    """
    column = SORTS.get(sort.lstrip("-"))
    if column is None:
        raise ValidationFailed(
            f"sort: unknown key {sort!r}",
            detail=f"Use one of {', '.join(SORTS)}, with - in front for descending.",
            details={"field": "sort", "allowed": list(SORTS)},
        )
    where: list[ColumnElement[bool]] = []
    if statuses is None:
        where.append(sessions.c.status.not_in([s.value for s in ENDED]))
    elif statuses:
        where.append(sessions.c.status.in_([s.value for s in statuses]))
    if kind is not None:
        where.append(sessions.c.kind == kind.value)
    if algorithm:
        where.append(sessions.c.algorithm == algorithm)
    if tag:
        where.append(cast(sessions.c.tags, String).like(f"%{_like(json.dumps(tag))}%", escape="\\"))
    if q:
        pattern = f"%{_like(q)}%"
        where.append(
            or_(
                *(
                    c.ilike(pattern, escape="\\")
                    for c in (
                        sessions.c.name,
                        sessions.c.session_id,
                        sessions.c.scenario_name,
                        sessions.c.algorithm,
                        sessions.c.notes,
                    )
                ),
                cast(sessions.c.tags, String).ilike(pattern, escape="\\"),
            )
        )
    if archived is not None:
        where.append(sessions.c.archived.is_(archived))
    total = connection.scalar(select(func.count()).select_from(sessions).where(*where)) or 0
    offset = _offset(cursor, sort)
    down = sort.startswith("-")
    order = (
        (column.desc().nulls_last(), sessions.c.pk.desc())
        if down
        else (column.asc().nulls_last(), sessions.c.pk.asc())
    )
    query = select(sessions).where(and_(True, *where)).order_by(*order)
    rows = connection.execute(query.offset(offset).limit(limit + 1)).all()
    more = len(rows) > limit
    return Page(
        [shape(row) for row in rows[:limit]],
        total,
        _cursor(sort, offset + limit) if more else None,
    )


def shape(row: Row[Any]) -> Session:
    """A row as the session every door shows."""
    status, kind = Status(row.status), Kind(row.kind)
    latest = row.latest or {}
    extra = latest.get("extra") or {}
    speed = extra.get("steps_per_second") or latest.get("actions_per_second")
    return Session(
        session_id=row.session_id,
        training_session_id=row.training_session_id,
        kind=kind,
        name=row.name,
        notes=row.notes,
        algorithm=row.algorithm,
        scenario_name=row.scenario_name,
        model_generation=row.model_generation,
        status=status,
        wanted=Wanted(row.wanted),
        verbs=verbs(kind, status),
        stop_reason=row.stop_reason,
        error=row.error,
        created_at=row.created_at,
        start_time=row.start_time,
        end_time=row.end_time,
        last_seen_at=row.last_seen_at,
        current_episode=row.current_episode,
        total_episodes=row.total_episodes,
        eta_seconds=_eta(row, status, latest),
        speed=speed if isinstance(speed, (int, float)) else None,
        latest=row.latest,
        last_seq=row.last_seq,
        attempt=row.attempt,
        room_code=row.room_code,
        enable_spectators=row.enable_spectators,
        tags=row.tags,
        config=row.config,
        parent_session_id=row.parent_session_id,
        archived=row.archived,
    )


def verbs(kind: Kind, status: Status) -> list[str]:
    """What may be asked of a session now. An external script takes no orders yet."""
    if kind is Kind.EXTERNAL:
        return []
    if status in (Status.STARTING, Status.RUNNING):
        return ["pause", "stop", "checkpoint"]
    if status in (Status.PAUSING, Status.PAUSED):
        return ["resume", "stop"]
    if status is Status.QUEUED:
        return ["stop"]
    if status in (Status.STOPPED, Status.FAILED, Status.LOST):
        return ["resume"]
    return []


def _eta(row: Row[Any], status: Status, latest: dict[str, Any]) -> float | None:
    elapsed = latest.get("training_time_elapsed")
    done: int = row.current_episode
    total: int | None = row.total_episodes
    if status is not Status.RUNNING or not isinstance(elapsed, (int, float)):
        return None
    if not done or not total or done > total:
        return None
    return round(float(elapsed) * float(total - done) / float(done), 1)


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _cursor(sort: str, offset: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, offset]).encode()).decode().rstrip("=")


def _offset(cursor: str | None, sort: str) -> int:
    if cursor is None:
        return 0
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        of, offset = json.loads(base64.urlsafe_b64decode(padded))
        if of == sort and isinstance(offset, int) and 0 <= offset < 2**53:
            return offset
    except (TypeError, ValueError, RecursionError):
        pass  # refused below, in words
    raise ValidationFailed(
        "cursor: not one of this list",
        detail="Use next_cursor of the previous page with the same sort, or leave it out.",
        details={"field": "cursor"},
    )
