"""Evaluations: how well a model plays, asked for once and kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from grandstand.errors import NotFound
from grandstand.store.tables import evaluations
from grandstand.store.texts import storable


def add(
    connection: Connection,
    evaluation_id: str,
    model_name: str,
    scenario_name: str | None,
    request: dict[str, Any],
    at: datetime,
) -> None:
    """Store an evaluation that is waiting."""
    connection.execute(
        insert(evaluations).values(
            id=evaluation_id,
            model_name=model_name,
            scenario_name=scenario_name,
            request=request,
            status="queued",
            created_at=at,
        )
    )


def get(connection: Connection, evaluation_id: str) -> Row[Any]:
    """One evaluation.

    Raises:
        NotFound: no such evaluation.
    """
    row = (
        connection.execute(
            select(evaluations).where(evaluations.c.id == evaluation_id)
        ).one_or_none()
        if storable(evaluation_id)
        else None
    )
    if row is None:
        raise NotFound(
            f"there is no evaluation {evaluation_id}",
            code="evaluation_not_found",
            details={"evaluation_id": evaluation_id},
        )
    return row


def change(connection: Connection, evaluation_id: str, **values: Any) -> None:
    """Set columns of an evaluation."""
    connection.execute(
        update(evaluations).where(evaluations.c.id == evaluation_id).values(**values)
    )


def listing(
    connection: Connection, model_name: str | None = None, limit: int = 200
) -> list[Row[Any]]:
    """The newest evaluations, of one model or of all, newest first."""
    query = select(evaluations).order_by(evaluations.c.created_at.desc(), evaluations.c.id.desc())
    if model_name is not None:
        query = query.where(evaluations.c.model_name == model_name)
    return list(connection.execute(query.limit(limit)))


def completed(connection: Connection, model_names: list[str]) -> dict[str, Row[Any]]:
    """The newest finished evaluation of each model that has one, by the model's name."""
    rows = connection.execute(
        select(evaluations)
        .where(evaluations.c.model_name.in_(model_names), evaluations.c.status == "completed")
        .order_by(evaluations.c.created_at, evaluations.c.id)
    )
    return {row.model_name: row for row in rows}
