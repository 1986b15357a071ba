"""Blocks: a series on disk, at several levels of detail.

A session's metrics rows are cut into *segments* of up to 4096 rows. Each metric with a point in
segment `n` has one block ``(level 0, n)``, and the axes the metrics share have one as series 0.
Sixty-four neighbours of a level make one block of the next::

    level   fine                               coarse
    0       the points (x apart, in series 0)  cells of 64 rows
    1       the coarse cells of 64 blocks      a cell for each of them (4096 rows)
    2       the same of level 1                cells of 262,144 rows
    …

So the coarse column of one level is what the fine column of the next is put together from, and a
series of any length is covered by its blocks of the top level and at most 63 of each level below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, and_, or_, select

from grandstand.store.bulk import insert_rows
from grandstand.store.cells import (
    AXES,
    X_GREATEST,
    X_LEAST,
    Cells,
    Floats,
    Ints,
    axis_row,
    pack,
    unpack,
)
from grandstand.store.points import STEP, Column, Stretch
from grandstand.store.tables import blocks, series_names

X: Final = 0
"""The series that holds the axes."""
MAX_LEVEL: Final = 4
"""By the usual shape a block of it spans 6.9e10 rows."""

KEPT: Final = 64
"""Segments whose axes are kept unpacked while one question is answered."""

TOGETHER: Final = 32
"""Series that are read with one statement where a question is about many."""

_NO_FLOATS: Final = np.empty((0, 0), np.float64)


@dataclass(slots=True, frozen=True)
class Shape:
    """How blocks are cut. A database keeps the one it began with.

    Attributes:
        segment: most rows in a segment.
        cell: rows in a coarse cell of level 0.
        fan: blocks of one level in a block of the next.
    """

    segment: int = 4096
    cell: int = 64
    fan: int = 64

    def span(self, level: int) -> int:
        """Segments a block reaches over."""
        return int(self.fan**level)

    def coarse_cells(self, level: int) -> int:
        """Most coarse cells in a block."""
        return self.fan if level else -(-self.segment // self.cell)

    def fine_cells(self, level: int) -> int:
        """Most fine cells in a block of level 1 or above."""
        return self.fan * self.coarse_cells(level - 1)


USUAL: Final = Shape()


@dataclass(slots=True, frozen=True)
class Sealed:
    """What of a session is in blocks.

    Attributes:
        segments: how many.
        last_seq: the watermark: everything up to it is in blocks.
        step: the last step told up to there.
        names: a number for each metric.
    """

    segments: int
    last_seq: int
    step: int
    names: dict[str, int]


@dataclass(slots=True, frozen=True)
class Node:
    """A block without its contents: where it is and how far it reaches on one axis."""

    level: int
    number: int
    count: int
    least: int
    greatest: int
    start: int
    """Its first segment."""


def sealed(connection: Connection, session_pk: int) -> Sealed:
    """What of a session is in blocks by now."""
    named = select(series_names.c.name, series_names.c.id)
    rows = connection.execute(
        named.where(series_names.c.session_pk == session_pk).order_by(series_names.c.id)
    )
    names = {row.name: row.id for row in rows}
    last = connection.execute(
        select(blocks.c.number, blocks.c.seq_greatest, blocks.c.fine)
        .where(blocks.c.session_pk == session_pk, blocks.c.series == X, blocks.c.level == 0)
        .order_by(blocks.c.number.desc())
        .limit(1)
    ).one_or_none()
    if last is None:
        return Sealed(0, 0, 0, names)
    x, _ = unpack(last.fine)
    return Sealed(last.number + 1, last.seq_greatest, int(x[STEP, -1]), names)


def segments(
    connection: Connection, session_pk: int, names: Mapping[str, int], start: int, end: int
) -> list[Stretch]:
    """Whole segments, from `start` up to `end`, that one left out.

    Args:
        names: the metrics wanted, with their numbers.
    """
    rows = connection.execute(
        select(blocks.c.series, blocks.c.number, blocks.c.fine).where(
            blocks.c.session_pk == session_pk,
            blocks.c.series.in_([X, *names.values()]),
            blocks.c.level == 0,
            blocks.c.number.between(start, end - 1),
        )
    )
    x: dict[int, Ints] = {}
    columns: dict[int, dict[int, Column]] = {}
    for row in rows:
        ints, floats = unpack(row.fine)
        if row.series == X:
            x[row.number] = ints
        else:
            column = Column(floats[0], ints[0] if len(ints) else None)
            columns.setdefault(row.number, {})[row.series] = column
    return [
        Stretch(
            x[number],
            {
                name: found
                for name, series in names.items()
                if (found := columns.get(number, {}).get(series)) is not None
            },
        )
        for number in sorted(x)
    ]


class Sealing:
    """Builds the rows that put stretches of a session into blocks.

    Reading and packing happen in `add`, on any connection; `store` only inserts, so the writer is
    held no longer than it must be.
    """

    def __init__(self, session_pk: int, before: Sealed, shape: Shape = USUAL) -> None:
        self.session_pk = session_pk
        self._shape = shape
        self._segments = before.segments
        self._last_seq = before.last_seq
        self._step = before.step
        self._names = dict(before.names)
        self._new_names: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        self._coarse: dict[tuple[int, int, int], Cells] = {}

    @property
    def after(self) -> Sealed:
        """What will be in blocks once this is stored."""
        return Sealed(self._segments, self._last_seq, self._step, self._names)

    def add(self, connection: Connection, stretch: Stretch) -> None:
        """Make `stretch` (at most `Shape.segment` rows) the next segment."""
        number = self._segments
        for name in stretch.columns:
            if name not in self._names:
                series = self._names[name] = len(self._names) + 1
                self._new_names.append({"session_pk": self.session_pk, "id": series, "name": name})
        of_rows = np.arange(len(stretch)) // self._shape.cell
        whole = Cells.of_points(stretch.x, np.zeros(len(stretch)))
        self._row(X, 0, number, whole, pack(stretch.x, _NO_FLOATS), b"")
        for name, column in stretch.columns.items():
            rows = column.rows
            x = stretch.x if rows is None else stretch.x[:, rows]
            cells = Cells.of_points(x, column.values)
            coarse = cells.grouped(of_rows if rows is None else of_rows[rows])
            series = self._names[name]
            self._coarse[series, 0, number] = coarse
            self._row(series, 0, number, coarse, _pack_column(column), coarse.pack())
        self._segments += 1
        self._last_seq = int(stretch.x[0, -1])
        self._step = int(stretch.x[STEP, -1])
        self._climb(connection, 0, number)

    def store(self, connection: Connection) -> None:
        """Insert everything; to be run in one write transaction.

        Raises:
            IntegrityError: the session is gone, or another process sealed it meanwhile.
        """
        insert_rows(connection, series_names, self._new_names)
        insert_rows(connection, blocks, self._rows)

    def _climb(self, connection: Connection, level: int, number: int) -> None:
        fan = self._shape.fan
        if (number + 1) % fan or level == MAX_LEVEL:
            return
        parent = number // fan
        first = parent * fan
        parts: dict[int, dict[int, Cells]] = {}
        for row in connection.execute(
            select(blocks.c.series, blocks.c.number, blocks.c.coarse).where(
                blocks.c.session_pk == self.session_pk,
                blocks.c.series.in_(self._names.values()),
                blocks.c.level == level,
                blocks.c.number.between(first, number),
            )
        ):
            parts.setdefault(row.series, {})[row.number] = Cells.unpack(row.coarse)
        for (series, its_level, its_number), cells in self._coarse.items():
            if its_level == level and its_number >= first:
                parts.setdefault(series, {})[its_number] = cells
        for series, by_number in parts.items():
            children = [by_number[n] for n in sorted(by_number)]
            fine = Cells.join(children)
            coarse = fine.grouped(np.repeat(np.arange(len(children)), [len(c) for c in children]))
            self._coarse[series, level + 1, parent] = coarse
            self._row(series, level + 1, parent, coarse, fine.pack(), coarse.pack())
        self._coarse = {key: c for key, c in self._coarse.items() if key[1] > level}
        self._climb(connection, level + 1, parent)

    def _row(
        self, series: int, level: int, number: int, cells: Cells, fine: bytes, coarse: bytes
    ) -> None:
        row: dict[str, Any] = {
            "session_pk": self.session_pk,
            "series": series,
            "level": level,
            "number": number,
            "count": cells.points,
            "coarse": coarse,
            "fine": fine,
        }
        for axis in AXES:
            row[f"{axis}_least"] = int(cells.ints[axis_row(axis, X_LEAST)].min())
            row[f"{axis}_greatest"] = int(cells.ints[axis_row(axis, X_GREATEST)].max())
        self._rows.append(row)


class Shelf:
    """The blocks of one session, as far as `segments` reaches, for one connection.

    Args:
        series: those that will be asked for, in that order; what the first of each `TOGETHER`
            needs is read for all of them at once, since they mostly need the same.
    """

    def __init__(
        self,
        connection: Connection,
        session_pk: int,
        segments: int,
        axis: str,
        shape: Shape = USUAL,
        series: Sequence[int] = (),
    ) -> None:
        self.shape = shape
        self._leading = {
            series[i]: series[i : i + TOGETHER] for i in range(0, len(series), TOGETHER)
        }
        self._covers: dict[int, list[Node]] = {}
        self._ahead: dict[tuple[int, int, int], bytes] = {}
        self._led_by: int | None = None
        self._connection = connection
        self._session_pk = session_pk
        self._segments = segments
        self._axis = axis
        self._x: dict[int, Ints] = {}

    def cover(self, series: int) -> list[Node]:
        """The fewest blocks that hold all of a series, in order."""
        wanted = []
        done = 0
        for level in range(MAX_LEVEL, -1, -1):
            span = self.shape.span(level)
            if (end := self._segments // span) > done // span:
                wanted.append((level, done // span, end))
                done = end * span
        if some := self._leading.get(series):
            self._covers = self._nodes(some, wanted)
        found = self._covers.pop(series, None)
        return found if found is not None else self._nodes([series], wanted)[series]

    def children(self, series: int, parents: Iterable[Node]) -> list[Node]:
        """The blocks that `parents` (none of level 0) were put together from, in order."""
        fan = self.shape.fan
        wanted = [(p.level - 1, p.number * fan, (p.number + 1) * fan) for p in parents]
        return [
            node
            for at in range(0, len(wanted), 100)
            for node in self._nodes([series], wanted[at : at + 100])[series]
        ]

    def coarse(self, series: int, nodes: Sequence[Node]) -> dict[Node, Cells]:
        """The coarse cells of some blocks."""
        some = self._leading.get(series)
        if some and self._led_by != series:
            self._led_by, self._ahead = series, self._read(some, nodes, "coarse")
        # A shelf asked about one series has nothing ahead; a metric that was reported less often
        # than its neighbours has blocks of its own.
        bodies = {n: self._ahead.pop((series, n.level, n.number), None) for n in nodes}
        missing = [n for n, body in bodies.items() if body is None]
        found = self._bodies(series, missing, "coarse") if missing else {}
        return {
            n: Cells.unpack(found[n] if body is None else body)
            for n, body in bodies.items()
            if body is not None or n in found
        }

    def fine(self, series: int, nodes: Sequence[Node]) -> dict[Node, Cells]:
        """The fine cells of some blocks, none of level 0."""
        return {n: Cells.unpack(b) for n, b in self._bodies(series, nodes, "fine").items()}

    def points(
        self, series: int, nodes: Sequence[Node]
    ) -> Iterator[tuple[Node, tuple[Ints, Floats]]]:
        """The points of some blocks of level 0, a few blocks at a time: x (4 × points), values."""
        for at in range(0, len(nodes), KEPT):
            some = nodes[at : at + KEPT]
            unknown = [n for n in some if n.number not in self._x]
            if len(self._x) + len(unknown) > KEPT:
                self._x, unknown = {}, list(some)
            for node, body in self._bodies(X, unknown, "fine").items():
                self._x[node.number] = unpack(body)[0]
            for node, body in self._bodies(series, some, "fine").items():
                rows, values = unpack(body)
                x = self._x[node.number]
                yield node, (x[:, rows[0]] if len(rows) else x, values[0])

    def _nodes(
        self, series: Sequence[int], wanted: Sequence[tuple[int, int, int]]
    ) -> dict[int, list[Node]]:
        """For each series its blocks in some ranges of (level, first number, one past the last)."""
        found: dict[int, list[Node]] = {one: [] for one in series}
        if not wanted:
            return found
        rows = self._connection.execute(
            select(
                blocks.c.series,
                blocks.c.level,
                blocks.c.number,
                blocks.c.count,
                blocks.c[f"{self._axis}_least"],
                blocks.c[f"{self._axis}_greatest"],
            ).where(
                blocks.c.session_pk == self._session_pk,
                blocks.c.series.in_(series),
                or_(
                    *(
                        and_(blocks.c.level == level, blocks.c.number.between(start, end - 1))
                        for level, start, end in wanted
                    )
                ),
            )
        )
        for one, level, number, count, least, greatest in rows:
            start = number * self.shape.span(level)
            found[one].append(Node(level, number, count, least, greatest, start))
        for nodes in found.values():
            nodes.sort(key=lambda node: node.start)
        return found

    def _bodies(self, series: int, nodes: Sequence[Node], which: str) -> dict[Node, bytes]:
        read = self._read([series], nodes, which)
        places = {node: (series, node.level, node.number) for node in nodes}
        return {node: read[place] for node, place in places.items() if place in read}

    def _read(
        self, series: Sequence[int], nodes: Sequence[Node], which: str
    ) -> dict[tuple[int, int, int], bytes]:
        """Contents of the blocks at the places of `nodes`, by series, level and number."""
        bodies: dict[tuple[int, int, int], bytes] = {}
        for level in {node.level for node in nodes}:
            numbers = sorted(node.number for node in nodes if node.level == level)
            for at in range(0, len(numbers), 500):
                rows = self._connection.execute(
                    select(blocks.c.series, blocks.c.number, blocks.c[which]).where(
                        blocks.c.session_pk == self._session_pk,
                        blocks.c.series.in_(series),
                        blocks.c.level == level,
                        blocks.c.number.in_(numbers[at : at + 500]),
                    )
                )
                bodies.update(((one, level, number), body) for one, number, body in rows)
        return bodies


def _pack_column(column: Column) -> bytes:
    values = column.values.reshape(1, -1)
    if column.rows is None:
        return pack(np.empty((0, values.shape[1]), np.int64), values)
    return pack(column.rows.reshape(1, -1), values)
