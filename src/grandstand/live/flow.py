"""How often: a session's news, with the frequent kinds thinned to a rate.

Every record is stored with a seq of its own; a watcher of a fast training still wants ten pictures
a second, not ten thousand. A thinned message says which seqs before it were left out
(`skipped_from`, `skipped_to`), so it never looks like loss.

What is left out costs nothing: rows of columnar records are unpacked only when they are sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from grandstand.bus.base import Committed
from grandstand.clock import Clock
from grandstand.model.media import MEDIA
from grandstand.model.telemetry import (
    DECISION,
    GRAPH,
    METRICS,
    Columns,
    Record,
    TrainingMetrics,
    message_type,
)

THINNED: Final = frozenset({METRICS, DECISION})
SHAPES: Final = 4
"""A loop that logs rewards in one call and losses in another wants to see both: the newest row of
each set of fields is sent, of so many sets."""
LOOK_BACK: Final = 16
"""Records among which those are looked for."""
PATIENT: Final = frozenset({GRAPH, *MEDIA})
"""Never thinned, but they wait for figures that wait."""
HELD: Final = 64
"""So many of those may wait."""
FLOOD: Final = 1000
"""Rows of one news that are more than a loop's turn should unpack for those who want every one."""


@dataclass(slots=True, frozen=True)
class Item:
    """One message in the making.

    Attributes:
        skipped: first and last seq left out between the message before and this one.
    """

    type: str
    seq: int
    at: datetime
    data: bytes
    skipped: tuple[int, int] | None = None

    def after(self, seq: int) -> Item:
        """The same for a watcher who has everything up to `seq`."""
        if self.skipped is None or self.skipped[0] > seq:
            return self
        left = (seq + 1, self.skipped[1])
        return replace(self, skipped=left if left[0] <= left[1] else None)


@dataclass(slots=True, frozen=True)
class _Waiting:
    """A record's last row, not yet unpacked."""

    seq: int
    record: Record
    arrived_at: datetime

    def item(self) -> Item:
        row = self.record.count - 1
        record = self.record
        return Item(record.type, self.seq, record.timestamp(row, self.arrived_at), record.data(row))


class Flow:
    """A session's news for those who want the same kinds at the same rate.

    The first after a quiet spell goes out at once; the newest of what follows goes out when its
    turn has come. Messages come out in the order of their seqs. A change of status goes out at
    once, after the newest figures before it; graph updates and media wait for those.

    Args:
        types: message types wanted.
        max_hz: metrics messages a second, and as many decisions; 0 lets every row through.
        emit: takes what comes out, at least one item.
        flooded: called instead when there is more to unpack than one turn of the loop should:
            those who want every row read it from the store.
    """

    def __init__(
        self,
        clock: Clock,
        types: Set[str],
        max_hz: float,
        emit: Callable[[list[Item]], None],
        flooded: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._types = types
        self._period = 1.0 / max_hz if max_hz > 0 else 0.0
        self._emit = emit
        self._flooded = flooded
        self._first: int | None = None  # the oldest seq that waits
        self._metrics: deque[_Waiting] = deque(maxlen=LOOK_BACK)
        self._decision: _Waiting | None = None
        self._held: list[_Waiting] = []
        self._due = float("-inf")
        self._timer: asyncio.Task[None] | None = None

    def feed(self, news: Committed) -> None:
        """Take in what was committed; emits what is due."""
        if self._period == 0.0:
            self._feed_all(news)
            return
        out: list[Item] = []
        now = self._clock.monotonic()
        seq = news.first_seq - 1
        for record in news.records:
            first = seq + 1
            seq += record.count
            if message_type(record.type) not in self._types:
                continue
            waiting = _Waiting(seq, record, news.at)
            if record.type in THINNED or (record.type in PATIENT and self._first is not None):
                if self._first is None:
                    self._first = first
                if record.type == METRICS:
                    self._metrics.append(waiting)
                elif record.type == DECISION:
                    self._decision = waiting
                else:
                    self._held.append(waiting)
                    if len(self._held) >= HELD:
                        out += self._release(now)
            else:
                out += self._release(now)
                out.append(waiting.item())
        if self._first is not None:
            if now >= self._due:
                out += self._release(now)
            elif self._timer is None:
                self._timer = asyncio.create_task(self._later(self._due - now))
        if out:
            self._emit(out)

    def close(self) -> None:
        """Forget what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._first = None

    def _feed_all(self, news: Committed) -> None:
        if news.last_seq - news.first_seq >= FLOOD:
            self._flooded()
            return
        out = []
        seq = news.first_seq
        for record in news.records:
            if message_type(record.type) in self._types:
                out += [
                    Item(record.type, seq + row, record.timestamp(row, news.at), record.data(row))
                    for row in range(record.count)
                ]
            seq += record.count
        if out:
            self._emit(out)

    def _release(self, now: float) -> list[Item]:
        if self._first is None:
            return []
        chosen = self._held
        shapes: set[object] = set()
        for waiting in reversed(self._metrics):
            shape = shape_of(waiting.record)
            if shape not in shapes:
                shapes.add(shape)
                chosen.append(waiting)
                if len(shapes) == SHAPES:
                    break
        if self._decision is not None:
            chosen.append(self._decision)
        chosen.sort(key=lambda w: w.seq)
        items = []
        have = self._first - 1
        for waiting in chosen:
            item = waiting.item()
            if item.seq > have + 1:
                item = replace(item, skipped=(have + 1, item.seq - 1))
            have = item.seq
            items.append(item)
        self._first, self._decision, self._held = None, None, []
        self._metrics.clear()
        self._due = now + self._period * max(1, len(shapes))
        return items

    async def _later(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._timer = None
        now = self._clock.monotonic()
        if now < self._due:  # a change of status let the figures out before their turn
            if self._first is not None:
                self._timer = asyncio.create_task(self._later(self._due - now))
        elif items := self._release(now):
            self._emit(items)


def shape_of(record: Record) -> object:
    """Which fields a metrics record tells of."""
    value = record.value
    if not isinstance(value, (TrainingMetrics, Columns)):
        return None
    extra = frozenset(value.extra) if value.extra else None
    known = tuple(
        name
        for name in value.__struct_fields__
        if name not in ("extra", "timestamp") and getattr(value, name) is not None
    )
    return known, extra
