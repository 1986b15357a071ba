"""A session's stand: its seats, what they hear, and how those who missed something catch up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from grandstand.bus.base import Committed, Present
from grandstand.clock import Clock
from grandstand.errors import GrandstandError
from grandstand.live.dialects import Dialect
from grandstand.live.flow import THINNED, Item
from grandstand.live.frames import Binary, Parcel
from grandstand.live.group import Group
from grandstand.live.measures import Measures
from grandstand.live.outbox import SOFT_BYTES, TOO_SLOW
from grandstand.live.presence import Presence
from grandstand.live.seat import Seat
from grandstand.model.telemetry import STATUS, encode, message_type

logger = logging.getLogger("grandstand.live")

ReplayRow: TypeAlias = tuple[int, str, datetime, bytes]
"""seq, type, timestamp and the JSON of the data of one stored message."""
Replay: TypeAlias = Callable[[str, int, int], Awaitable[list[ReplayRow]]]
"""Reads a session's stored messages after a seq, in order, at most so many."""

PAGE = 1000
"""Stored messages read at a time."""
LOOK_SECONDS = 1.0
"""How often a waiting seat is looked at: does it read at all?"""
LATE_SECONDS = 0.1
"""How often a seat that had no room for the newest frame is offered it again."""


class Stand:
    """Everybody who watches one session.

    Args:
        history: seqs a thinned seat may have missed and still be caught up with one by one.
        queue_bytes: what may wait for one seat.
        stale_seconds: a seat set aside that reads nothing for so long is let go.
        elsewhere, changed: see `Presence`.
    """

    def __init__(
        self,
        session_id: str,
        replay: Replay,
        clock: Clock,
        *,
        history: int,
        queue_bytes: int,
        stale_seconds: float,
        elsewhere: Callable[[], Sequence[Present]] = tuple,
        changed: Callable[[], None] = lambda: None,
        measures: Measures | None = None,
    ) -> None:
        self.session_id = session_id
        self.queue_bytes = queue_bytes
        self.measures = measures or Measures()
        self.seats: dict[Seat, None] = {}
        self.last_seq = 0
        self.heard: int | None = None
        """The seq up to which news have come; None before it is known where they begin."""
        self.presence = Presence(clock, self._tell, elsewhere, changed)
        self._replay = replay
        self._clock = clock
        self._history = history
        self._stale = stale_seconds
        self._groups: dict[tuple[Dialect, frozenset[str], float], Group] = {}
        self._reading: dict[int, asyncio.Future[list[ReplayRow]]] = {}
        self._page: list[ReplayRow] = []  # the one read last; without a gap
        self._frame: Binary | None = None  # the newest
        self._without: set[Seat] = set()  # those who want it and have had no room for it
        self._offering: asyncio.Task[None] | None = None

    def hear(self, news: Committed) -> None:
        """Pass on what was committed; what was known already passes by, and where news between
        are missing everybody reads on from the store."""
        if self.heard is not None:
            if news.last_seq <= self.heard:
                return
            if news.first_seq != self.heard + 1 or not news.records:
                self.repair(news.last_seq)
                return
        elif not news.records:
            self.repair(news.last_seq)
            return
        self.last_seq = max(self.last_seq, news.last_seq)
        self.heard = news.last_seq
        if self._page and self.last_seq - self._page[-1][0] > PAGE:
            self._page = []  # whoever comes back now wants what is newer
        for key, group in tuple(self._groups.items()):
            if group:
                group.flow.feed(news)
            else:  # everybody in it was set aside
                group.close()
                del self._groups[key]

    def reached(self, seq: int) -> None:
        """Note that the session has got as far as `seq`, as the store says."""
        self.last_seq = max(self.last_seq, seq)
        if self.heard is None:
            self.heard = seq

    def repair(self, seq: int) -> None:
        """Have everybody read what is missing up to `seq` from the store."""
        self.last_seq = max(self.last_seq, seq)
        self.heard = seq if self.heard is None else max(self.heard, seq)
        for group in tuple(self._groups.values()):
            group.set_everybody_aside()
            group.close()
        self._groups.clear()

    def join(self, seat: Seat, position: int) -> None:
        """Let a seat hear everything after `position`: first what it missed, then live.

        What is missed is looked up and the live feed joined in one step of the loop, so there is
        no gap and no double, whatever is committed meanwhile.
        """
        seat.position = position
        if position >= self.last_seq:
            self._place(seat)
        else:
            self._follow(seat, exact=seat.max_hz == 0.0)

    async def resume(self, seat: Seat, since: int, tell: Callable[[bool, int], None]) -> None:
        """Send what was stored after `since`, each message, then go on live.

        Args:
            tell: called before the first of them: whether nothing is missing, and the newest seq.
                When something is (it is no longer stored, too much for this rate, or `since` is
                of another life), the seat goes on with what comes from now on.
        """
        self._displace(seat)
        last = self.last_seq
        rows: list[ReplayRow] | None = None
        whole = since <= last and not (seat.max_hz > 0.0 and last - since > self._history)
        if whole and since < last:
            rows = await self._read(since)
            whole = bool(rows) and rows[0][0] == since + 1
        if seat.gone:
            return
        seat.position = since if whole else self.last_seq
        tell(whole, self.last_seq)
        if whole and seat.position < self.last_seq:
            self._follow(seat, exact=True, rows=rows)
        else:
            self._place(seat)

    def tune(
        self, seat: Seat, *, types: frozenset[str] | None = None, max_hz: float | None = None
    ) -> None:
        """Let a seat hear other kinds, or more or less often, from where it is."""
        following = seat.following is not None
        if not following:
            self._displace(seat)
        seat.types = seat.types if types is None else types
        seat.max_hz = seat.max_hz if max_hz is None else max_hz
        if not following:
            self.join(seat, seat.position)

    def show(self, frame: Binary) -> None:
        """Give a frame of the agent at play to every seat that wants frames.

        It comes beside the messages, not among them. Who has no room now is offered the newest
        again when there is some, and never gets those in between.
        """
        self._frame = frame
        self._without = {s for s in self.seats if s.frames and not self._give(s, frame)}
        self._offer_again()

    def show_frames(self, seat: Seat, wanted: bool, newest: Binary | None) -> None:
        """Let a seat have frames, beginning with `newest`, or none any more."""
        seat.frames = wanted
        self._without.discard(seat)
        if wanted and newest is not None and not self._give(seat, newest):
            self._frame = self._frame or newest
            self._without.add(seat)
            self._offer_again()

    def drop(self, seat: Seat) -> None:
        """Let a seat hear no more."""
        seat.gone = True
        self._without.discard(seat)
        self._displace(seat)

    def close(self) -> None:
        """Stop every timer and task."""
        self.presence.close()
        if self._offering is not None:
            self._offering.cancel()
            self._offering = None
        for seat in tuple(self.seats):
            self.drop(seat)
        for group in self._groups.values():
            group.close()
        self._groups.clear()

    def _tell(self, data: dict[str, Any]) -> None:
        # Presence is no record: it has no seq and is not stored.
        now, encoded = self._clock.now(), encode(data)
        parcels: dict[Dialect, Parcel] = {}
        for seat in self.seats:
            if not seat.counted or STATUS not in seat.types or seat.gone:
                continue
            if seat.dialect not in parcels:
                text = seat.dialect.notice(self.session_id, now, encoded)
                parcels[seat.dialect] = Parcel([text] if text is not None else ())
            # Whoever is too slow for this one misses little: the next says it all again.
            seat.outbox.put(parcels[seat.dialect])

    @staticmethod
    def _give(seat: Seat, frame: Binary) -> bool:
        # One who is being caught up has better use for its line.
        return seat.following is None and seat.outbox.show(frame)

    def _offer_again(self) -> None:
        if self._without and self._offering is None:
            self._offering = asyncio.create_task(self._offer_late())

    async def _offer_late(self) -> None:
        while self._without:
            await self._clock.sleep(LATE_SECONDS)
            frame = self._frame
            assert frame is not None
            given = {s for s in self._without if s.outbox.closed or self._give(s, frame)}
            self._without -= given
        self._offering = None

    def _place(self, seat: Seat) -> None:
        key = (seat.dialect, seat.types, seat.max_hz)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(self.session_id, self._clock, *key, self._set_aside)
        seat.group = group
        group.add(seat, seat.position)

    def _displace(self, seat: Seat) -> None:
        if seat.following is not None:
            seat.following.cancel()
            seat.following = None
        if (group := seat.group) is not None:
            seat.group = None
            seat.position = group.remove(seat)
            if not group:
                group.close()
                self._groups.pop((seat.dialect, seat.types, seat.max_hz), None)

    def _set_aside(self, seat: Seat, position: int) -> None:
        seat.group = None
        seat.position = position
        if not seat.outbox.closed:
            self.measures.set_aside += 1
            self._follow(seat, exact=seat.max_hz == 0.0)

    def _follow(self, seat: Seat, *, exact: bool, rows: list[ReplayRow] | None = None) -> None:
        seat.following = asyncio.create_task(self._catch_up(seat, exact, rows))

    async def _catch_up(self, seat: Seat, exact: bool, rows: list[ReplayRow] | None) -> None:
        try:
            left: int | None = None
            while True:
                if not seat.outbox.put(_NOTHING):
                    if not await self._room(seat):
                        return
                    continue
                if not exact and self.last_seq - seat.position > self._history:
                    left = seat.position + 1
                    seat.position, rows = self.last_seq - self._history, None
                if rows is None:
                    rows = await self._read(seat.position)
                items = _items(rows, seat, exact=exact, left=left)
                if items:
                    left = None
                end = rows[-1][0] if rows else self.last_seq
                if not await self._send(seat, items, end):
                    return
                if len(rows) < PAGE and seat.position >= self.last_seq:
                    seat.following = None
                    self._place(seat)
                    return
                rows = None
        except GrandstandError as error:
            seat.following = None
            seat.leave(error.close_code, error.message)
        except Exception:
            logger.exception("could not read what spectator %s missed", seat.id)
            seat.following = None
            seat.leave(1011, "the server could not read what was missed")

    async def _send(self, seat: Seat, items: list[Item], end: int) -> bool:
        """Send one page, as fast as the spectator reads; False when it is gone."""
        texts: list[bytes] = []
        size = 0
        for i, item in enumerate(items):
            if (text := seat.dialect.encode(self.session_id, item)) is not None:
                texts.append(text)
                size += len(text)
            if texts and (size >= SOFT_BYTES // 2 or i == len(items) - 1):
                parcel = Parcel(texts)
                while not seat.outbox.put(parcel):
                    if not await self._room(seat):
                        return False
                texts, size = [], 0
                seat.position = item.seq
        seat.position = end
        return True

    async def _room(self, seat: Seat) -> bool:
        """Wait for the spectator to read; False when it does not, and is let go."""
        drained = asyncio.ensure_future(seat.outbox.drained())
        try:
            waiting, patient_since = seat.outbox.waiting(), self._clock.monotonic()
            while not seat.outbox.closed:
                look = asyncio.ensure_future(self._clock.sleep(LOOK_SECONDS))
                try:
                    await asyncio.wait((drained, look), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    look.cancel()
                if drained.done():
                    if seat.outbox.waiting() > SOFT_BYTES:  # what it calls room is none to us
                        await self._clock.sleep(0.01)
                    return not seat.outbox.closed
                now = self._clock.monotonic()
                if (left := seat.outbox.waiting()) < waiting:
                    waiting, patient_since = left, now
                elif now - patient_since >= self._stale:
                    seat.following = None
                    seat.leave(TOO_SLOW, "too slow; come back with since")
                    return False
            return False
        finally:
            drained.cancel()

    async def _read(self, position: int) -> list[ReplayRow]:
        """A page after `position`, read once for everybody who asks while it is being read.

        After a restart a thousand come back at once, each from somewhere else: whoever lies
        within the page that was read last is served from it. It may be short of the newest; what
        is left is then asked for by itself.
        """
        if self._page and self._page[0][0] <= position + 1 <= self._page[-1][0]:
            self.measures.pages_shared += 1
            return self._page[position + 1 - self._page[0][0] :]
        reading = self._reading.get(position)
        if reading is not None:
            self.measures.pages_shared += 1
        else:
            self.measures.pages_read += 1
            reading = asyncio.ensure_future(self._replay(self.session_id, position, PAGE))
            self._reading[position] = reading
            reading.add_done_callback(lambda _: self._reading.pop(position, None))
        # Shielded: one spectator that leaves must not take the page from the others.
        rows = await asyncio.shield(reading)
        if rows and rows[-1][0] - rows[0][0] == len(rows) - 1:
            self._page = rows
        return rows


def _items(rows: Sequence[ReplayRow], seat: Seat, *, exact: bool, left: int | None) -> list[Item]:
    """Stored messages as items for `seat`.

    Args:
        exact: each of them; otherwise the newest of each thinned kind, and all of the others.
        left: the first seq left out before the first row, if any was.
    """
    newest = {row[1]: row[0] for row in rows}
    items: list[Item] = []
    for seq, kind, at, data in rows:
        if message_type(kind) not in seat.types:
            continue
        if not exact and kind in THINNED and seq != newest[kind]:
            left = seq if left is None else left
            continue
        skipped = None if left is None or left == seq else (left, seq - 1)
        items.append(Item(kind, seq, at, data, skipped))
        left = None
    return items


_NOTHING = Parcel(())
