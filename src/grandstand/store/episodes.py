"""Episodes: the finished ones as a table.

An episode is finished once a record tells its `current_reward`. The table is read off the series of
returns, so one page of it costs about the same in a run of a hundred episodes and of a million:
only the rows shown are read from the log.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from sqlalchemy import Connection, func, select

from grandstand.model.telemetry import METRICS
from grandstand.store import decisions
from grandstand.store.blocks import Shape, Shelf
from grandstand.store.cells import Floats, Ints
from grandstand.store.database import Database
from grandstand.store.history import Sieve, item_of, records
from grandstand.store.media import stretches
from grandstand.store.series import SeriesStore
from grandstand.store.tables import sessions
from grandstand.store.tails import View
from grandstand.store.zoom import Range, zoom

WINDOW: Final = 200_000
"""The newest so many episodes can be looked through; what is older is in history and export."""
STEP: Final = 50_000
"""The window moves on in steps, so that places in it stay good for a while."""
MAX_LIMIT: Final = 200
"""Most episodes on one page."""
MOST_PLAYED: Final = 200
MOST_POINTS: Final = 1_000_000

Sort = Literal["episode", "-episode", "return", "-return", "length", "-length"]


async def episodes(
    database: Database,
    series: SeriesStore,
    session_pk: int,
    *,
    sort: Sort = "-episode",
    offset: int = 0,
    limit: int = 100,
    episode: int | None = None,
) -> dict[str, Any]:
    """A page of a session's finished episodes.

    Args:
        database, series: where the session is.
        sort: by what; of equal ones the newer is first. Those whose value is not known, or no
            number, are last.
        offset: of the page in that order.
        limit: 1 to `MAX_LIMIT`.
        episode: begin at this one instead, where it is there.

    Returns:
        ``{episodes, total, from_episode, offset, decided, played, last_seq}``: `episodes` are the
        metrics records that told of them, each with its `decisions` (None, or ``{count, played,
        first_seq, last_seq}``); `total` is how many there are from `from_episode` on, where the
        window of the newest begins; `decided` are the decisions of the episode asked for, finished
        or not; `played` are the newest episodes after which the policy was played.
    """

    view, shape = await series.view(session_pk), series.shape

    def read(connection: Connection) -> dict[str, Any]:
        least = _least(connection, session_pk)
        numbers, seqs, returns = _series(
            connection, session_pk, view, shape, "current_reward", least
        )
        by = returns
        if sort.endswith("length"):
            whose, _, lengths = _series(
                connection, session_pk, view, shape, "episode_length", least
            )
            by = _placed(numbers, whose, lengths)
        order = _order(numbers, by, sort)
        start = offset
        if episode is not None:
            found = np.flatnonzero(numbers[order] == episode)
            start = int(found[0]) if len(found) else len(order)
        chosen = order[start : start + limit]
        rows = _rows(connection, session_pk, seqs[chosen].tolist())
        asked = {int(n) for n in numbers[chosen]} | ({episode} if episode is not None else set())
        decided = decisions.places(connection, session_pk, asked)
        listed = zip(
            numbers[chosen].tolist(),
            seqs[chosen].tolist(),
            returns[chosen].tolist(),
            strict=True,
        )
        return {
            "episodes": [
                {**rows.get(seq, _bare(number, seq, value)), "decisions": decided.get(number)}
                for number, seq, value in listed
            ],
            "total": len(numbers),
            "from_episode": least,
            "offset": start,
            "decided": decided.get(episode) if episode is not None else None,
            "played": decisions.played(connection, session_pk, MOST_PLAYED),
            "last_seq": view.last_seq,
        }

    return await database.read(read)


def _bare(number: int, seq: int, value: float) -> dict[str, Any]:
    """What is left of an episode whose record a retention setting has dropped."""
    return {"episode": number, "seq": seq, "current_reward": value}


def _least(connection: Connection, session_pk: int) -> int:
    """Where the window of the newest episodes begins."""
    newest = connection.scalar(
        select(func.max(sessions.c.current_episode)).where(sessions.c.pk == session_pk)
    )
    return max(0, (newest or 0) - WINDOW) // STEP * STEP


def _series(
    connection: Connection, session_pk: int, view: View, shape: Shape, metric: str, least: int
) -> tuple[Ints, Ints, Floats]:
    """A metric's last value of each episode: numbers (rising), seqs, values."""
    shelf = Shelf(connection, session_pk, view.sealed.segments, "episode", shape)
    found = zoom(
        shelf,
        view.sealed.names.get(metric),
        view.points(metric),
        Range("episode", least),
        MOST_POINTS,
    )
    # Of an episode told of more than once (a run that went back, a script that reports on the way)
    # the last word counts.
    numbers, places = np.unique(found.x[::-1], return_index=True)
    places = len(found.x) - 1 - places
    return numbers, found.seq[places], found.last[places]


def _placed(numbers: Ints, whose: Ints, values: Floats) -> Floats:
    """`values` of the episodes `whose`, put where `numbers` has them; NaN where there is none."""
    placed = np.full(len(numbers), np.nan)
    if len(whose):
        at = np.minimum(np.searchsorted(whose, numbers), len(whose) - 1)
        there = whose[at] == numbers
        placed[there] = values[at[there]]
    return placed


def _order(numbers: Ints, by: Floats, sort: Sort) -> Ints:
    falling = sort.startswith("-")
    if sort.endswith("episode"):
        order = np.arange(len(numbers))
        return order[::-1] if falling else order
    # Sorting is stable and NaN goes last; turned round first, the newer of equal ones leads.
    turned = np.arange(len(numbers))[::-1]
    return turned[np.argsort(-by[turned] if falling else by[turned], kind="stable")]


def _rows(connection: Connection, session_pk: int, seqs: list[int]) -> dict[int, dict[str, Any]]:
    """The metrics records of these seqs, by seq."""
    wanted, sieve = set(seqs), Sieve.asked([METRICS])
    found: dict[int, dict[str, Any]] = {}
    for after, until in stretches(sorted(wanted)):
        for seq, record, row, at in records(
            connection, session_pk, after, until, frozenset({METRICS})
        ):
            if seq in wanted and (item := item_of(sieve, seq, record, row, at)) is not None:
                found[seq] = item
    return found
