"""Where in the log the decisions of an episode are, so that none must be searched."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeAlias

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from grandstand.model.telemetry import PLAYED, BotDecision
from grandstand.store.tables import decided_episodes as table

Decided: TypeAlias = dict[int, list[int]]
"""By episode: first seq, last seq, how many, how many of them played to be looked at."""


def note(decided: Decided, seq: int, decision: BotDecision) -> None:
    """Count a decision on its way into the log; one that names no episode is not counted."""
    if decision.episode is None:
        return
    row = decided.setdefault(decision.episode, [seq, seq, 0, 0])
    row[1] = seq
    row[2] += 1
    row[3] += bool(decision.extra and decision.extra.get(PLAYED))


def store(connection: Connection, decided: Mapping[int, Decided]) -> None:
    """Add what was noted, by session, to what is known."""
    rows = [
        dict(zip(table.c.keys(), (pk, episode, *row), strict=True))
        for pk, episodes in decided.items()
        for episode, row in episodes.items()
    ]
    if not rows:
        return
    kind = sqlite if connection.dialect.name == "sqlite" else postgresql
    insert = kind.insert(table)
    statement = insert.on_conflict_do_update(
        index_elements=[table.c.session_pk, table.c.episode],
        set_={
            "last_seq": insert.excluded.last_seq,
            "count": table.c["count"] + insert.excluded["count"],
            "played": table.c.played + insert.excluded.played,
        },
    )
    connection.execute(statement, rows)


def places(
    connection: Connection, session_pk: int, episodes: Collection[int]
) -> dict[int, dict[str, int]]:
    """What is known of those of `episodes` that have decisions: ``{count, played, first_seq,
    last_seq}`` by number."""
    columns = (table.c["count"], table.c.played, table.c.first_seq, table.c.last_seq)
    rows = connection.execute(
        select(table.c.episode, *columns).where(
            table.c.session_pk == session_pk, table.c.episode.in_(sorted(episodes))
        )
    )
    names = [column.name for column in columns]
    return {episode: dict(zip(names, rest, strict=True)) for episode, *rest in rows}


def played(connection: Connection, session_pk: int, most: int) -> list[int]:
    """The newest `most` episodes after which the policy was played to be looked at, rising."""
    found = connection.scalars(
        select(table.c.episode)
        .where(table.c.session_pk == session_pk, table.c.played > 0)
        .order_by(table.c.episode.desc())
        .limit(most)
    )
    return sorted(found)
