"""The hub: every session that is watched has a stand, and what is committed reaches its seats.

A message is encoded and framed once for everybody who gets it alike, and written to each without
waiting for anybody. Whoever reads too slowly is set aside, caught up from the store when there is
room again, and let go when there is none for too long.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import ceil
from random import shuffle
from typing import Any, TypeAlias

from grandstand.bus.base import Bus, Committed, Deleted, Missed, News, Present, Shown
from grandstand.clock import Clock
from grandstand.errors import GrandstandError, TooMany, Unavailable
from grandstand.live.dialects import ENVELOPES, Dialect
from grandstand.live.elsewhere import SOON_SECONDS, TELL_SECONDS, Elsewhere
from grandstand.live.frames import Binary
from grandstand.live.gallery import Gallery
from grandstand.live.measures import Measures
from grandstand.live.outbox import Outbox
from grandstand.live.presence import everybody
from grandstand.live.seat import Seat
from grandstand.live.stand import Replay, Stand
from grandstand.model.frames import Frame, message
from grandstand.model.telemetry import MESSAGE_TYPES

logger = logging.getLogger("grandstand.live")

Heads: TypeAlias = Callable[[Sequence[str]], Awaitable[dict[str, tuple[int, int]]]]
"""Reads key and newest seq of each of some sessions; one that is not there is missing."""

ALL_TYPES = frozenset(MESSAGE_TYPES)
RESTARTING = "the server is restarting"
GOODBYE_SECONDS = 1.0
SPREAD_SECONDS = 3.0
"""Spectators are asked to come back later over so long at most, that not all come at once."""
SPREAD_STEP_SECONDS = 0.05
FEW = 5
"""So many are asked in a step at least: a handful need not wait for one another."""
COME_BACK_SECONDS = 10.0
ROUND_SECONDS = 1.0
"""How often watched sessions are looked up, where other instances may tell of them."""
REMEMBERED_SECONDS = 600.0
"""How long it is known when a room's seat was left."""


class Hub:
    """Every stand.

    Args:
        replay: reads ``(seq, type, timestamp, data)`` of a session after a seq, in order.
        max_hz: rate of a seat that asks for none, metrics messages a second; 0 for every row.
        queue_bytes: what may wait for one seat.
        stale_seconds: a seat that is set aside and reads nothing for so long is closed with 4508.
        per_session, per_address, total: most spectators of one session, and connections from one
            address, and of all together.
        history: seqs a seat may have missed and still be caught up with one by one.

    Attributes:
        connections: how many there are.
        gallery: frames of the agents at play.
        closing: whether nobody new is taken, since the server is about to leave.
        measures: what the stands count.
        stale_seconds: as given; holds for stands made from now on, and for reporters that leave
            what they are told unread.
    """

    def __init__(
        self,
        bus: Bus,
        replay: Replay,
        clock: Clock,
        *,
        max_hz: float = 10.0,
        queue_bytes: int = 1 << 20,
        stale_seconds: float = 10.0,
        per_session: int = 50,
        per_address: int = 200,
        total: int = 1000,
        history: int = 10_000,
    ) -> None:
        self._bus = bus
        self._replay = replay
        self.clock = clock
        self.max_hz = max_hz
        self._queue_bytes = queue_bytes
        self.stale_seconds = stale_seconds
        self._per_session = per_session
        self._per_address = per_address
        self._total = total
        self._addresses: Counter[str] = Counter()
        self._history = history
        self._stands: dict[str, Stand] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self._at_close: list[Callable[[], Awaitable[None]]] = []
        self.closing = False
        self._empty = asyncio.Event()
        self._look = asyncio.Event()
        self._elsewhere = Elsewhere(clock, self._watched_elsewhere)
        self._to_tell: set[str] = set()  # sessions whose spectators here changed
        self._risen: dict[str, float] = {}  # when those who had a room's seat left it, in order
        self.connections = 0
        self.measures = Measures()
        self.gallery = Gallery(clock)

    async def open(self) -> None:
        """Start listening to the bus."""
        self._unsubscribe = self._bus.subscribe(self._hear)

    async def see_out(self) -> None:
        """Take nobody new, and ask those who watch to come back later (1012), a few at a time.

        A thousand who are closed in one instant come back in one instant. Meanwhile the others
        watch on.
        """
        self.closing = True
        seats = [seat for stand in self._stands.values() for seat in stand.seats]
        at_once = max(FEW, ceil(len(seats) * SPREAD_STEP_SECONDS / SPREAD_SECONDS))
        shuffle(seats)  # those of one session have come together
        for first in range(0, len(seats), at_once):
            if first:
                await self.clock.sleep(SPREAD_STEP_SECONDS)
            for seat in seats[first : first + at_once]:
                if not seat.gone:
                    seat.leave(1012, RESTARTING)

    async def aclose(self) -> None:
        """Ask everybody to come back later (1012); returns within two seconds."""
        self.closing = True
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for stand in tuple(self._stands.values()):
            for seat in tuple(stand.seats):
                seat.leave(1012, RESTARTING)
        goodbyes = asyncio.ensure_future(self._goodbyes())
        bound = asyncio.ensure_future(self.clock.sleep(GOODBYE_SECONDS))
        await asyncio.wait((goodbyes, bound), return_when=asyncio.FIRST_COMPLETED)
        goodbyes.cancel()
        bound.cancel()
        for stand in tuple(self._stands.values()):
            stand.close()

    def at_close(self, goodbye: Callable[[], Awaitable[None]]) -> None:
        """Also await `goodbye` when closing, for connections that sit nowhere."""
        self._at_close.append(goodbye)

    def here(self, session_id: str, who: str) -> bool:
        """Whether the holder of a seat in a room watches now."""
        stand = self._stands.get(session_id)
        if stand is not None:
            return stand.presence.here(who)
        return any(who in told.seats for told in self._elsewhere.of(session_id))

    def away(self, session_id: str, who: str) -> float | None:
        """Seconds since the holder of a seat in a room watched, 0 while they do; None when that was
        more than `REMEMBERED_SECONDS` ago, if ever."""
        if self.here(session_id, who):
            return 0.0
        left = self._risen.get(who)
        return None if left is None else self.clock.monotonic() - left

    def watching(self, session_id: str) -> int:
        """How many spectators a session has."""
        stand = self._stands.get(session_id)
        if stand is not None:
            return stand.presence.count
        return everybody({}, {}, self._elsewhere.of(session_id)).total()

    @property
    def spectators(self) -> int:
        """How many watch here, all sessions together; a second socket counts again."""
        return sum(seat.counted for stand in self._stands.values() for seat in stand.seats)

    def outbox_bytes(self) -> tuple[int, int]:
        """What waits to reach all seats together, and the one for whom it is most."""
        waiting = [seat.outbox.waiting() for stand in self._stands.values() for seat in stand.seats]
        return sum(waiting), max(waiting, default=0)

    def enter(self, address: str = "") -> None:
        """Count a connection; each one is to `leave` again.

        Args:
            address: where it comes from; an unknown one counts among all only.

        Raises:
            TooMany: the server is full, or that address has all the connections it may have.
            Unavailable: the server is closing.
        """
        if self.closing:
            raise Unavailable(RESTARTING)
        if self.connections >= self._total:
            raise TooMany(
                f"the server has {self._total} live connections, which is the limit",
                code="server_full",
                detail="performance.max_total_connections sets it.",
                retry_after_seconds=COME_BACK_SECONDS,
            )
        if address and self._addresses[address] >= self._per_address:
            raise TooMany(
                f"{address} has {self._per_address} live connections, which is the limit",
                code="address_full",
                detail="performance.max_connections_per_address sets it; behind a proxy, name it "
                "in trusted_proxies, or everybody seems to come from there.",
                retry_after_seconds=COME_BACK_SECONDS,
            )
        self.connections += 1
        self._addresses[address] += 1

    def leave(self, address: str = "") -> None:
        """Count a connection no more."""
        self.connections -= 1
        self._addresses[address] -= 1
        if self._addresses[address] <= 0:
            del self._addresses[address]

    def sit(
        self,
        session_id: str,
        outbox: Outbox,
        *,
        name: str = "",
        who: str | None = None,
        dialect: Dialect = ENVELOPES,
        types: frozenset[str] = ALL_TYPES,
        max_hz: float | None = None,
        counted: bool = True,
    ) -> Seat:
        """Take a seat; it hears nothing until it joins (`seat.stand.join`).

        Args:
            name: what the spectator calls itself, for the others to see.
            who: whose seat in a room it is; several connections of one count once.
            counted: whether it is a spectator of this session, or one who hears of all.

        Raises:
            TooMany: the session has all the spectators it may have.
        """
        stand = self._stands.get(session_id)
        full = self.watching(session_id) >= self._per_session
        # A room counts its own seats, by what its host allows.
        if counted and full and who is None:
            raise TooMany(
                f"session {session_id} has {self._per_session} spectators, which is the limit",
                code="session_full",
                detail="performance.max_connections_per_session sets it.",
                retry_after_seconds=COME_BACK_SECONDS,
            )
        if stand is None:
            stand = self._stands[session_id] = Stand(
                session_id,
                self._replay,
                self.clock,
                history=self._history,
                queue_bytes=self._queue_bytes,
                stale_seconds=self.stale_seconds,
                elsewhere=partial(self._elsewhere.of, session_id),
                changed=partial(self._to_tell.add, session_id),
                measures=self.measures,
            )
        rate = self.max_hz if max_hz is None else max_hz
        seat = Seat(stand, name, outbox, dialect, types, rate, counted=counted, who=who)
        stand.seats[seat] = None
        if counted:
            stand.presence.join(name, who)
        return seat

    def rise(self, seat: Seat) -> None:
        """Give a seat back; harmless when it was given back already."""
        stand = seat.stand
        if seat not in stand.seats:
            return
        stand.drop(seat)
        del stand.seats[seat]
        if seat.counted:
            stand.presence.leave(seat.name, seat.who)
        if seat.who is not None:
            self._remember(seat.who)
        if not stand.seats:
            stand.close()
            if self._stands.get(stand.session_id) is stand:
                del self._stands[stand.session_id]
            if not self._stands:
                self._empty.set()

    def _remember(self, who: str) -> None:
        now = self.clock.monotonic()
        self._risen.pop(who, None)
        self._risen[who] = now
        while now - self._risen[first := next(iter(self._risen))] > REMEMBERED_SECONDS:
            del self._risen[first]

    def show(self, session_id: str, frame: Frame) -> bool:
        """Keep a frame of a session and give it to those who want frames.

        Returns:
            False when there have been too many within a second; this one is dropped.
        """
        taken = self.gallery.offer(session_id, frame)
        if taken:
            self._bus.publish(Shown(session_id, frame))
        return taken

    def show_frames(self, seat: Seat, wanted: bool) -> None:
        """Let a seat have frames, beginning with the newest there is, or none any more."""
        session_id = seat.stand.session_id
        newest = self.gallery.newest(session_id) if wanted and not seat.frames else None
        binary = Binary(message(session_id, newest)) if newest is not None else None
        seat.stand.show_frames(seat, wanted, binary)

    def _hear(self, news: News) -> None:
        if isinstance(news, Committed):
            if (stand := self._stands.get(news.session_id)) is not None:
                stand.hear(news)
        elif isinstance(news, Deleted):
            self._forget(news.session_id)
        elif isinstance(news, Shown):
            self._shown(news)
        elif isinstance(news, Present):
            if news.instance != self._bus.instance:
                self._elsewhere.hear(news)
        elif isinstance(news, Missed):
            self._look.set()

    def _watched_elsewhere(self, session_id: str) -> None:
        if (stand := self._stands.get(session_id)) is not None:
            stand.presence.look()

    async def tell_presence(self) -> None:
        """Tell other instances who watches here: soon after a change, and every few seconds."""
        due = self.clock.monotonic()
        while True:
            await self.clock.sleep(SOON_SECONDS)
            if self.clock.monotonic() >= due:
                due = self.clock.monotonic() + TELL_SECONDS
                self._to_tell.update(self._stands)
                self._elsewhere.forget_silent()
            for session_id in self._to_tell:
                stand = self._stands.get(session_id)
                names, seats = stand.presence.here_now if stand is not None else ({}, {})
                self._bus.publish(Present(self._bus.instance, session_id, names, seats))
            self._to_tell.clear()

    def _shown(self, news: Shown) -> None:
        ours = self.gallery.newest(news.session_id) is news.frame
        if not ours and not self.gallery.offer(news.session_id, news.frame):
            return
        if (stand := self._stands.get(news.session_id)) is not None:
            stand.show(Binary(message(news.session_id, news.frame)))

    async def rounds(self, heads: Heads) -> None:
        """Look watched sessions up in the store, so that news that never came are missed for two
        rounds at most: an instance that died after a commit, a bus that is away.

        A session that is gone, or another by now, is told of here as `Deleted`.
        """
        before: dict[Stand, tuple[int, int]] = {}
        while True:
            timer = asyncio.ensure_future(self.clock.sleep(ROUND_SECONDS))
            look = asyncio.ensure_future(self._look.wait())
            try:
                await asyncio.wait((timer, look), return_when=asyncio.FIRST_COMPLETED)
            finally:
                timer.cancel()
                look.cancel()
            urgent = self._look.is_set()
            self._look.clear()
            watched = {i: s for i, s in self._stands.items() if s.heard is not None}
            heard = {s: s.heard or 0 for s in watched.values()}
            if not watched:
                before = {}
                continue
            try:
                found = await heads(list(watched))
            except GrandstandError:
                continue  # the database is away; nothing new can be in it
            for session_id, stand in watched.items():
                if self._stands.get(session_id) is not stand:
                    continue
                key, head = found.get(session_id, (None, 0))
                key_before, head_before = before.get(stand, (key, 0))
                if key is None or key != key_before or head < heard[stand]:
                    self._bus.hear(Deleted(session_id))
                    continue
                # News on their way get a round's time: most come by themselves.
                late = head if urgent else head_before
                if stand.heard is not None and stand.heard < late:
                    stand.repair(head)
            before = {s: found[i] for i, s in watched.items() if i in found}

    async def _goodbyes(self) -> None:
        for goodbye in self._at_close:
            try:
                await goodbye()
            except Exception:
                logger.exception("closing live connections")
        while self._stands:
            self._empty.clear()
            await self._empty.wait()

    def _forget(self, session_id: str) -> None:
        self.gallery.forget(session_id)
        # Its id may be taken again at once: that is another session, with a stand of its own.
        stand = self._stands.pop(session_id, None)
        for seat in tuple(stand.seats) if stand is not None else ():
            if seat.counted:
                seat.leave(4410, "the session was deleted")
            else:
                self.rise(seat)


def types_of(names: Any) -> frozenset[str] | None:
    """The message types a client named; None when it named something else."""
    if not isinstance(names, list) or not names:
        return None
    known = all(isinstance(n, str) and n in MESSAGE_TYPES for n in names)
    return frozenset(names) if known else None
