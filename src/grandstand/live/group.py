"""Seats that get the same messages, so that each is encoded and framed once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from typing import TYPE_CHECKING

from grandstand.clock import Clock
from grandstand.live.dialects import Dialect
from grandstand.live.flow import Flow, Item
from grandstand.live.frames import Parcel
from grandstand.live.outbox import SOFT_BYTES

if TYPE_CHECKING:
    from grandstand.live.seat import Seat

BUSY_SEATS = 16
"""A smaller group is written to at once, always."""
SECONDS_A_SEAT = 1e-5
LONGEST_GAP_SECONDS = 0.005


class Group:
    """The seats of one session with the same dialect, message types and rate.

    A write to a socket costs the same however much it carries. So an idle group is written to at
    once, and a busy one at most every few milliseconds, each time with all whole messages since.

    Args:
        set_aside: takes a seat that cannot be given more now, and the seq it has everything up to.
    """

    def __init__(
        self,
        session_id: str,
        clock: Clock,
        dialect: Dialect,
        types: Set[str],
        max_hz: float,
        set_aside: Callable[[Seat, int], None],
    ) -> None:
        self.flow = Flow(clock, types, max_hz, self._take, self.set_everybody_aside)
        self._session_id = session_id
        self._dialect = dialect
        self._set_aside = set_aside
        self._loop = asyncio.get_running_loop()
        self._live: dict[Seat, None] = {}
        self._fresh: dict[Seat, int] = {}
        self._written = 0  # the seats in `_live` have everything up to here
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._out_seq = 0
        self._flushed_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._live) + len(self._fresh)

    def add(self, seat: Seat, position: int) -> None:
        """Let a seat hear what comes after `position`, which it has reached."""
        self._fresh[seat] = position

    def remove(self, seat: Seat) -> int:
        """Let a seat hear no more.

        Returns:
            the seq up to which it has everything.
        """
        if seat in self._fresh:
            return self._fresh.pop(seat)
        del self._live[seat]
        return self._written

    def close(self) -> None:
        """Stop every timer."""
        self.flow.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def flush(self) -> None:
        """Write what has gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._out:
            parcel = Parcel(self._out)
            self._out, self._out_bytes = [], 0
            self._write(parcel, self._out_seq)
            self._flushed_at = self._loop.time()

    def _take(self, items: list[Item]) -> None:
        if not self:
            return
        encode, session_id = self._dialect.encode, self._session_id
        texts = [text for item in items if (text := encode(session_id, item)) is not None]
        if self._fresh:
            self.flush()
            if texts:
                self._write(Parcel(texts), items[-1].seq)
            self._welcome(items)
            self._written = items[-1].seq
            return
        if not texts:
            return
        self._out += texts
        self._out_bytes += sum(map(len, texts))
        self._out_seq = items[-1].seq
        seats = len(self._live)
        if seats < BUSY_SEATS or self._out_bytes > SOFT_BYTES // 2:
            self.flush()
        elif self._timer is None:
            gap = min(seats * SECONDS_A_SEAT, LONGEST_GAP_SECONDS)
            wait = self._flushed_at + gap - self._loop.time()
            if wait <= 0:
                self.flush()
            else:
                self._timer = self._loop.call_later(wait, self.flush)

    def _write(self, parcel: Parcel, seq: int) -> None:
        slow = [seat for seat in self._live if not seat.outbox.put(parcel)]
        for seat in slow:
            del self._live[seat]
            self._set_aside(seat, self._written)
        self._written = seq

    def _welcome(self, items: list[Item]) -> None:
        """Give newcomers what is new to them; those who keep up are like all others from then."""
        for seat, position in tuple(self._fresh.items()):
            texts = [
                text
                for item in items
                if item.seq > position
                and (text := self._dialect.encode(self._session_id, item.after(position)))
            ]
            if texts and not seat.outbox.put(Parcel(texts)):
                del self._fresh[seat]
                self._set_aside(seat, position)
            elif items[-1].seq > position:
                del self._fresh[seat]
                self._live[seat] = None

    def set_everybody_aside(self) -> None:
        """Have every seat read on from the store."""
        self.flush()
        everybody = [(s, self._written) for s in self._live] + list(self._fresh.items())
        self._live.clear()
        self._fresh.clear()
        for seat, position in everybody:
            self._set_aside(seat, position)
