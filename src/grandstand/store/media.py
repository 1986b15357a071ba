"""Media beside the log: where in it they are, and the bytes of images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, select, update

from grandstand.store.tables import media

NEAR: Final = 64
"""Records so close together are read from the log in one go."""


class Stored(NamedTuple):
    """An image as it was reported."""

    media_type: str
    image: bytes


def find(connection: Connection, session_pk: int, seq: int) -> Stored | None:
    """The image that a session reported at this seq; None where that record is none."""
    row = connection.execute(
        select(media.c.media_type, media.c.image).where(
            media.c.session_pk == session_pk, media.c.seq == seq, media.c.image.is_not(None)
        )
    ).one_or_none()
    return Stored(row.media_type, bytes(row.image)) if row is not None else None


def places(
    connection: Connection,
    session_pk: int,
    types: Iterable[str],
    after_seq: int,
    until_seq: int,
    limit: int,
) -> list[int]:
    """Seqs of a session's media of these types, in order, at most so many."""
    found = connection.scalars(
        select(media.c.seq)
        .where(
            media.c.session_pk == session_pk,
            media.c.seq > after_seq,
            media.c.seq <= until_seq,
            media.c.kind.in_(sorted(types)),
        )
        .order_by(media.c.seq)
        .limit(limit)
    )
    return list(found)


def stretches(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """Seqs as stretches of the log: each after the first number up to the second."""
    found: list[tuple[int, int]] = []
    for seq in seqs:
        if found and seq - found[-1][1] <= NEAR:
            found[-1] = found[-1][0], seq
        else:
            found.append((seq - 1, seq))
    return found


def sessions_over(connection: Connection, most_bytes: int) -> list[int]:
    """Keys of the sessions whose images have more bytes than that."""
    found = connection.scalars(
        select(media.c.session_pk)
        .where(media.c.image.is_not(None))
        .group_by(media.c.session_pk)
        .having(func.sum(func.length(media.c.image)) > most_bytes)
    )
    return list(found)


def trim(connection: Connection, session_pk: int, most_bytes: int) -> int:
    """Let go of a session's oldest images until the others have no more bytes than that.

    Returns:
        How many went. What their records tell of them stays.
    """
    rows = connection.execute(
        select(media.c.seq, func.length(media.c.image).label("size"))
        .where(media.c.session_pk == session_pk, media.c.image.is_not(None))
        .order_by(media.c.seq.desc())
    )
    total = 0
    for row in rows:
        total += row.size
        if total > most_bytes:
            break
    else:
        return 0
    rows.close()
    gone = connection.execute(
        update(media)
        .where(media.c.session_pk == session_pk, media.c.seq <= row.seq, media.c.image.is_not(None))
        .values(image=None)
    )
    return int(gone.rowcount)
