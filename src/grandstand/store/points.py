"""Points: the scalars in metrics records, gathered into columns.

A *row* is one metrics record (or one row of a columnar one), placed by its seq, episode, step and
time; a *point* is one scalar of it. Neighbouring rows are turned into arrays together, a field at
a time, so that a point costs some tens of nanoseconds and no dictionary.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast

import msgspec
import numpy as np

from grandstand.model.telemetry import (
    METRICS,
    SCALAR_FIELDS,
    Columns,
    Record,
    TrainingMetrics,
)
from grandstand.store.cells import AXES, Floats, Ints, micros

_FIELDS: Final = {name: i for i, name in enumerate(TrainingMetrics.__struct_fields__)}
TURNED: Final = 128
"""Records turned into columns at a time."""
STEP: Final = AXES.index("step")


class Column(NamedTuple):
    """One metric's points in a stretch.

    Attributes:
        values: float64; NaN and infinities are real values.
        rows: int64, which rows of the stretch they belong to, rising; None when all do.
    """

    values: Floats
    rows: Ints | None


@dataclass(slots=True, frozen=True)
class Stretch:
    """Neighbouring rows of a session, in columns.

    Attributes:
        x: int64, 4 × rows, in the order of `AXES`. A step nobody told is the last one told.
        columns: by metric; a metric without a point in the stretch is left out.
    """

    x: Ints
    columns: dict[str, Column]

    def __len__(self) -> int:
        return int(self.x.shape[1])

    @property
    def size(self) -> int:
        """Bytes it holds in memory, roughly."""
        return self.x.nbytes + sum(
            200 + c.values.nbytes + (c.rows.nbytes if c.rows is not None else 0)
            for c in self.columns.values()
        )

    def points(self, metric: str) -> tuple[Ints, Floats] | None:
        """A metric's points: x (4 × points) and values; None when there are none."""
        column = self.columns.get(metric)
        if column is None:
            return None
        return (self.x if column.rows is None else self.x[:, column.rows]), column.values

    def cut(self, start: int, end: int) -> Stretch:
        """The rows from `start` up to `end`, that one left out; copied, so the rest can go."""
        if start <= 0 and end >= len(self):
            return self
        columns: dict[str, Column] = {}
        for name, (values, rows) in self.columns.items():
            if rows is None:
                columns[name] = Column(values[start:end].copy(), None)
                continue
            a, b = np.searchsorted(rows, (start, end))
            if a < b:
                columns[name] = _column(values[a:b].copy(), rows[a:b] - start, end - start)
        return Stretch(self.x[:, start:end].copy(), columns)


def join(parts: Sequence[Stretch]) -> Stretch:
    """All parts after one another."""
    if len(parts) == 1:
        return parts[0]
    found: dict[str, list[tuple[int, int, Column]]] = {}
    at = 0
    for part in parts:
        for name, column in part.columns.items():
            found.setdefault(name, []).append((at, len(part), column))
        at += len(part)
    columns: dict[str, Column] = {}
    for name, pieces in found.items():
        values = np.concatenate([column.values for _, _, column in pieces])
        if len(values) == at:
            columns[name] = Column(values, None)
            continue
        rows = [
            np.arange(offset, offset + n) if column.rows is None else column.rows + offset
            for offset, n, column in pieces
        ]
        columns[name] = Column(values, np.concatenate(rows))
    return Stretch(np.concatenate([part.x for part in parts], axis=1), columns)


class Gatherer:
    """Turns records into stretches.

    Args:
        step: the last step told before the first record.
        after_seq: rows up to this seq are left out.
    """

    def __init__(self, step: int = 0, after_seq: int = 0) -> None:
        self.step = step
        self._after_seq = after_seq
        self._parts: list[Stretch] = []
        self._single: list[TrainingMetrics] = []
        self._seqs: list[int] = []
        self._arrivals: list[datetime] = []

    def add(self, records: Iterable[Record], first_seq: int, at: datetime) -> None:
        """Take what a committed batch brought; `first_seq` is that of its first record."""
        seq = first_seq
        for record in records:
            if record.type == METRICS and seq + record.count - 1 > self._after_seq:
                if isinstance(record.value, Columns):
                    self._flush()
                    self._add_columns(record.value, record.count, seq, at)
                else:
                    self._single.append(record.value)
                    self._seqs.append(seq)
                    self._arrivals.append(at)
            seq += record.count

    def take(self) -> list[Stretch]:
        """What was gathered since the last call, in order of seq."""
        self._flush()
        parts, self._parts = self._parts, []
        return parts

    def _flush(self) -> None:
        if not self._single:
            return
        fields: list[list[Any]] = [[] for _ in _FIELDS]
        # A few at a time, so that they stay in the processor's cache while they are turned over,
        # and the collector never comes to see the tuples.
        for at in range(0, len(self._single), TURNED):
            rows = map(msgspec.structs.astuple, self._single[at : at + TURNED])
            for column, part in zip(fields, zip(*rows, strict=True), strict=True):
                column += part
        columns = {name: fields[_FIELDS[name]] for name in SCALAR_FIELDS}
        told = fields[_FIELDS["timestamp"]]
        times = [t or at for t, at in zip(told, self._arrivals, strict=True)]
        stretch = self._stretch(
            np.array(self._seqs, np.int64),
            fields[_FIELDS["episode"]],
            fields[_FIELDS["step"]],
            _micros(times),
            columns,
        )
        extras = fields[_FIELDS["extra"]]
        if any(extras):
            stretch.columns.update(_extra_columns(extras, stretch.columns))
        self._parts.append(stretch)
        self._single, self._seqs, self._arrivals = [], [], []

    def _add_columns(self, value: Columns, count: int, first_seq: int, at: datetime) -> None:
        columns: dict[str, Sequence[Any]] = {}
        for name in SCALAR_FIELDS:
            told = getattr(value, name)
            if told is not None:
                columns[name] = told
        for name, told in (value.extra or {}).items():
            columns.setdefault(name, told)
        if value.timestamp is None:
            time = np.full(count, micros(at), np.int64)
        else:
            time = _micros([t or at for t in value.timestamp])
        seqs = np.arange(first_seq, first_seq + count)
        stretch = self._stretch(seqs, value.episode, value.step, time, columns)
        self._parts.append(stretch.cut(self._after_seq - first_seq + 1, count))

    def _stretch(
        self,
        seq: Ints,
        episode: Sequence[int],
        step: Sequence[int | None] | None,
        time: Ints,
        told: Mapping[str, Sequence[Any]],
    ) -> Stretch:
        x = np.empty((len(AXES), len(seq)), np.int64)
        x[0], x[1], x[3] = seq, episode, time
        x[STEP] = self.step if step is None else self._steps(step)
        self.step = int(x[STEP, -1])
        columns = {}
        for name, values in told.items():
            if (column := _scalars(values)) is not None:
                columns[name] = column
        return Stretch(x, columns)

    def _steps(self, told: Sequence[int | None]) -> Ints:
        if None not in told:
            return np.array(told, np.int64)
        known = np.array([step is not None for step in told])
        values = np.array([self.step, *(step or 0 for step in told)], np.int64)
        last_told = np.maximum.accumulate(np.where(known, np.arange(1, len(told) + 1), 0))
        return values[last_told]


def _column(values: Floats, rows: Ints, of: int) -> Column:
    return Column(values, None if len(values) == of else rows)


def _scalars(told: Sequence[Any]) -> Column | None:
    if told[0] is None and told.count(None) == len(told):
        return None
    with contextlib.suppress(struct.error):  # one look at each number, where NumPy takes two
        return Column(np.frombuffer(struct.pack(f"{len(told)}d", *told)), None)
    # NumPy reads None as nan, True as 1.0 and the names "NaN", "Infinity" as what they name.
    values = np.array(told, np.float64)
    if None not in told:
        return Column(values, None)
    rows = np.flatnonzero(np.array([value is not None for value in told]))
    return Column(values[rows], rows)


def _extra_columns(
    extras: Sequence[dict[str, Any] | None], taken: dict[str, Column]
) -> dict[str, Column]:
    if extras[0] and None not in extras:
        # A loop that says the same of every episode, which is the usual one.
        with contextlib.suppress(KeyError):
            alike = cast("Sequence[dict[str, Any]]", extras)
            columns = {name: list(map(itemgetter(name), alike)) for name in extras[0]}
            if set(map(len, alike)) == {len(columns)}:
                told = {n: _scalars(values) for n, values in columns.items() if n not in taken}
                return {name: column for name, column in told.items() if column is not None}
    found: dict[str, tuple[list[Any], list[int]]] = {}
    for row, extra in enumerate(extras):
        if extra:
            for name, value in extra.items():
                if value is not None:
                    if name not in found:
                        found[name] = ([], [])
                    values, rows = found[name]
                    values.append(value)
                    rows.append(row)
    return {
        name: _column(np.array(values, np.float64), np.array(rows, np.int64), len(extras))
        for name, (values, rows) in found.items()
        # A metric of the same name in both places is the field's: there its meaning is documented.
        if name not in taken
    }


def _micros(moments: Sequence[datetime]) -> Ints:
    found = np.empty(len(moments), np.int64)
    last, micro = None, 0
    for i, moment in enumerate(moments):
        if moment is not last:  # what came together arrived together
            last, micro = moment, micros(moment)
        found[i] = micro
    return found
