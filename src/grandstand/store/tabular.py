"""Tables as bytes: CSV and Parquet, a few thousand rows at a time.

A column is one array for all its cells and, where some are empty, which are not. Numbers become
text by the thousand in C (msgspec), so a cell costs about a tenth of a microsecond.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from grandstand.errors import Unavailable
from grandstand.store.cells import Floats, Ints

Kind: TypeAlias = Literal["int", "float", "time", "text"]
"""What a column holds; times are microseconds since 1970, UTC."""

ROW_GROUP: Final = 32_768
"""Rows of a Parquet row group."""


@dataclass(slots=True, frozen=True)
class Head:
    """A column's name and what it holds."""

    name: str
    kind: Kind


@dataclass(slots=True, frozen=True)
class Cells:
    """A column's cells in one chunk.

    Attributes:
        values: of the cells that are not empty: int64, float64, or text.
        rows: which rows they are in, rising; None when no cell is empty.
    """

    values: Ints | Floats | Sequence[str]
    rows: Ints | None = None


Chunk: TypeAlias = tuple[int, Sequence[Cells]]
"""How many rows, and every column's cells."""


class Writer(Protocol):
    """Turns chunks into the bytes of a file."""

    def begin(self) -> bytes:
        """What stands before the first chunk."""

    def write(self, chunk: Chunk) -> bytes:
        """A chunk; may be kept back until there are more."""

    def end(self) -> bytes:
        """What is left, and what stands at the end."""


class CsvWriter:
    """CSV (RFC 4180): a line of names, then a line a row; an unknown cell is empty."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self._heads = heads

    def begin(self) -> bytes:
        return _lines([[head.name for head in self._heads]])

    def write(self, chunk: Chunk) -> bytes:
        rows, cells = chunk
        columns = [
            _spread(_texts(head.kind, cell.values), cell.rows, rows)
            for head, cell in zip(self._heads, cells, strict=True)
        ]
        return b"".join(b"%b\r\n" % line for line in map(b",".join, zip(*columns, strict=True)))

    def end(self) -> bytes:
        return b""


class ParquetWriter:
    """Apache Parquet, zstd-compressed, through pyarrow.

    Raises:
        Unavailable: pyarrow is not installed (code ``not_installed``), with the line that does it.
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise Unavailable(
                "Parquet needs pyarrow, which is not installed",
                code="not_installed",
                detail="pip install 'grandstand[export]', then ask again. CSV works without.",
            ) from error
        self._arrow: Any = pyarrow
        types = {
            "int": pyarrow.int64(),
            "float": pyarrow.float64(),
            "time": pyarrow.timestamp("us", tz="UTC"),
            "text": pyarrow.string(),
        }
        self._schema = pyarrow.schema([(head.name, types[head.kind]) for head in heads])
        self._sink = io.BytesIO()
        self._writer = pyarrow.parquet.ParquetWriter(
            _Tap(self._sink),
            self._schema,
            compression="zstd",
            use_dictionary=[head.name for head in heads if head.kind == "text"],
            memory_pool=pyarrow.system_memory_pool(),  # the others keep what they once had
        )
        self._waiting: list[Any] = []
        self._rows = 0

    def begin(self) -> bytes:
        return self._taken()

    def write(self, chunk: Chunk) -> bytes:
        rows, cells = chunk
        arrays = [
            self._array(cell, field.type, rows)
            for cell, field in zip(cells, self._schema, strict=True)
        ]
        self._waiting.append(self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows += rows
        if self._rows >= ROW_GROUP:
            self._flush()
        return self._taken()

    def end(self) -> bytes:
        self._flush()
        self._writer.close()
        return self._taken()

    def _array(self, cell: Cells, type: Any, rows: int) -> Any:
        if not isinstance(cell.values, np.ndarray):
            texts: list[Any] = _spread(list(cell.values), cell.rows, rows, None)
            return self._arrow.array(texts, type)
        if cell.rows is None:
            return self._arrow.array(cell.values, type)
        dense = np.zeros(rows, cell.values.dtype)
        empty = np.ones(rows, np.bool_)
        dense[cell.rows], empty[cell.rows] = cell.values, False
        return self._arrow.array(dense, type, mask=empty)

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(self._arrow.Table.from_batches(self._waiting))
            self._waiting, self._rows = [], 0

    def _taken(self) -> bytes:
        taken = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return taken


class _Tap(io.RawIOBase):
    """What a Parquet writer writes to: it wants to know how far it has come in the whole file."""

    def __init__(self, sink: io.BytesIO) -> None:
        super().__init__()
        self._sink = sink
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any, /) -> int:
        size = self._sink.write(data)
        self._at += size
        return size


def _texts(kind: Kind, values: Ints | Floats | Sequence[str]) -> list[bytes]:
    if not isinstance(values, np.ndarray):
        return [_quoted(value) for value in values]
    if kind == "time":
        moments = np.datetime_as_string(values.astype("datetime64[us]"), timezone="UTC")
        return list(np.char.encode(moments, "ascii").tolist())
    if not len(values):
        return []
    texts = msgspec.json.encode(values.tolist())[1:-1].split(b",")
    if values.dtype == np.float64:
        for i in np.flatnonzero(~np.isfinite(values)).tolist():
            texts[i] = _name(float(values[i]))
    return texts


def _name(value: float) -> bytes:
    return b"NaN" if value != value else b"Infinity" if value > 0 else b"-Infinity"


def _spread(values: list[Any], rows: Ints | None, of: int, empty: Any = b"") -> list[Any]:
    if rows is None:
        return values
    cells = [empty] * of
    for row, value in zip(rows.tolist(), values, strict=True):
        cells[row] = value
    return cells


def _quoted(text: str) -> bytes:
    return _lines([[text]])[:-2]


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


def column_of(values: Sequence[Any], type: npt.DTypeLike) -> Cells:
    """A column of numbers in which None is an empty cell."""
    rows = np.flatnonzero(np.array([value is not None for value in values]))
    known = np.array([value for value in values if value is not None], type)
    return Cells(known, None if len(rows) == len(values) else rows)


def text_of(values: Sequence[str | None]) -> Cells:
    """A column of text in which None is an empty cell."""
    rows = np.flatnonzero(np.array([value is not None for value in values]))
    known = [value for value in values if value is not None]
    return Cells(known, None if len(rows) == len(values) else rows)
