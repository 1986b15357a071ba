"""Supervisors on this and other machines: who looks for work, what they can do, when last heard."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from grandstand.store.tables import supervisors


@dataclass(frozen=True, slots=True)
class Supervisor:
    """A supervisor as it last told of itself.

    Attributes:
        name: its own among all.
        instance: of the process that has the name now.
        labels: what its machine has, for trainings that need it.
        capacity: trainings it runs at once.
        running: trainings it runs now.
        draining: it was asked to take no more.
        here: whether it is part of a server, not on its own.
        version: of the program.
        started_at, last_seen_at: UTC.
    """

    name: str
    instance: str
    labels: tuple[str, ...]
    capacity: int
    running: int
    draining: bool
    here: bool
    version: str
    started_at: datetime
    last_seen_at: datetime


def get(connection: Connection, name: str) -> Supervisor | None:
    """One of them."""
    row = connection.execute(select(supervisors).where(supervisors.c.name == name)).one_or_none()
    return _shape(row) if row is not None else None


def put(connection: Connection, told: Supervisor) -> None:
    """Store what one told of itself."""
    values: dict[str, Any] = {
        "instance": told.instance,
        "labels": list(told.labels),
        "capacity": told.capacity,
        "running": told.running,
        "draining": told.draining,
        "here": told.here,
        "version": told.version,
        "started_at": told.started_at,
        "last_seen_at": told.last_seen_at,
    }
    known = connection.execute(
        update(supervisors).where(supervisors.c.name == told.name).values(**values)
    )
    if known.rowcount == 0:
        connection.execute(insert(supervisors).values(name=told.name, **values))


def change(connection: Connection, name: str, **values: Any) -> None:
    """Set columns of one."""
    connection.execute(update(supervisors).where(supervisors.c.name == name).values(**values))


def remove(connection: Connection, name: str, instance: str) -> None:
    """Forget one that has left, unless another process has its name by now."""
    connection.execute(
        delete(supervisors).where(supervisors.c.name == name, supervisors.c.instance == instance)
    )


def forget(connection: Connection, before: datetime, *, here_before: datetime) -> None:
    """Forget those not heard of since; those that are part of a server by a limit of their own."""
    seen = supervisors.c.last_seen_at
    connection.execute(
        delete(supervisors).where(
            (seen < before) | (supervisors.c.here.is_(True) & (seen < here_before))
        )
    )


def listing(connection: Connection) -> list[Supervisor]:
    """All of them, by name."""
    rows = connection.execute(select(supervisors).order_by(supervisors.c.name))
    return [_shape(row) for row in rows]


def _shape(row: Row[Any]) -> Supervisor:
    return Supervisor(
        name=row.name,
        instance=row.instance,
        labels=tuple(row.labels),
        capacity=row.capacity,
        running=row.running,
        draining=bool(row.draining),
        here=bool(row.here),
        version=row.version,
        started_at=row.started_at,
        last_seen_at=row.last_seen_at,
    )
