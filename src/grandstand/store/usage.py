"""How much of the disk a session takes, by what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from grandstand.store.tables import blocks, log, media, sessions


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes in the database.

    Attributes:
        records: what was reported, by its last seq.
        log: what was reported, as it came (or packed).
        series: curves made of it.
        media: images.
    """

    session_id: str
    records: int
    log: int
    series: int
    media: int


def usage(connection: Connection, session_ids: Sequence[str]) -> list[Usage]:
    """What sessions take, those that there are; lengths alone are read, no content.

    Args:
        session_ids: at most a thousand.
    """
    rows = connection.execute(
        select(sessions.c.pk, sessions.c.session_id, sessions.c.last_seq).where(
            sessions.c.session_id.in_(session_ids)
        )
    ).all()
    keys = [row.pk for row in rows]
    by_part: list[dict[int, int]] = []
    for table, length in (
        (log, func.length(log.c.body)),
        (blocks, func.length(blocks.c.coarse) + func.length(blocks.c.fine)),
        (media, func.length(media.c.image)),
    ):
        size = func.coalesce(func.sum(length), 0)
        found = connection.execute(
            select(table.c.session_pk, size)
            .where(table.c.session_pk.in_(keys))
            .group_by(table.c.session_pk)
        )
        by_part.append({pk: int(total) for pk, total in found})
    logs, series, images = by_part
    return [
        Usage(
            row.session_id,
            row.last_seq,
            logs.get(row.pk, 0),
            series.get(row.pk, 0),
            images.get(row.pk, 0),
        )
        for row in rows
    ]
