"""How often: a session's messages, with the frequent kinds thinned to a rate.

Every record is stored with a seq of its own; a watcher of a fast training still wants ten pictures
a second, not ten thousand. A thinned message says which seqs it stands for (`skipped_from`,
`skipped_to`), so it never looks like loss.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from grandstand.bus.base import Committed
from grandstand.model.telemetry import (
    DECISION,
    METRICS,
    Columns,
    Record,
    TrainingMetrics,
    encode,
)

THINNED = (METRICS, DECISION)


@dataclass(slots=True, frozen=True)
class Message:
    """One message on its way: its data is JSON already."""

    type: str
    seq: int
    at: datetime
    data: bytes


@dataclass(slots=True)
class _Pending:
    record: Record
    row: int
    seq: int
    arrived_at: datetime


class Flow:
    """A session's news at no more than `max_hz` messages a second of each frequent kind.

    The first after a quiet spell goes out at once; the newest of what follows goes out when its
    turn has come: of metrics, the newest of each set of fields, because a loop that logs returns
    in one call and losses in another wants to see both. Messages come out in the order of seqs.

    Args:
        max_hz: messages a second of each kind in `THINNED`; 0 lets every row through.
        emit: takes what comes out.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, max_hz: float, emit: Callable[[list[Message]], None]
    ) -> None:
        self._loop = loop
        self._period = 1.0 / max_hz if max_hz > 0 else 0.0
        self._emit = emit
        self._pending: dict[object, _Pending] = {}
        self._since = 0  # the first seq that waits
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def feed(self, news: Committed) -> None:
        """Take in what was committed; emits what is due."""
        out: list[Message] = []
        seq = news.first_seq
        now = self._loop.time()
        for record in news.records:
            if self._period == 0.0 or record.type not in THINNED:
                if record.type not in THINNED:
                    # An event must not overtake the figures it follows.
                    out.extend(self._flush(now))
                out.extend(
                    Message(
                        record.type, seq + row, record.timestamp(row, news.at), record.data(row)
                    )
                    for row in range(record.count)
                )
            else:
                self._hold(record, seq, news.at)
            seq += record.count
        if self._pending:
            out.extend(self._flush(now, only_due=True))
        if out:
            self._emit(out)
        self._schedule(now)

    def close(self) -> None:
        """Forget what is held back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pending.clear()

    def _hold(self, record: Record, seq: int, at: datetime) -> None:
        if not self._pending:
            self._since = seq
        last = record.count - 1
        self._pending[_shape(record)] = _Pending(record, last, seq + last, at)

    def _flush(self, now: float, *, only_due: bool = False) -> list[Message]:
        if not self._pending or (only_due and now < self._due):
            return []
        out = []
        have = self._since - 1
        for held in sorted(self._pending.values(), key=lambda h: h.seq):
            data = held.record.data(held.row)
            if held.seq > have + 1:
                data = b'%b,"skipped_from":%d,"skipped_to":%d}' % (
                    data.rstrip()[:-1],
                    have + 1,
                    held.seq - 1,
                )
            at = held.record.timestamp(held.row, held.arrived_at)
            out.append(Message(held.record.type, held.seq, at, data))
            have = held.seq
        metrics = sum(m.type == METRICS for m in out)
        self._pending.clear()
        self._due = now + self._period * max(1, metrics)
        return out

    def _schedule(self, now: float) -> None:
        if self._timer is None and self._pending:
            self._timer = self._loop.call_later(max(self._due - now, 0.0), self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        if out := self._flush(now, only_due=True):
            self._emit(out)
        self._schedule(now)


def _shape(record: Record) -> object:
    """What a record tells of: its type and, of metrics, which fields."""
    value = record.value
    if not isinstance(value, (TrainingMetrics, Columns)):
        return record.type
    known = tuple(
        name
        for name in value.__struct_fields__
        if name not in ("extra", "timestamp") and getattr(value, name) is not None
    )
    return record.type, known, frozenset(value.extra or ())


def plain(message: Message) -> object:
    """A message's data as plain values."""
    return msgspec.json.decode(message.data)


def json_of(value: object) -> bytes:
    """JSON of `value`."""
    return encode(value)
