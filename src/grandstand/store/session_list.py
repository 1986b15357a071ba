"""Lists of sessions: filtered, searched, sorted, a page at a time.

A cursor names the last session of a page by what it was sorted by, so a page begins where the one
before ended, also when sessions came or went meanwhile.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    and_,
    case,
    false,
    func,
    literal,
    or_,
    select,
)

from grandstand.errors import ValidationFailed
from grandstand.model.session import ALIVE, ENDED, Kind, Session, Status
from grandstand.store.session_groups import Group, GroupBy, escaped, inside, tagged, tally
from grandstand.store.sessions import shape
from grandstand.store.tables import UtcTime, sessions
from grandstand.store.texts import storable

SORTS: dict[str, Any] = {
    "created_at": sessions.c.created_at,
    "start_time": sessions.c.start_time,
    "end_time": sessions.c.end_time,
    "last_seen_at": sessions.c.last_seen_at,
    "name": sessions.c.name,
    "status": sessions.c.status,
    "algorithm": sessions.c.algorithm,
    "scenario_name": sessions.c.scenario_name,
    "current_episode": sessions.c.current_episode,
    # Largest first: what moves, what waits for its turn, the rest; the newest first in each.
    "activity": case(
        (sessions.c.status.in_([s.value for s in ALIVE]), literal(2, Integer)),
        (sessions.c.status == Status.QUEUED.value, literal(1, Integer)),
        else_=literal(0, Integer),
    ),
}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list of sessions.

    Attributes:
        total: how many there are on all pages together.
        counts: how many there would be of each status (those with none left out), whichever
            statuses were asked for.
        groups: those that the sessions of all pages fall into; None where none were asked for.
    """

    sessions: list[Session]
    total: int
    counts: dict[Status, int]
    next_cursor: str | None
    groups: list[Group] | None = None


def listing(
    connection: Connection,
    *,
    statuses: Sequence[Status] | None = None,
    kind: Kind | None = None,
    algorithm: str | None = None,
    tag: str | None = None,
    q: str | None = None,
    archived: bool | None = False,
    locked: bool = True,
    sort: str = "-created_at",
    limit: int = 100,
    cursor: str | None = None,
    group: GroupBy | None = None,
    within: tuple[GroupBy, str | None] | None = None,
) -> Page:
    """A page of sessions.

    Args:
        statuses: only these; None means those that have not ended, an empty list means all.
        q: part of the name, id, scenario, algorithm, tags or notes, whatever the case.
        locked: also those that want the token of their room.
        sort: a key of `SORTS`, with ``-`` in front for the largest first; sessions that have no
            such value come last.
        cursor: `next_cursor` of the page before.
        group: what to count groups by.
        within: only the sessions of one group; counts and groups are of all nevertheless.

    Raises:
        ValidationFailed: unknown sort, or a cursor of another list.
    """
    column = SORTS.get(sort.removeprefix("-"))
    if column is None:
        raise ValidationFailed(
            f"sort: unknown key {sort!r}",
            detail=f"Use one of {', '.join(SORTS)}, with - in front for descending.",
            details={"field": "sort", "allowed": list(SORTS)},
        )
    where = _where(kind, algorithm, tag, q, archived)
    if not locked:
        where.append(sessions.c.locked.is_(False))
    wanted = set(Status) - ENDED if statuses is None else set(statuses or Status)
    counts, groups = tally(connection, group, where, wanted)
    total = sum(count for name, count in counts.items() if name in wanted)
    if len(wanted) < len(Status):
        where.append(sessions.c.status.in_([s.value for s in wanted]))
    if within is not None:
        where.append(inside(*within))
        total = connection.scalar(select(func.count()).select_from(sessions).where(*where)) or 0
    down = sort.startswith("-")
    order = (
        (column.desc().nulls_last(), sessions.c.pk.desc())
        if down
        else (column.asc().nulls_last(), sessions.c.pk.asc())
    )
    after = [_after(column, down, *_place(cursor, sort))] if cursor is not None else []
    # Keys first: sorting whole rows with all that is in them takes several times as long.
    keys = connection.execute(
        select(sessions.c.pk, column).where(*where, *after).order_by(*order).limit(limit + 1)
    ).all()
    some = [pk for pk, _ in keys[:limit]]
    rows = {
        row.pk: row
        for at in range(0, len(some), 500)
        for row in connection.execute(
            select(sessions).where(sessions.c.pk.in_(some[at : at + 500]))
        )
    }
    more = len(keys) > limit
    return Page(
        [shape(rows[pk]) for pk in some],
        total,
        counts,
        _cursor(sort, keys[limit - 1][1], some[-1]) if more else None,
        groups,
    )


def _where(
    kind: Kind | None,
    algorithm: str | None,
    tag: str | None,
    q: str | None,
    archived: bool | None,
) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = []
    if not all(storable(text) for text in (algorithm, tag, q) if text):
        return [false()]
    if kind is not None:
        where.append(sessions.c.kind == kind.value)
    if algorithm:
        where.append(sessions.c.algorithm == algorithm)
    if tag:
        where.append(tagged(tag))
    if q:
        where.append(sessions.c.search_text.like(f"%{escaped(q.casefold())}%", escape="\\"))
    if archived is not None:
        where.append(sessions.c.archived.is_(archived))
    return where


def _after(column: Any, down: bool, value: Any, pk: int) -> ColumnElement[bool]:
    """What comes after a place in the order."""
    later = sessions.c.pk < pk if down else sessions.c.pk > pk
    if value is None:
        return and_(column.is_(None), later)
    beyond = column < value if down else column > value
    return or_(beyond, and_(column == value, later), column.is_(None))


def _cursor(sort: str, value: Any, pk: int) -> str:
    told = value.isoformat() if isinstance(value, datetime) else value
    return base64.urlsafe_b64encode(json.dumps([sort, told, pk]).encode()).decode().rstrip("=")


def _place(cursor: str, sort: str) -> tuple[Any, int]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        of, value, pk = json.loads(base64.urlsafe_b64decode(padded))
        column = SORTS[sort.removeprefix("-")].type
        kind: Any = datetime if isinstance(column, UtcTime) else column.python_type
        if value is not None and kind is datetime:
            value = datetime.fromisoformat(value)
            fits = value.tzinfo is not None
        else:
            fits = value is None or (
                type(value) is kind and (storable(value) if kind is str else abs(value) < 2**63)
            )
        if of == sort and fits and type(pk) is int and 0 <= pk < 2**63:
            return value, pk
    except (TypeError, ValueError, RecursionError):
        pass  # refused below, in words
    raise ValidationFailed(
        "cursor: not one of this list",
        detail="Use next_cursor of the previous page with the same sort, or leave it out.",
        details={"field": "cursor"},
    )
