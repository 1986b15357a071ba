"""Zoom: any range of a series in at most so many buckets.

A bucket is a run of neighbouring points in the order they were reported. Ranges are exact: blocks
that reach over an end of the range are opened down to their points, all others are taken at the
coarsest level that still has enough cells. So the work depends on `max_points`, not on how long
the series is, as long as x mostly rises. Where x jumps to and fro all the time, every block
reaches over the ends and is opened: slower, never wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from grandstand.errors import ValidationFailed
from grandstand.store.blocks import Node, Shelf
from grandstand.store.cells import (
    AXES,
    COUNT,
    FINITE,
    LAST,
    MAX,
    MIN,
    SUM,
    X_LAST,
    Cells,
    Floats,
    Ints,
    axis_row,
)

SEQ: Final = AXES.index("seq")


@dataclass(slots=True, frozen=True)
class Range:
    """Which points of an axis: from `least` to `greatest`, both included, as `AXES` counts."""

    axis: str
    least: int = np.iinfo(np.int64).min
    greatest: int = np.iinfo(np.int64).max

    @classmethod
    def asked(cls, x: str, frm: float | None, to: float | None) -> Range:
        """A range as a client asks for it, times in seconds.

        Raises:
            ValidationFailed: names the field and its bound.
        """
        if x not in AXES:
            raise ValidationFailed(
                f"x: must be one of {', '.join(AXES)}, not {x!r}",
                details={"field": "x", "value": x, "bound": list(AXES)},
            )
        ends: list[int] = []
        whole = cls(x)
        scale = 1e6 if x == "time" else 1.0
        for name, end, none, fit in (
            ("from", frm, whole.least, math.ceil),
            ("to", to, whole.greatest, math.floor),
        ):
            if end is None:
                ends.append(none)
                continue
            if not math.isfinite(end):
                raise ValidationFailed(
                    f"{name}: must be a finite number", details={"field": name, "value": str(end)}
                )
            # A time was rounded to a float of seconds on its way out: back to its microsecond.
            exact = round(end * scale) if x == "time" else fit(end)
            ends.append(max(whole.least, min(whole.greatest, exact)))
        if frm is not None and to is not None and frm > to:
            raise ValidationFailed(
                f"from: must not be greater than to, but {frm} is greater than {to}",
                details={"field": "from", "value": frm, "bound": to},
            )
        return cls(x, *ends)

    def holds(self, node: Node) -> bool:
        """Whether all of a block lies inside."""
        return self.least <= node.least and node.greatest <= self.greatest

    def misses(self, node: Node) -> bool:
        """Whether all of a block lies outside."""
        return node.greatest < self.least or node.least > self.greatest

    def of(self, x: Ints, values: Floats) -> tuple[Ints, Floats]:
        """The points inside."""
        on_axis = x[AXES.index(self.axis)]
        inside = (on_axis >= self.least) & (on_axis <= self.greatest)
        return (x, values) if inside.all() else (x[:, inside], values[inside])


@dataclass(slots=True, frozen=True)
class Buckets:
    """The answer, in columns of one length, in the order of seq.

    Attributes:
        x: of each bucket's last point, on the axis asked for.
        seq: the same point's seq.
        min, max, mean: over finite points; where a bucket has none, `last` (so a run of NaN
            says NaN).
        last: the bucket's last point.
        count: points in each bucket.
        not_finite: how many of them are NaN or infinite.
    """

    x: Ints
    seq: Ints
    min: Floats
    max: Floats
    mean: Floats
    last: Floats
    count: Ints
    not_finite: Ints

    @classmethod
    def of_points(cls, axis: str, x: Ints, values: Floats) -> Buckets:
        """A bucket for each point; min, max, mean and last are then one array."""
        on_axis = x[AXES.index(axis)]
        ones = np.ones(len(values), np.int64)
        bad = (~np.isfinite(values)).astype(np.int64)
        return cls(on_axis, x[SEQ], values, values, values, values, ones, bad)

    @classmethod
    def of_cells(cls, axis: str, cells: Cells) -> Buckets:
        """A bucket for each cell."""
        finite = cells.ints[FINITE]
        least, greatest, total, last = (cells.floats[row] for row in (MIN, MAX, SUM, LAST))
        none = finite == 0
        # Rounding may put a mean a hair outside; a sum beyond the largest float far outside.
        mean = np.clip(total / np.maximum(finite, 1), least, np.maximum(least, greatest))
        return cls(
            cells.ints[axis_row(axis, X_LAST)],
            cells.ints[axis_row("seq", X_LAST)],
            np.where(none, last, least),
            np.where(none, last, greatest),
            np.where(none, last, mean),
            last,
            cells.ints[COUNT],
            cells.ints[COUNT] - finite,
        )

    def answer(self, axis: str) -> dict[str, Any]:
        """The columns as JSON, times in seconds, with how many points there are."""
        encoded: dict[int, tuple[Ints | Floats, msgspec.Raw]] = {}

        def column(values: Ints | Floats) -> msgspec.Raw:
            # Points one by one have the same array four times: written out once.
            if id(values) not in encoded:
                encoded[id(values)] = values, msgspec.Raw(msgspec.json.encode(_plain(values)))
            return encoded[id(values)][1]

        answer: dict[str, Any] = {
            "x": column(self.x / 1e6 if axis == "time" else self.x),
            "seq": column(self.seq),
            "min": column(self.min),
            "max": column(self.max),
            "mean": column(self.mean),
            "last": column(self.last),
            "count": column(self.count),
            "points": int(self.count.sum()),
        }
        if self.not_finite.any():
            answer["not_finite"] = column(self.not_finite)
        return answer


def zoom(
    shelf: Shelf,
    series: int | None,
    tail: tuple[Ints, Floats] | None,
    range: Range,
    max_points: int,
) -> Buckets:
    """A series between two x, in at most `max_points` buckets.

    Up to `max_points` points come one by one.

    Args:
        shelf: the session's blocks.
        series: the number of the metric there, None when it has no block yet.
        tail: x (4 × points) and values of what is not in blocks yet, if any.
    """
    whole, points = _inside(shelf, series, range) if series is not None else ([], {})
    last = range.of(*tail) if tail is not None else None
    total = sum(node.count for node in whole) + sum(len(values) for _, values in points.values())
    total += len(last[1]) if last is not None else 0
    cells: dict[Node, Cells] = {}
    if series is not None:
        cells, opened = _open(shelf, series, whole, total / max_points)
        points |= opened
    starts = sorted([*cells, *points], key=lambda node: node.start)
    if total <= max_points:
        parts = [_as_points(cells[n]) if n in cells else points[n] for n in starts]
        return Buckets.of_points(range.axis, *_join(parts + ([last] if last is not None else [])))
    joined = [cells[n] if n in cells else Cells.of_points(*points[n]) for n in starts]
    if last is not None:
        joined.append(Cells.of_points(*last))
    return Buckets.of_cells(range.axis, Cells.join(joined).at_most(max_points))


def _inside(
    shelf: Shelf, series: int, range: Range
) -> tuple[list[Node], dict[Node, tuple[Ints, Floats]]]:
    """Blocks that lie inside, and the points inside of those that reach over an end."""
    whole: list[Node] = []
    edges: list[Node] = []
    todo = shelf.cover(series)
    while todo:
        across: list[Node] = []
        for node in todo:
            if range.holds(node):
                whole.append(node)
            elif not range.misses(node):
                (across if node.level else edges).append(node)
        todo = shelf.children(series, across)
    found = {node: range.of(*p) for node, p in shelf.points(series, edges)}
    return whole, {node: p for node, p in found.items() if len(p[1])}


def _open(
    shelf: Shelf, series: int, nodes: Iterable[Node], grain: float
) -> tuple[dict[Node, Cells], dict[Node, tuple[Ints, Floats]]]:
    """Each block in cells of about `grain` points or fewer, or as its points.

    `grain` at most 1 asks for single points, whatever they come from; there are few then.
    """
    cells: dict[Node, Cells] = {}
    bare: list[Node] = []
    todo = list(nodes)
    one_by_one = grain <= 1
    shape = shelf.shape
    while todo:
        coarse: list[Node] = []
        fine: list[Node] = []
        deeper: list[Node] = []
        for node in todo:
            cells_here = shape.coarse_cells(node.level)
            if one_by_one:
                # Few points in a wide block lie apart: each may well be a cell of its own.
                rough = not node.level and node.count <= cells_here
            else:
                rough = node.count <= cells_here * grain
            if rough:
                coarse.append(node)
            elif not node.level:
                bare.append(node)
            else:
                enough = node.count <= shape.fine_cells(node.level) * max(grain, 1.0)
                (fine if enough else deeper).append(node)
        for node, found in (
            *shelf.coarse(series, coarse).items(),
            *shelf.fine(series, fine).items(),
        ):
            # The last block of a run is seldom full: its cells are fewer, each too many points.
            crowded = not node.level and node.count > len(found) * grain
            if len(found) == node.count or not (one_by_one or crowded):
                cells[node] = found
            else:
                (deeper if node.level else bare).append(node)
        todo = shelf.children(series, deeper)
    if one_by_one:
        return cells, dict(shelf.points(series, bare))
    for node, points in shelf.points(series, bare):
        # Thinned block by block, so that a wide range never has all its points in memory.
        cells[node] = Cells.of_points(*points).at_most(math.ceil(node.count / grain))
    return cells, {}


def _as_points(cells: Cells) -> tuple[Ints, Floats]:
    rows = [axis_row(axis, X_LAST) for axis in AXES]
    return cells.ints[rows], cells.floats[LAST]


def _join(parts: list[tuple[Ints, Floats]]) -> tuple[Ints, Floats]:
    if not parts:
        return np.empty((len(AXES), 0), np.int64), np.empty(0)
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([x for x, _ in parts], axis=1), np.concatenate([v for _, v in parts])


def _plain(values: Ints | Floats) -> list[Any]:
    plain: list[Any] = values.tolist()
    if values.dtype == np.float64:
        for i in np.flatnonzero(~np.isfinite(values)).tolist():
            value = plain[i]
            plain[i] = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return plain
