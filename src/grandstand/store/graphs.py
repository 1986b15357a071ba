"""Graphs: points that later bodies append to, deduplicated, the newest kept."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update

from grandstand.model.telemetry import PerformanceGraph, as_utc
from grandstand.store.tables import graphs


def extend(connection: Connection, session_pk: int, graph: PerformanceGraph) -> None:
    """Work a graph body into the stored graph of the same id.

    A point of a (metric, timestamp) already there replaces it; of each metric the newest
    `max_points` stay. Metrics may be named without having points.
    """
    where = (graphs.c.session_pk == session_pk, graphs.c.graph_id == graph.graph_id)
    row = connection.execute(select(graphs).where(*where)).one_or_none()
    points: dict[str, list[dict[str, Any]]] = dict(row.data_points) if row is not None else {}
    for metric, new in graph.data_points.items():
        by_time = {p["timestamp"]: p for p in points.get(metric, [])}
        for point in new:
            at = as_utc(point.timestamp).isoformat().replace("+00:00", "Z")
            by_time[at] = {"timestamp": at, "value": point.value}
        # Without the Z, which sorts behind a fraction: 03 comes before 03.5.
        points[metric] = [by_time[at] for at in sorted(by_time, key=lambda at: at[:-1])]
    points = {metric: kept[-graph.max_points :] for metric, kept in points.items()}
    known = list(row.metrics) if row is not None else []
    values = {
        "title": graph.title or (row.title if row is not None else None),
        "y_label": graph.y_label or (row.y_label if row is not None else None),
        "metrics": list(dict.fromkeys([*known, *graph.metrics, *points])),
        "max_points": graph.max_points,
        "data_points": points,
    }
    if row is None:
        connection.execute(
            insert(graphs).values(session_pk=session_pk, graph_id=graph.graph_id, **values)
        )
    else:
        connection.execute(update(graphs).where(*where).values(**values))


def read(connection: Connection, session_pk: int) -> list[dict[str, Any]]:
    """Every graph of a session, in the shape it is reported in."""
    rows = connection.execute(
        select(graphs).where(graphs.c.session_pk == session_pk).order_by(graphs.c.graph_id)
    )
    return [
        {
            "graph_id": row.graph_id,
            "title": row.title,
            "y_label": row.y_label,
            "metrics": row.metrics,
            "data_points": row.data_points,
            "max_points": row.max_points,
        }
        for row in rows
    ]
