"""Event files that TensorBoard reads: scalars, texts, histograms and images.

Values are tensors with the name of the plugin that shows them, as TensorFlow 2 writes them; scalars
are doubles, so nothing of a number is lost. `events.py` says what a file is made of.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import BinaryIO, Final

from grandstand.client.tensorboard.events import DOUBLE, STRING, masked_crc
from grandstand.client.tensorboard.protobuf import data, double, number

VERSION: Final = b"brain.Event:2"
_SCALAR, _TENSOR, _BLOBS = 1, 2, 3
"""`DataClass` of what a tag holds."""


class EventWriter:
    """Writes one event file.

    Args:
        file: open for writing bytes, at its beginning.
        wall_time: when it was begun, in seconds since 1970, UTC.
    """

    def __init__(self, file: BinaryIO, wall_time: float) -> None:
        self._file = file
        self._known: set[str] = set()
        self._scalars: dict[str, bytes] = {}  # by tag: all of a value but its last 8 bytes
        self._record(double(1, wall_time) + data(3, VERSION))

    def scalars(self, values: Iterable[tuple[str, float]], step: int, wall_time: float) -> None:
        """Write values of one step, by their tags; NaN and infinities too."""
        parts = []
        for tag, value in values:
            begin = self._scalars.get(tag)
            if begin is None:
                parts.append(self._value(tag, "scalars", _SCALAR, _doubles((), (value,))))
                self._scalars[tag] = self._value(tag, "scalars", _SCALAR, _doubles((), (0.0,)))[:-8]
            else:
                parts.append(begin + struct.pack("<d", value))
        self._event(b"".join(parts), step, wall_time)

    def text(self, tag: str, text: str, step: int, wall_time: float) -> None:
        """Write a text; TensorBoard shows it as Markdown."""
        value = self._value(tag, "text", _TENSOR, _strings([text.encode()]))
        self._event(value, step, wall_time)

    def histogram(
        self,
        tag: str,
        counts: Sequence[float],
        edges: Sequence[float],
        step: int,
        wall_time: float,
    ) -> None:
        """Write a histogram: a count for each bin between neighbouring edges."""
        bins = zip(edges[:-1], edges[1:], counts, strict=True)
        tensor = _doubles((len(counts), 3), [value for row in bins for value in row])
        self._event(self._value(tag, "histograms", _TENSOR, tensor), step, wall_time)

    def image(
        self, tag: str, image: bytes, width: int, height: int, step: int, wall_time: float
    ) -> None:
        """Write an image file as it is."""
        tensor = _strings([b"%d" % width, b"%d" % height, image])
        self._event(self._value(tag, "images", _BLOBS, tensor), step, wall_time)

    def _value(self, tag: str, plugin: str, kind: int, tensor: bytes) -> bytes:
        value = data(1, tag.encode()) + data(8, tensor)
        if tag not in self._known:  # what comes later is of the same kind
            self._known.add(tag)
            value += data(9, data(1, data(1, plugin.encode())) + number(4, kind))
        return data(1, value)

    def _event(self, summary: bytes, step: int, wall_time: float) -> None:
        self._record(double(1, wall_time) + number(2, step) + data(5, summary))

    def _record(self, event: bytes) -> None:
        length = struct.pack("<Q", len(event))
        check, end = struct.pack("<I", masked_crc(length)), struct.pack("<I", masked_crc(event))
        self._file.write(b"%b%b%b%b" % (length, check, event, end))


def _doubles(shape: tuple[int, ...], values: Sequence[float]) -> bytes:
    return _tensor(DOUBLE, shape) + data(4, struct.pack(f"<{len(values)}d", *values))


def _strings(values: Sequence[bytes]) -> bytes:
    return _tensor(STRING, (len(values),)) + b"".join(data(8, value) for value in values)


def _tensor(kind: int, shape: tuple[int, ...]) -> bytes:
    return number(1, kind) + data(2, b"".join(data(2, number(1, size)) for size in shape))
