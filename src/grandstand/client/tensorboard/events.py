"""What a TensorBoard event file says, each value with the place where it stands.

The file is a row of TFRecords: length (8 bytes), its checksum (4), data, its checksum (4), all
little-endian; the checksum is CRC-32C (RFC 3720), rotated and offset. Each data is an `Event`.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from grandstand.client.tensorboard.protobuf import Malformed, fields, float_of, signed
from grandstand.model.media import type_of_image

log = logging.getLogger("grandstand.client")

HEADER = 12
FOOTER = 4
FLOAT, DOUBLE, STRING = 1, 2, 7
"""`DataType` of a tensor."""
READ_BYTES = 1 << 24


class Bins(NamedTuple):
    """A histogram: a count for each bin between neighbouring edges, which rise."""

    counts: tuple[float, ...]
    edges: tuple[float, ...]


class Picture(NamedTuple):
    """An image file, the first where there are several at one step."""

    image: bytes


@dataclass(frozen=True)
class Entry:
    """One value of one tag.

    Attributes:
        offset: byte of the file at which its record begins.
        index: which value of that record it is, from 0.
        wall_time: seconds since 1970, UTC.
        step: as the script counted, may be negative.
        value: the number of a scalar, the words of a text; `Bins` and `Picture` where asked for.
    """

    offset: int
    index: int
    wall_time: float
    step: int
    tag: str
    value: float | str | Bins | Picture


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        rest = byte
        for _ in range(8):
            rest = (rest >> 1) ^ (0x82F63B78 if rest & 1 else 0)
        table.append(rest)
    return tuple(table)


_TABLE = _table()


@lru_cache(maxsize=1)
def _pairs() -> tuple[int, ...]:
    """What two bytes do at once, made when it is first needed."""
    first = [_TABLE[pair & 0xFF] ^ (pair >> 8) for pair in range(1 << 16)]
    return tuple(_TABLE[rest & 0xFF] ^ (rest >> 8) for rest in first)


def masked_crc(data: bytes) -> int:
    """CRC-32C as TFRecords write it down."""
    crc = 0xFFFFFFFF
    pairs, half = _pairs(), len(data) // 2
    for pair in struct.unpack_from(f"<{half}H", data):
        crc = pairs[(crc ^ pair) & 0xFFFF] ^ (crc >> 16)
    if len(data) % 2:
        crc = _TABLE[(crc ^ data[-1]) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


class EventFile:
    """One event file that may still grow. A record written half is left for the next look.

    Args:
        path: the file.
        media: whether to read histograms and images too.

    Attributes:
        offset: bytes understood so far.
        damaged: whether nothing beyond `offset` can be read, because a length is wrong.
    """

    def __init__(self, path: Path, *, media: bool = False) -> None:
        self.path = path
        self._media = media
        self.offset = 0
        self.damaged = False

    def news(self) -> Iterator[Entry]:
        """What was appended since the last look.

        Raises:
            OSError: the file cannot be read.
        """
        while not self.damaged:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(READ_BYTES)
                if len(data) >= HEADER:
                    (size,) = struct.unpack_from("<Q", data)
                    if len(data) == READ_BYTES and size > READ_BYTES - HEADER - FOOTER:
                        data += self._rest(file.read, data, size)
            before = self.offset
            yield from self._read(data)
            if self.offset == before:
                return

    def _rest(self, read: object, data: bytes, size: int) -> bytes:
        """What is missing of a record larger than one read, if its length is to be believed."""
        if masked_crc(data[:8]) != struct.unpack_from("<I", data, 8)[0]:
            return b""
        assert callable(read)
        more = read(size + HEADER + FOOTER - len(data))
        assert isinstance(more, bytes)
        return more

    def _read(self, data: bytes) -> Iterator[Entry]:
        at = 0
        base = self.offset
        while len(data) - at >= HEADER:
            size, check = struct.unpack_from("<QI", data, at)
            if masked_crc(data[at : at + 8]) != check:
                self.damaged = True
                log.warning("%s is damaged at byte %d; the rest is left out", self.path, base + at)
                return
            begin, end = at + HEADER, at + HEADER + size
            if end + FOOTER > len(data):
                return
            body = data[begin:end]
            offset = base + at
            at = end + FOOTER
            found: list[Entry] = []
            if masked_crc(body) != struct.unpack_from("<I", data, end)[0]:
                log.warning("%s: the record at byte %d is damaged; left out", self.path, offset)
            else:
                try:
                    found = list(entries(body, offset, media=self._media))
                except (Malformed, UnicodeDecodeError) as error:
                    log.warning("%s: no event at byte %d: %s", self.path, offset, error)
            self.offset = base + at
            yield from found


def entries(event: bytes, offset: int, *, media: bool = False) -> Iterator[Entry]:
    """The scalars and texts of one `Event` message; with `media` its histograms and images too.

    Raises:
        Malformed: it is none.
    """
    wall_time, step, summaries = 0.0, 0, []
    for number, value in fields(event):
        if number == 1 and isinstance(value, bytes):
            wall_time = float_of(value)
        elif number == 2 and isinstance(value, int):
            step = signed(value)
        elif number == 5 and isinstance(value, bytes):
            summaries.append(value)
    index = 0
    for summary in summaries:
        for number, value in fields(summary):
            if number == 1 and isinstance(value, bytes):
                tag, told = _value(value)
                if told is not None and (media or isinstance(told, (float, str))):
                    yield Entry(offset, index, wall_time, step, tag, told)
                index += 1


def _value(message: bytes) -> tuple[str, float | str | Bins | Picture | None]:
    tag = ""
    told: float | str | Bins | Picture | None = None
    for number, value in fields(message):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            tag = value.decode()
        elif number == 2:
            told = float_of(value)
        elif number == 4:
            told = _old_image(value)
        elif number == 5:
            told = _old_histogram(value)
        elif number == 8:
            told = _tensor(value)
    return tag, told


def _old_image(message: bytes) -> Picture | None:
    """A `Summary.Image`."""
    for number, value in fields(message):
        if number == 4 and isinstance(value, bytes):
            return Picture(value)
    return None


def _old_histogram(message: bytes) -> Bins | None:
    """A `HistogramProto`: upper limits and counts, the first and last limits often without end."""
    low = high = 0.0
    limits: Sequence[float] = ()
    counts: Sequence[float] = ()
    for number, value in fields(message):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            low = float_of(value)
        elif number == 2:
            high = float_of(value)
        elif number == 6:
            limits = _floats(DOUBLE, value)
        elif number == 7:
            counts = _floats(DOUBLE, value)
    if len(limits) != len(counts):
        return None
    lefts = (min(low, *limits[:1]), *limits[:-1]) if limits else ()
    rows = [
        (max(left, low), min(right, high), count)
        for left, right, count in zip(lefts, limits, counts, strict=True)
        if count > 0
    ]
    return bins_of(rows)


def bins_of(rows: Sequence[tuple[float, float, float]]) -> Bins | None:
    """Left edge, right edge and count of each bin as a histogram; None where that is none.

    A bin without a width becomes one of width 1, gaps become empty bins.
    """
    counts: list[float] = []
    edges: list[float] = []
    if len(rows) == 1 and rows[0][0] == rows[0][1]:
        rows = [(rows[0][0] - 0.5, rows[0][1] + 0.5, rows[0][2])]
    for left, right, count in rows:
        if not (isfinite(left) and isfinite(right) and isfinite(count) and count >= 0):
            return None
        if edges and left > edges[-1]:
            counts.append(0.0)
            edges.append(left)
        elif not edges:
            edges.append(left)
        if right > edges[-1]:
            counts.append(count)
            edges.append(right)
        elif counts:
            counts[-1] += count
    return Bins(tuple(counts), tuple(edges)) if counts else None


def _floats(kind: int, raw: bytes) -> tuple[float, ...]:
    width, letter = (8, "d") if kind == DOUBLE else (4, "f")
    if len(raw) % width:
        raise Malformed(f"{len(raw)} bytes are no numbers of {width}")
    return struct.unpack(f"<{len(raw) // width}{letter}", raw)


def _shape(message: bytes) -> tuple[int, ...]:
    sizes = []
    for number, dimension in fields(message):
        if number == 2 and isinstance(dimension, bytes):
            told = [v for n, v in fields(dimension) if n == 1 and isinstance(v, int)]
            sizes.append(told[-1] if told else 0)
    return tuple(sizes)


def _tensor(message: bytes) -> float | str | Bins | Picture | None:
    """The only element of a float, double or text tensor; rows of three as a histogram; width,
    height and file as an image; None for any other."""
    kind, raw, elements = 0, b"", []
    shape: tuple[int, ...] = ()
    for number, value in fields(message):
        if number == 1 and isinstance(value, int):
            kind = value
        elif isinstance(value, bytes):
            if number == 2:
                shape = _shape(value)
            elif number == 4:
                raw = value
            elif (kind, number) in ((FLOAT, 5), (DOUBLE, 6), (STRING, 8)):
                elements.append(value)
    if kind == STRING:
        if len(elements) == 1:
            return elements[0].decode()
        if len(elements) > 2 and type_of_image(elements[2]) is not None:
            return Picture(elements[2])
        return None
    width = {FLOAT: 4, DOUBLE: 8}.get(kind)
    told = raw or b"".join(elements)
    if width is not None and len(shape) == 2 and shape[1] == 3:
        numbers = _floats(kind, told)
        return bins_of(list(zip(*[iter(numbers)] * 3, strict=True)))
    return float_of(told) if width is not None and len(told) == width else None
