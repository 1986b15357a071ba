"""Export: everything a session reported, as a stream, however long it is.

NDJSON gives every record as it came. CSV and Parquet are tables: of metrics, a row for each
record and a column for each metric, read from the blocks of its series (so they are there also
where the raw log was dropped); or of decisions, read from the log.

A slice is read, turned into bytes and handed on before the next is read, so the server holds a
few megabytes of it at most, and a client that stops reading stops the reading.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from sqlalchemy import Connection

from grandstand.errors import ValidationFailed
from grandstand.model.telemetry import DECISION, METRICS, RECORD_TYPES, encode, envelope_line
from grandstand.store.blocks import segments
from grandstand.store.cells import AXES, micros
from grandstand.store.database import Database
from grandstand.store.history import Sieve, item_of, last_seq, records
from grandstand.store.points import Column, Stretch
from grandstand.store.series import SeriesStore
from grandstand.store.tabular import (
    Cells,
    Chunk,
    CsvWriter,
    Head,
    ParquetWriter,
    Writer,
    column_of,
    text_of,
)

Format: TypeAlias = Literal["csv", "ndjson", "parquet"]
MEDIA: Final[dict[str, str]] = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}

SEGMENTS: Final = 4
"""Segments read in one go."""
SEQS: Final = 4096
"""Seqs of the log read in one go."""
WHOLE: Final = frozenset({"total_episodes", "model_generation"})
"""Metrics that are whole numbers by their definition."""
_PLACE: Final = (Head("seq", "int"), Head("timestamp", "time"), Head("episode", "int"))
_DECISION: Final = (
    *_PLACE,
    Head("step", "int"),
    Head("selected_action", "text"),
    Head("confidence_score", "float"),
    Head("action_probabilities", "text"),
    Head("state_values", "text"),
    Head("q_values", "text"),
    Head("extra", "text"),
)


async def export(
    database: Database, series: SeriesStore, session_pk: int, format: Format, sieve: Sieve
) -> AsyncIterator[bytes]:
    """The bytes of a file with what `sieve` lets through; everything committed before the call.

    In tables a metrics record without a step stands at the last step told before it, and
    non-finite numbers are NaN, Infinity and -Infinity (in Parquet: the floats themselves).

    Raises:
        ValidationFailed: a table of other, or of several, record types.
        NotFound: no such session.
        Unavailable: Parquet without pyarrow.
    """
    if format == "ndjson":
        end = await database.read(lambda c: last_seq(c, session_pk, sieve.until_seq))
        return _ndjson(database, session_pk, sieve, end)
    make = CsvWriter if format == "csv" else ParquetWriter
    if sieve.types == {DECISION}:
        end = await database.read(lambda c: last_seq(c, session_pk, sieve.until_seq))
        return _written(make(_DECISION), _decisions(database, session_pk, sieve, end))
    if sieve.types != {METRICS}:
        raise ValidationFailed(
            f"type: a {format} file is a table of one type: {METRICS} or {DECISION}",
            detail="Ask for one of them, or for format=ndjson, which holds all.",
            details={"field": "type", "allowed": [METRICS, DECISION]},
        )
    view = await series.view(session_pk)
    names = [n for n in view.names if sieve.metrics is None or n in sieve.metrics]
    numbers = {name: view.sealed.names[name] for name in names if name in view.sealed.names}

    async def stretches() -> AsyncIterator[Stretch]:
        for start in range(0, view.sealed.segments, SEGMENTS):
            end = min(start + SEGMENTS, view.sealed.segments)
            read = partial(segments, session_pk=session_pk, names=numbers, start=start, end=end)
            for stretch in await database.read(read):
                yield stretch
        for stretch in view.parts:
            yield stretch

    heads = [*_PLACE, Head("step", "int"), *(_metric_head(name) for name in names)]
    return _written(make(heads), _metrics(stretches(), names, sieve))


async def _written(writer: Writer, chunks: AsyncIterator[Chunk]) -> AsyncIterator[bytes]:
    yield writer.begin()
    async for chunk in chunks:
        if data := writer.write(chunk):
            yield data
    if data := writer.end():
        yield data


async def _metrics(
    stretches: AsyncIterator[Stretch], names: Sequence[str], sieve: Sieve
) -> AsyncIterator[Chunk]:
    async for stretch in stretches:
        kept = _sifted(stretch, sieve)
        rows = len(kept)
        if sieve.metrics is not None:  # rows that have none of them say nothing
            with_any = np.zeros(rows, np.bool_)
            for name in names:
                if (column := kept.columns.get(name)) is not None:
                    with_any[slice(None) if column.rows is None else column.rows] = True
            kept = _rows(kept, with_any)
            rows = len(kept)
        if not rows:
            continue
        seq, episode, step, time = kept.x
        cells = [Cells(seq), Cells(time), Cells(episode), Cells(step)]
        for name in names:
            column = kept.columns.get(name)
            if column is None:
                cells.append(Cells(np.empty(0), np.empty(0, np.int64)))
            elif name in WHOLE:
                cells.append(Cells(column.values.astype(np.int64), column.rows))
            else:
                cells.append(Cells(column.values, column.rows))
        yield rows, cells


def _sifted(stretch: Stretch, sieve: Sieve) -> Stretch:
    keep = np.ones(len(stretch), np.bool_)
    for axis, least, greatest in (
        ("seq", sieve.since_seq + 1, sieve.until_seq),
        ("episode", sieve.episode_from, sieve.episode_to),
        ("time", sieve.after and micros(sieve.after), sieve.before and micros(sieve.before)),
    ):
        x = stretch.x[AXES.index(axis)]
        if least is not None:
            keep &= x >= least
        if greatest is not None:
            keep &= x <= greatest
    return _rows(stretch, keep)


def _rows(stretch: Stretch, keep: Any) -> Stretch:
    if keep.all():
        return stretch
    place = np.cumsum(keep) - 1
    columns = {}
    for name, (values, rows) in stretch.columns.items():
        if rows is None:
            columns[name] = Column(values[keep], None)
        elif (here := keep[rows]).any():
            columns[name] = Column(values[here], place[rows[here]])
    return Stretch(stretch.x[:, keep], columns)


async def _decisions(
    database: Database, session_pk: int, sieve: Sieve, end: int
) -> AsyncIterator[Chunk]:
    def read(connection: Connection, at: int, to: int) -> list[dict[str, Any]]:
        return [
            item
            for seq, record, row, arrived in records(connection, session_pk, at, to, sieve.types)
            if (item := item_of(sieve, seq, record, row, arrived)) is not None
        ]

    for at, to in _slices(sieve.since_seq, end):
        items = await database.read(partial(read, at=at, to=to))
        if items:
            yield len(items), [_decision_column(head, items) for head in _DECISION]


def _decision_column(head: Head, items: Sequence[dict[str, Any]]) -> Cells:
    values = [item.get(head.name) for item in items]
    if head.kind == "time":
        return Cells(np.array([micros(item[head.name]) for item in items], np.int64))
    if head.kind == "text":
        plain = [v if v is None or isinstance(v, str) else encode(v).decode() for v in values]
        return text_of(plain)
    return column_of(
        [None if v is None else float(v) if head.kind == "float" else v for v in values],
        np.float64 if head.kind == "float" else np.int64,
    )


async def _ndjson(
    database: Database, session_pk: int, sieve: Sieve, end: int
) -> AsyncIterator[bytes]:
    def read(connection: Connection, at: int, to: int) -> bytes:
        lines = []
        for seq, record, row, arrived in records(connection, session_pk, at, to, sieve.types):
            when = record.timestamp(row, arrived)
            if sieve.open:
                data = record.data(row)
            else:
                item = item_of(sieve, seq, record, row, arrived)
                if item is None:
                    continue
                del item["seq"]
                data = encode(item)
            lines.append(envelope_line(record.type, seq, when, data))
        return b"".join(lines)

    for at, to in _slices(sieve.since_seq, end):
        if data := await database.read(partial(read, at=at, to=to)):
            yield data


def _slices(start: int, end: int) -> Iterator[tuple[int, int]]:
    for at in range(start, end, SEQS):
        yield at, min(at + SEQS, end)


def _metric_head(name: str) -> Head:
    # A metric in `extra` may bear the name of a place.
    taken = {"seq", "timestamp", "episode", "step"}
    return Head(f"extra.{name}" if name in taken else name, "int" if name in WHOLE else "float")


EVERYTHING: Final = frozenset(RECORD_TYPES)
"""What an NDJSON file holds unless asked otherwise."""
