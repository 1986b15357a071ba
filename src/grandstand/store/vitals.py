"""How the database is, in a few numbers that cost little to ask for."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from grandstand.store import jobs
from grandstand.store.jobs import JobKind, JobStatus
from grandstand.store.tables import deliveries, sessions


@dataclass(frozen=True, slots=True)
class Vitals:
    """What `vitals` found.

    Attributes:
        sessions: status → how many have it; statuses nobody has are left out.
        queued: trainings that wait for a place.
        deliveries: webhook messages that nobody has taken yet.
        size_bytes: of the database, with what is free in it.
    """

    sessions: dict[str, int]
    queued: int
    deliveries: int
    size_bytes: int


def vitals(connection: Connection) -> Vitals:
    """Ask for all of it, at one moment."""
    counted = connection.execute(
        select(sessions.c.status, func.count()).group_by(sessions.c.status)
    )
    if connection.dialect.name == "sqlite":
        pages, size = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar() or 0)
            for name in ("page_count", "page_size")
        )
        size_bytes = pages * size
    else:
        found = connection.scalar(text("SELECT pg_database_size(current_database())"))
        size_bytes = int(found or 0)
    return Vitals(
        {str(status): int(count) for status, count in counted},
        jobs.count(connection, JobKind.TRAIN, JobStatus.QUEUED),
        int(connection.scalar(select(func.count()).select_from(deliveries)) or 0),
        size_bytes,
    )
