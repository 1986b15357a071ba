"""Sessions as rows: making, finding, changing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    delete,
    func,
    select,
    update,
)

from grandstand.errors import Conflict
from grandstand.model.session import ALIVE, ENDED, Kind, Session, Status, Wanted
from grandstand.store.bulk import insert_new
from grandstand.store.log import no_session
from grandstand.store.tables import sessions
from grandstand.store.texts import storable

SEARCHED = frozenset(
    {"name", "session_id", "training_session_id", "scenario_name", "algorithm", "notes", "tags"}
)
"""Columns that a search looks through."""


def insert_session(connection: Connection, values: dict[str, Any]) -> int:
    """Store a new session; returns its primary key.

    Raises:
        Conflict: the id is taken (code ``session_exists``).
    """
    values = {**values, "search_text": _searchable(values)}
    statement = insert_new(connection, sessions).values(**values).returning(sessions.c.pk)
    pk = connection.scalar(statement)
    if pk is None:
        session_id = values["session_id"]
        raise Conflict(
            f"there is a session {session_id} already",
            code="session_exists",
            detail="Use another training_session_id, or resume=true to go on with that one.",
            details={"session_id": session_id},
        )
    return int(pk)


def row_of(connection: Connection, session_id: str) -> Row[Any]:
    """A session's row.

    Raises:
        NotFound: no such session.
    """
    row = _row(connection, session_id)
    if row is None:
        raise no_session(session_id)
    return row


def get(connection: Connection, session_id: str, *, to_change: bool = False) -> Session:
    """One session.

    Args:
        to_change: hold it until the end of the transaction, so that what is decided by what it is
            now still fits when it is written, whichever other servers are at it.

    Raises:
        NotFound: no such session.
    """
    row = _row(connection, session_id, to_change)
    if row is None:
        raise no_session(session_id)
    return shape(row)


def find(connection: Connection, session_id: str) -> Session | None:
    """One session, None when there is none of that id."""
    row = _row(connection, session_id)
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
    here = sessions.c.pk == session_pk
    connection.execute(update(sessions).where(here).values(**values))
    if not SEARCHED.isdisjoint(values):
        row = connection.execute(select(*(sessions.c[n] for n in SEARCHED)).where(here)).one()
        text = _searchable(dict(row._mapping))
        connection.execute(update(sessions).where(here).values(search_text=text))


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
        verbs=verbs(kind, status, row.listens),
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


def verbs(kind: Kind, status: Status, listens: str = "") -> list[str]:
    """What may be asked of a session now.

    Args:
        listens: of an external one, the verbs its script has said it looks out for, by commas.
    """
    if kind is Kind.EXTERNAL:
        now = {
            Status.RUNNING: ("pause", "stop"),
            Status.PAUSING: ("resume", "stop"),
            Status.PAUSED: ("resume", "stop"),
        }.get(status, ())
        heard = {*listens.split(","), "resume"} if listens else set()
        return [verb for verb in now if verb in heard]
    if status in (Status.STARTING, Status.RUNNING):
        return ["pause", "stop", "checkpoint"]
    if status in (Status.PAUSING, Status.PAUSED):
        return ["resume", "stop", "checkpoint"]
    if status is Status.QUEUED:
        return ["stop"]
    if status in (Status.STOPPED, Status.FAILED, Status.LOST):
        return ["resume"]
    return []


def _row(connection: Connection, session_id: str, to_change: bool = False) -> Row[Any] | None:
    if not storable(session_id):
        return None
    query = select(sessions).where(sessions.c.session_id == session_id)
    if to_change:
        query = query.with_for_update(key_share=True)
    return connection.execute(query).one_or_none()


def _eta(row: Row[Any], status: Status, latest: dict[str, Any]) -> float | None:
    elapsed = latest.get("training_time_elapsed")
    done: int = row.current_episode
    total: int | None = row.total_episodes
    if status is not Status.RUNNING or not isinstance(elapsed, (int, float)):
        return None
    if not done or not total or done > total:
        return None
    return round(float(elapsed) * float(total - done) / float(done), 1)


def _searchable(values: Mapping[str, Any]) -> str:
    """What a search looks through, whatever the case; one column, so that it is looked at once."""
    words = [values.get(name) or "" for name in sorted(SEARCHED - {"tags"})]
    return "\n".join([*words, *(values.get("tags") or [])]).casefold()


def heads(connection: Connection, session_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Key and newest seq of each of these sessions that is there."""
    rows = connection.execute(
        select(sessions.c.session_id, sessions.c.pk, sessions.c.last_seq).where(
            sessions.c.session_id.in_([i for i in session_ids if storable(i)])
        )
    )
    return {row.session_id: (row.pk, row.last_seq) for row in rows}
