"""As much of the protocol buffers' wire format as event files need."""

from __future__ import annotations

import struct
from collections.abc import Iterator


class Malformed(ValueError):
    """Bytes that are no message."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned number at `at`, and where it ends.

    Raises:
        Malformed: it does not end, or is longer than 10 bytes.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Malformed("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise Malformed("a number is longer than 10 bytes")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: a varint as a number, anything else as its bytes.

    Raises:
        Malformed: the message is cut off or uses groups.
    """
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            number, at = varint(data, at)
            yield key >> 3, number
            continue
        if kind == 2:
            size, at = varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise Malformed(f"wire type {kind} is not used by event files")
        if at + size > len(data):
            raise Malformed("a field is cut off")
        yield key >> 3, data[at : at + size]
        at += size


def signed(value: int) -> int:
    """A varint read as int64."""
    return value - (1 << 64) if value >= 1 << 63 else value


def float_of(data: bytes) -> float:
    """A little-endian float of 4 or 8 bytes.

    Raises:
        Malformed: it has another size.
    """
    if len(data) not in (4, 8):
        raise Malformed(f"a float of {len(data)} bytes")
    return float(struct.unpack("<f" if len(data) == 4 else "<d", data)[0])


def number(field: int, value: int) -> bytes:
    """A field that holds a whole number of 64 bits, signed or not."""
    return _varint(field << 3) + _varint(value & 0xFFFFFFFFFFFFFFFF)


def double(field: int, value: float) -> bytes:
    """A field that holds a double."""
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def data(field: int, value: bytes) -> bytes:
    """A field that holds bytes, a text or a message."""
    return b"%b%b%b" % (_varint(field << 3 | 2), _varint(len(value)), value)


_SMALL = tuple(bytes((value,)) for value in range(0x80))


def _varint(value: int) -> bytes:
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
