"""Cells: what a few neighbouring points of a series come to, in packed columns.

A *cell* is one point or any number of neighbours, summed up: how many, least, greatest, sum, last,
and where they lie on every x axis. Cells add up to larger cells without looking at the points
again, and minimum and maximum stay exact however often that happens, so a spike never vanishes.

Packing is columnar: integers as zigzag deltas, then the bytes of all numbers transposed (all first
bytes, all second bytes …) and zstd over it. Deltas of steady counters and the upper bytes of
similar floats become runs of equal bytes, which cost next to nothing.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

AXES: Final = ("seq", "episode", "step", "time")
"""What a point can be placed by; times are microseconds since 1970, UTC."""

COUNT: Final = 0
"""Row of `Cells.ints`: how many points."""
FINITE: Final = 1
"""Row of `Cells.ints`: how many of them are neither NaN nor infinite."""
MIN, MAX, SUM, LAST = range(4)
"""Rows of `Cells.floats`; the first three are over finite points."""
X_LEAST, X_GREATEST, X_LAST = range(3)
"""What of an axis `axis_row` should find."""

INT_ROWS: Final = 2 + 3 * len(AXES)
FLOAT_ROWS: Final = 4

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HEADER: Final = struct.Struct("<BBBxI")
_VERSION: Final = 1
_LEVEL: Final = 1


def micros(moment: datetime) -> int:
    """A moment (a naive one is UTC) as the time axis counts: microseconds since 1970."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // datetime.resolution


def moment_of(micros: int) -> datetime:
    """The moment, UTC, of so many microseconds since 1970."""
    return _EPOCH + micros * datetime.resolution


def axis_row(axis: str, of: int) -> int:
    """The row of `Cells.ints` that holds an axis' least, greatest or last x."""
    return 2 + 3 * AXES.index(axis) + of


class Cells:
    """Some cells in the order of their points.

    Attributes:
        ints: int64, `INT_ROWS` × cells: count, finite count, then for each of `AXES` the least,
            the greatest and the last x.
        floats: float64, `FLOAT_ROWS` × cells: min and max (+inf and -inf where no point is
            finite), sum of the finite points, and the last point as it is.
    """

    __slots__ = ("floats", "ints")

    def __init__(self, ints: Ints, floats: Floats) -> None:
        self.ints = ints
        self.floats = floats

    def __len__(self) -> int:
        return int(self.ints.shape[1])

    @property
    def points(self) -> int:
        """How many points all cells hold together."""
        return int(self.ints[COUNT].sum())

    @classmethod
    def of_points(cls, x: Ints, values: Floats) -> Cells:
        """Every point as a cell of its own.

        Args:
            x: int64, 4 × points, in the order of `AXES`.
            values: float64, as many.
        """
        n = values.shape[0]
        finite = np.isfinite(values)
        ints = np.empty((INT_ROWS, n), np.int64)
        ints[COUNT] = 1
        ints[FINITE] = finite
        ints[2:].reshape(len(AXES), 3, n)[:] = x[:, None, :]
        floats = np.empty((FLOAT_ROWS, n), np.float64)
        floats[MIN] = np.where(finite, values, np.inf)
        floats[MAX] = np.where(finite, values, -np.inf)
        floats[SUM] = np.where(finite, values, 0.0)
        floats[LAST] = values
        return cls(ints, floats)

    @classmethod
    def join(cls, parts: Sequence[Cells]) -> Cells:
        """All parts after one another."""
        if not parts:
            return cls(np.empty((INT_ROWS, 0), np.int64), np.empty((FLOAT_ROWS, 0), np.float64))
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([p.ints for p in parts], axis=1),
            np.concatenate([p.floats for p in parts], axis=1),
        )

    def merged(self, starts: npt.NDArray[Any]) -> Cells:
        """Neighbours added up to one cell each.

        Args:
            starts: index of the first cell of each new cell, rising from 0.
        """
        if len(starts) == len(self):
            return self
        ends = np.append(starts[1:], len(self)) - 1
        ints = np.empty((INT_ROWS, len(starts)), np.int64)
        floats = np.empty((FLOAT_ROWS, len(starts)), np.float64)
        np.add.reduceat(self.ints[:2], starts, axis=1, out=ints[:2])
        least, greatest, last = (slice(2 + of, None, 3) for of in (X_LEAST, X_GREATEST, X_LAST))
        np.minimum.reduceat(self.ints[least], starts, axis=1, out=ints[least])
        np.maximum.reduceat(self.ints[greatest], starts, axis=1, out=ints[greatest])
        ints[last] = self.ints[last][:, ends]
        np.minimum.reduceat(self.floats[MIN], starts, out=floats[MIN])
        np.maximum.reduceat(self.floats[MAX], starts, out=floats[MAX])
        with np.errstate(over="ignore", invalid="ignore"):
            np.add.reduceat(self.floats[SUM], starts, out=floats[SUM])
        floats[LAST] = self.floats[LAST][ends]
        return Cells(ints, floats)

    def grouped(self, keys: npt.NDArray[Any]) -> Cells:
        """Neighbours of the same key added up. `keys`: one for each cell, never falling."""
        if not len(self):
            return self
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        return self.merged(starts)

    def at_most(self, buckets: int) -> Cells:
        """No more than `buckets` cells, each holding about as many points as the others."""
        if len(self) <= buckets:
            return self
        ends = np.cumsum(self.ints[COUNT])
        before = ends - self.ints[COUNT]
        return self.grouped(before * buckets // int(ends[-1]))

    def pack(self) -> bytes:
        """As bytes, see `pack`."""
        return pack(self.ints, self.floats)

    @classmethod
    def unpack(cls, body: bytes) -> Cells:
        """What `pack` made bytes of."""
        return cls(*unpack(body))


def pack(ints: Ints, floats: Floats) -> bytes:
    """Columns as bytes.

    Args:
        ints: int64, any number of rows × n.
        floats: float64, any number of rows × n.
    """
    n = ints.shape[1]
    deltas = np.diff(ints, axis=1, prepend=np.int64(0))
    zigzag = (deltas << 1) ^ (deltas >> 63)
    planes = [
        np.ascontiguousarray(columns).reshape(-1).view(np.uint8).reshape(-1, 8).T.tobytes()
        for columns in (zigzag.astype("<i8", copy=False), floats.astype("<f8", copy=False))
        if columns.size
    ]
    header = _HEADER.pack(_VERSION, ints.shape[0], floats.shape[0], n)
    return header + zstd.compress(b"".join(planes), _LEVEL)


def unpack(body: bytes) -> tuple[Ints, Floats]:
    """What `pack` made bytes of.

    Raises:
        ValueError: written by a newer version, or not by `pack`.
    """
    version, int_rows, float_rows, n = _HEADER.unpack_from(body)
    if version != _VERSION:
        raise ValueError(f"a block of version {version}, this server reads {_VERSION}")
    raw = np.frombuffer(zstd.decompress(memoryview(body)[_HEADER.size :]), np.uint8)
    cut = 8 * int_rows * n
    if raw.size != cut + 8 * float_rows * n:
        raise ValueError(f"a block of {raw.size} bytes where its header says otherwise")
    zigzag = _from_planes(raw[:cut]).view("<u8").reshape(int_rows, n)
    deltas = (zigzag >> np.uint64(1)).astype(np.int64) ^ -(zigzag & np.uint64(1)).astype(np.int64)
    floats = _from_planes(raw[cut:]).view("<f8").reshape(float_rows, n)
    return np.cumsum(deltas, axis=1), floats.astype(np.float64, copy=False)


def _from_planes(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(planes.reshape(8, -1).T).reshape(-1)
