"""Webhook messages that wait to be taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from grandstand.store.tables import deliveries


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message for one endpoint.

    Attributes:
        message_id: the same for every attempt, and for every endpoint.
        attempts: how often it was offered.
    """

    id: int
    message_id: str
    endpoint: str
    body: bytes
    attempts: int


def put(
    connection: Connection,
    message_id: str,
    endpoints: Sequence[str],
    body: bytes,
    at: datetime,
) -> None:
    """Leave a message for each of `endpoints`, due at once."""
    connection.execute(
        insert(deliveries),
        [
            {
                "message_id": message_id,
                "endpoint": endpoint,
                "body": body,
                "attempts": 0,
                "created_at": at,
                "due_at": at,
            }
            for endpoint in endpoints
        ],
    )


def due(connection: Connection, at: datetime, limit: int) -> list[Delivery]:
    """Messages whose time has come, oldest first."""
    rows = connection.execute(
        select(
            deliveries.c.id,
            deliveries.c.message_id,
            deliveries.c.endpoint,
            deliveries.c.body,
            deliveries.c.attempts,
        )
        .where(deliveries.c.due_at <= at)
        .order_by(deliveries.c.id)
        .limit(limit)
    )
    return [Delivery(*row) for row in rows]


def claim(connection: Connection, at: datetime, until: datetime, limit: int) -> list[Delivery]:
    """The same, not due again before `until`: other instances leave them to us till then."""
    rows = connection.execute(
        select(
            deliveries.c.id,
            deliveries.c.message_id,
            deliveries.c.endpoint,
            deliveries.c.body,
            deliveries.c.attempts,
        )
        .where(deliveries.c.due_at <= at)
        .order_by(deliveries.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = [Delivery(*row) for row in rows]
    if found:
        connection.execute(
            update(deliveries)
            .where(deliveries.c.id.in_([one.id for one in found]))
            .values(due_at=until)
        )
    return found


def next_due(connection: Connection) -> datetime | None:
    """When the next one is due; None when nothing waits."""
    return connection.execute(select(func.min(deliveries.c.due_at))).scalar()


def postpone(connection: Connection, delivery_id: int, due_at: datetime) -> None:
    """It was not taken: offer it again later."""
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id)
        .values(attempts=deliveries.c.attempts + 1, due_at=due_at)
    )


def remove(connection: Connection, delivery_id: int) -> None:
    """It was taken, or will never be."""
    connection.execute(delete(deliveries).where(deliveries.c.id == delivery_id))
