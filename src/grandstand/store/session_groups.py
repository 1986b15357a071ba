"""Groups of sessions: by scenario, algorithm, status or tag; how many are in each."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    cast,
    false,
    func,
    literal_column,
    select,
)

from grandstand.model.session import ALIVE, Status
from grandstand.store.tables import sessions
from grandstand.store.texts import storable


class GroupBy(StrEnum):
    """What makes sessions a group. One of several tags is in several groups."""

    SCENARIO = "scenario"
    ALGORITHM = "algorithm"
    STATUS = "status"
    TAG = "tag"


@dataclass(frozen=True, slots=True)
class Group:
    """Sessions that have something in common.

    Attributes:
        value: what it is; None for those that have none.
    """

    value: str | None
    count: int


COLUMNS = {
    GroupBy.SCENARIO: sessions.c.scenario_name,
    GroupBy.ALGORITHM: sessions.c.algorithm,
    GroupBy.STATUS: sessions.c.status,
}
TAGS = cast(sessions.c.tags, String)
# First what moves, then what waits for its turn, then the rest.
_STATUSES = sorted(Status, key=lambda one: (one not in ALIVE, one is not Status.QUEUED))


def inside(by: GroupBy, value: str | None) -> ColumnElement[bool]:
    """What holds of the sessions of one group alone."""
    if value is not None and not storable(value):
        return false()
    if by is GroupBy.TAG:
        return TAGS == "[]" if value is None else tagged(value)
    column = COLUMNS[by]
    return column.is_(None) if value is None else column == value


def tagged(tag: str) -> ColumnElement[bool]:
    """What holds of sessions that have this tag."""
    return TAGS.like(f"%{escaped(json.dumps(tag))}%", escape="\\")


def escaped(text: str) -> str:
    """`text` as a part of a pattern that LIKE takes literally."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def tally(
    connection: Connection,
    by: GroupBy | None,
    where: list[ColumnElement[bool]],
    wanted: set[Status],
) -> tuple[dict[Status, int], list[Group] | None]:
    """Count sessions.

    Args:
        by: what makes a group; None counts without.
        wanted: statuses whose sessions are counted in groups.

    Returns:
        how many there are of each status (those with none left out), whichever are wanted; and the
        groups, in the order in which they are shown.
    """
    # One pass counts them all. An expression, because by its index SQLite takes four times as long.
    status = sessions.c.status + literal_column("''")
    key: Any = literal_column("''") if by is None else TAGS if by is GroupBy.TAG else COLUMNS[by]
    rows = connection.execute(
        select(key, status, func.count()).where(*where).group_by(key, status)
        if by is not None
        else select(key, status, func.count()).where(*where).group_by(status)
    )
    counts: Counter[Status] = Counter()
    members: Counter[str | None] = Counter()
    for value, name, count in rows:
        counts[Status(name)] += count
        if Status(name) in wanted:
            of: list[str | None] = [value]
            if by is GroupBy.TAG:
                of = sorted(set(json.loads(value))) or [None]
            for one in of:
                members[one] += count
    if by is None:
        return dict(counts), None
    if by is GroupBy.STATUS:
        return dict(counts), [Group(s, members[s]) for s in _STATUSES if s in members]
    order = sorted(
        members, key=lambda value: (value is None, (value or "").casefold(), value or "")
    )
    return dict(counts), [Group(value, members[value]) for value in order]
