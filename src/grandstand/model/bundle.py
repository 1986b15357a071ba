"""Frames gathered into batches: what a reporter's socket brings, read once.

A frame is one record, a list of records, or the body of ``POST …/records``. At a record a frame
and tens of thousands a second, a row of the log for each would cost more than the record; so
neighbouring frames become one batch. A frame that the store may refuse stays by itself, so that its
neighbours are not refused with it: one with a `batch_id`, with an event, or with a NUL in a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from grandstand.model.telemetry import (
    MAX_WARNINGS,
    STATUS,
    TYPE_OF,
    UNREADABLE,
    Batch,
    Bodies,
    DecisionIn,
    MetricsIn,
    Record,
    RecordIn,
    decode,
    make_batch,
    parse_batch,
    parse_list,
    record_of,
    warnings_of,
)

FULL_RECORDS: Final = 1000
"""Records in a bundle that make a row of the log; one frame may bring more."""
FULL_BYTES: Final = 512 * 1024
_NUL: Final = b"\\u0000"
"""The only way in which JSON can hold NUL, which no name or key may have (`store/texts.py`)."""


class _Kind(Struct):
    """What tells a batch's body from a record."""

    records: Raw | UnsetType = UNSET


_usual_decoder = msgspec.json.Decoder(MetricsIn | DecisionIn)
_record_decoder = msgspec.json.Decoder(RecordIn)
_kind_decoder = msgspec.json.Decoder(_Kind)


def read_frame(text: bytes) -> Batch:
    """What a single frame brings.

    Raises:
        BadRequest, ValidationFailed: see `model.telemetry.decode`; the field is named from the
            frame's own top: ``data.episode``, ``[2].data.episode``, ``records[2].data.episode``.
        TooLarge: more than `MAX_BATCH_RECORDS`.
    """
    text = text.strip()
    start = text[:1]
    if start == b"[":
        return parse_list(text)
    if start == b"{":
        kind, text = decode(text, _kind_decoder)
        if kind.records is not UNSET:
            return parse_batch(text)
    item, _ = decode(text, _record_decoder)
    return make_batch([record_of(item, "")])


def read_usual(frames: Sequence[bytes]) -> list[MetricsIn | DecisionIn] | None:
    """One record of each frame; None unless every frame is a single usual record."""
    read = _usual_decoder.decode
    try:
        items = [read(text) for text in frames]
    except UNREADABLE:
        return None
    return None if _NUL in b"".join(frames) else items


def stays_alone(batch: Batch) -> bool:
    """Whether a frame's batch may not be gathered with others."""
    return (
        batch.batch_id is not None
        or any(r.type == STATUS for r in batch.records)
        or _NUL in batch.body
    )


class Bundle:
    """Records of neighbouring frames on their way to become one batch.

    Attributes:
        count: rows in it; size: bytes of its frames.
    """

    __slots__ = ("_bodies", "_parts", "_records", "_warnings", "count", "size")

    def __init__(self) -> None:
        self._bodies = Bodies()
        self._parts: list[bytes] = []
        self._records: list[Record] = []
        self._warnings: list[str] = []
        self.count = 0
        self.size = 0

    @property
    def full(self) -> bool:
        """Whether it is large enough for a row of the log."""
        return self.count >= FULL_RECORDS or self.size >= FULL_BYTES

    def add_usual(self, frames: Sequence[bytes], items: Sequence[MetricsIn | DecisionIn]) -> int:
        """Take frames of one record each, and what `read_usual` read in them; gives their size."""
        bodies, at = self._bodies, len(self._records)
        records = [
            Record(TYPE_OF[type(item)], bodies, item.data, 1, item.key, place, len(text))
            for place, (text, item) in enumerate(zip(frames, items, strict=True), at)
        ]
        self._records += records
        self._parts += frames
        self.count += len(records)
        size = sum(map(len, frames))
        self.size += size
        self._warn(warnings_of(records))
        return size

    def add(self, batch: Batch, size: int) -> None:
        """Take a frame of so many bytes that was read by `read_frame`; it has records."""
        self._records += batch.records
        # The list without its brackets: as many places as records, so the next's stay right.
        self._parts.append(batch.body[1:-1])
        self.count += batch.count
        self.size += size
        self._warn(batch.warnings)

    def batch(self) -> Batch:
        """All of it as one batch; nothing may be added any more."""
        self._bodies.text = b"[%b]" % b",".join(self._parts)
        return Batch("batch", self._bodies.text, self._records, None, self._warnings)

    def _warn(self, warnings: Sequence[str]) -> None:
        self._warnings += warnings[: MAX_WARNINGS - len(self._warnings)]
