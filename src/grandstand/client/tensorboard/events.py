"""What a TensorBoard event file says: scalars and texts, each with the place where it stands.

The file is a row of TFRecords: length (8 bytes), its checksum (4), data, its checksum (4), all
little-endian; the checksum is CRC-32C (RFC 3720), rotated and offset. Each data is an `Event`.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grandstand.client.tensorboard.protobuf import Malformed, fields, float_of, signed

log = logging.getLogger("grandstand.client")

HEADER = 12
FOOTER = 4
FLOAT, DOUBLE, STRING = 1, 2, 7
"""`DataType` of a tensor."""
READ_BYTES = 1 << 24


@dataclass(frozen=True)
class Entry:
    """One value of one tag.

    Attributes:
        offset: byte of the file at which its record begins.
        index: which value of that record it is, from 0.
        wall_time: seconds since 1970, UTC.
        step: as the script counted, may be negative.
        value: the number of a scalar, the words of a text.
    """

    offset: int
    index: int
    wall_time: float
    step: int
    tag: str
    value: float | str


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        rest = byte
        for _ in range(8):
            rest = (rest >> 1) ^ (0x82F63B78 if rest & 1 else 0)
        table.append(rest)
    return tuple(table)


_TABLE = _table()


def masked_crc(data: bytes) -> int:
    """CRC-32C as TFRecords write it down."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


class EventFile:
    """One event file that may still grow. A record written half is left for the next look.

    Args:
        path: the file.

    Attributes:
        offset: bytes understood so far.
        damaged: whether nothing beyond `offset` can be read, because a length is wrong.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
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
                    found = list(entries(body, offset))
                except (Malformed, UnicodeDecodeError) as error:
                    log.warning("%s: no event at byte %d: %s", self.path, offset, error)
            self.offset = base + at
            yield from found


def entries(event: bytes, offset: int) -> Iterator[Entry]:
    """The scalars and texts of one `Event` message.

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
                if told is not None:
                    yield Entry(offset, index, wall_time, step, tag, told)
                index += 1


def _value(message: bytes) -> tuple[str, float | str | None]:
    tag = ""
    told: float | str | None = None
    for number, value in fields(message):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            tag = value.decode()
        elif number == 2:
            told = float_of(value)
        elif number == 8:
            told = _tensor(value)
    return tag, told


def _tensor(message: bytes) -> float | str | None:
    """The only element of a float, double or text tensor; None for any other."""
    kind, raw, elements = 0, b"", []
    for number, value in fields(message):
        if number == 1 and isinstance(value, int):
            kind = value
        elif isinstance(value, bytes):
            if number == 4:
                raw = value
            elif (kind, number) in ((FLOAT, 5), (DOUBLE, 6), (STRING, 8)):
                elements.append(value)
    if kind == STRING:
        return elements[0].decode() if len(elements) == 1 else None
    width = {FLOAT: 4, DOUBLE: 8}.get(kind)
    told = raw or b"".join(elements)
    return float_of(told) if width is not None and len(told) == width else None
