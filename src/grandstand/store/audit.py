"""The audit log: who asked for what, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from grandstand.store.tables import audit


@dataclass(frozen=True, slots=True)
class Entry:
    """One line.

    Attributes:
        subject: who, by name.
        action: method and route, or what happened at the door.
        target: the session, room, user or key that it was about.
        status: the HTTP status that it was answered with.
        error: the code, where it was refused.
    """

    id: int
    at: datetime
    subject: str
    address: str
    action: str
    target: str | None
    status: int
    error: str | None


def write(
    connection: Connection,
    at: datetime,
    subject: str,
    address: str,
    action: str,
    target: str | None,
    status: int,
    error: str | None,
) -> None:
    """Append a line."""
    connection.execute(
        insert(audit).values(
            at=at,
            subject=_held(subject),
            address=address[:64],
            action=_held(action),
            target=None if target is None else _held(target),
            status=status,
            error=error,
        )
    )


def read(
    connection: Connection, *, before: int | None, limit: int, target: str | None = None
) -> list[Entry]:
    """Lines, newest first.

    Args:
        before: only those with a lower id.
        target: only those about it.
    """
    wanted = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(audit.c.id < before)
    if target is not None:
        wanted = wanted.where(audit.c.target == target)
    return [Entry(*row) for row in connection.execute(wanted)]


def drop_before(connection: Connection, at: datetime) -> int:
    """Drop lines older than a moment; returns how many."""
    return connection.execute(delete(audit).where(audit.c.at < at)).rowcount


def _held(text: str) -> str:
    """As every database holds it: bounded, and without NUL."""
    return text.replace("\0", "")[:200]
