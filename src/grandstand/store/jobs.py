"""Jobs: what a worker is to do next, claimed by one supervisor at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import combinations
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select, update

from grandstand.store.tables import jobs, sessions

MOST_LABELS = 8
"""Of one machine: which jobs it fits is a list of all subsets of them."""


class JobKind(StrEnum):
    """What the worker does."""

    TRAIN = "train"
    EVALUATE = "evaluate"


class JobStatus(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is stored."""

    id: int
    kind: JobKind
    status: JobStatus
    session_pk: int | None
    session_id: str | None
    attempt: int
    evaluation_id: str | None
    priority: int
    place: int
    """Among those of the same priority the least goes first."""
    needs: tuple[str, ...]
    """Labels a machine must have for it."""
    payload: dict[str, Any]
    failures: int
    claimed_by: str | None
    handle: str | None
    """By which its supervisor finds its worker again."""
    heartbeat_at: datetime | None


_columns = (
    *jobs.c,
    sessions.c.session_id.label("the_session_id"),
    sessions.c.attempt.label("the_attempt"),
)
_joined = jobs.outerjoin(sessions, sessions.c.pk == jobs.c.session_pk)
ORDER = (jobs.c.priority.desc(), jobs.c.place, jobs.c.id)
"""In which order jobs are claimed."""


def add(
    connection: Connection,
    kind: JobKind,
    at: datetime,
    payload: dict[str, Any],
    *,
    session_pk: int | None = None,
    evaluation_id: str | None = None,
    priority: int = 0,
    needs: Iterable[str] = (),
) -> int:
    """Put a job at the end of the queue (of its priority); returns its id."""
    last = select(func.coalesce(func.max(jobs.c.place), 0)).scalar_subquery()
    result = connection.execute(
        insert(jobs).values(
            place=last + 1,
            kind=kind.value,
            status=JobStatus.QUEUED.value,
            session_pk=session_pk,
            evaluation_id=evaluation_id,
            priority=priority,
            needs=_written(needs),
            payload=payload,
            created_at=at,
        )
    )
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def claim(
    connection: Connection,
    kind: JobKind,
    supervisor: str,
    at: datetime,
    labels: Iterable[str] = (),
) -> Job | None:
    """Take the next queued job (see `ORDER`) that needs no other labels. None when there is none.

    One statement, so two supervisors never take the same.
    """
    waiting = (
        select(jobs.c.id)
        .where(jobs.c.status == JobStatus.QUEUED.value, jobs.c.kind == kind.value, fits(labels))
        .order_by(*ORDER)
        .limit(1)
    )
    if connection.dialect.name != "sqlite":
        waiting = waiting.with_for_update(skip_locked=True)
    row = connection.execute(
        update(jobs)
        .where(jobs.c.id == waiting.scalar_subquery())
        .values(
            status=JobStatus.CLAIMED.value,
            claimed_by=supervisor,
            claimed_at=at,
            heartbeat_at=at,
            handle=None,
        )
        .returning(jobs.c.id)
    ).one_or_none()
    return get(connection, row.id) if row is not None else None


def fits(labels: Iterable[str]) -> ColumnElement[bool]:
    """Whether a machine with these labels, at most `MOST_LABELS`, will do for a job."""
    have = sorted(set(labels))
    met = [_written(some) for n in range(len(have) + 1) for some in combinations(have, n)]
    return jobs.c.needs.in_(met)


def waits(connection: Connection, kind: JobKind, labels: Iterable[str]) -> bool:
    """Whether a job waits that a machine with these labels will do for."""
    query = select(jobs.c.id).where(
        jobs.c.status == JobStatus.QUEUED.value, jobs.c.kind == kind.value, fits(labels)
    )
    return connection.execute(query.limit(1)).one_or_none() is not None


def get(connection: Connection, job_id: int) -> Job | None:
    """One job."""
    row = connection.execute(
        select(*_columns).select_from(_joined).where(jobs.c.id == job_id)
    ).one_or_none()
    return _shape(row) if row is not None else None


def of_session(connection: Connection, session_pk: int) -> Job | None:
    """A managed session's job."""
    row = connection.execute(
        select(*_columns).select_from(_joined).where(jobs.c.session_pk == session_pk)
    ).one_or_none()
    return _shape(row) if row is not None else None


def of_evaluation(connection: Connection, evaluation_id: str) -> Job | None:
    """An evaluation's job."""
    row = connection.execute(
        select(*_columns).select_from(_joined).where(jobs.c.evaluation_id == evaluation_id)
    ).one_or_none()
    return _shape(row) if row is not None else None


def in_status(connection: Connection, status: JobStatus) -> list[Job]:
    """Every job of a status, in the order in which they would be claimed."""
    rows = connection.execute(
        select(*_columns).select_from(_joined).where(jobs.c.status == status.value).order_by(*ORDER)
    )
    return [_shape(row) for row in rows]


def count(connection: Connection, kind: JobKind, status: JobStatus) -> int:
    """How many jobs of a kind are in a status."""
    query = select(func.count()).where(jobs.c.kind == kind.value, jobs.c.status == status.value)
    return int(connection.scalar(query) or 0)


def put_in_order(connection: Connection, ordered: Sequence[Job], priority: int) -> None:
    """Give jobs a priority and, among themselves, the order they come in.

    They share out the places they have, so nobody else's changes.
    """
    least = 0
    for job, free in zip(ordered, sorted(job.place for job in ordered), strict=True):
        place = max(free, least)  # two that came at once may have got the same
        least = place + 1
        if (job.place, job.priority) != (place, priority):
            change(connection, job.id, place=place, priority=priority)


def change(connection: Connection, job_id: int, **values: Any) -> None:
    """Set columns of a job."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


def _written(labels: Iterable[str]) -> str:
    return ",".join(sorted(set(labels)))


def _shape(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        kind=JobKind(row.kind),
        status=JobStatus(row.status),
        session_pk=row.session_pk,
        session_id=row.the_session_id,
        attempt=row.the_attempt or 0,
        evaluation_id=row.evaluation_id,
        priority=row.priority,
        needs=tuple(filter(None, row.needs.split(","))),
        place=row.place,
        payload=row.payload,
        failures=row.failures,
        claimed_by=row.claimed_by,
        handle=row.handle,
        heartbeat_at=row.heartbeat_at,
    )
