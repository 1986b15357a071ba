"""The hub: every session with spectators has a stand, and what is committed reaches its seats.

A message is serialised once for everybody who gets it at the same rate. A seat joins the live
feed before it reads what it missed, and drops from the feed what it has read already: so there is
no gap and no double, whatever is committed meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, TypeAlias

from grandstand.bus.base import Bus, Changed, Committed, Deleted, News
from grandstand.clock import Clock
from grandstand.errors import TooMany
from grandstand.live.flow import Flow, Message
from grandstand.live.outbox import Outbox
from grandstand.model.session import new_id
from grandstand.model.telemetry import MESSAGE_TYPES, RECORD_TYPES, STATUS, encode, envelope

logger = logging.getLogger("grandstand.live")

ReplayRow: TypeAlias = tuple[int, str, datetime, bytes]
Replay: TypeAlias = Callable[[str, int, int], Awaitable[list[ReplayRow]]]

REPLAY_PAGE = 1000
PRESENCE_SECONDS = 1.0


class Seat:
    """One spectator's place.

    Attributes:
        types: message types it gets.
        closing: set, with a close code and reason, when it must leave.
    """

    def __init__(self, stand: Stand, name: str, queue_bytes: int) -> None:
        self.id = new_id()
        self.name = name
        self.stand = stand
        self.types: set[str] = set(MESSAGE_TYPES)
        self.outbox = Outbox(queue_bytes)
        self.max_hz = 0.0
        self.last_seq = 0
        self.closing: asyncio.Future[tuple[int, str]] = stand.hub.loop.create_future()
        self._held: list[tuple[Message, bytes]] | None = []

    def offer(self, message: Message, frame: bytes) -> None:
        """Queue a live message; holds it back while the past is still being read."""
        if self._held is not None:
            self._held.append((message, frame))
            if sum(len(f) for _, f in self._held) > self.stand.hub.queue_bytes:
                self.leave(4508, "too slow")
            return
        if message.seq <= self.last_seq:
            return
        self.last_seq = message.seq
        if message.type in self.types:
            self.push(frame)

    def push(self, frame: bytes) -> None:
        """Queue a message that is this seat's alone."""
        if not self.outbox.put(frame):
            self.leave(4508, "too slow; come back with since")

    def hold(self) -> None:
        """Hold live messages back from now on."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Go on with the live feed, after everything up to `last_seq` has been sent."""
        held, self._held = self._held or [], None
        for message, frame in held:
            self.offer(message, frame)

    def leave(self, code: int, reason: str) -> None:
        """Have its socket closed."""
        if not self.closing.done():
            self.closing.set_result((code, reason))


class Stand:
    """The seats of one session, grouped by how often they want to hear."""

    def __init__(self, hub: Hub, session_id: str) -> None:
        self.hub = hub
        self.session_id = session_id
        self.groups: dict[float, tuple[Flow, set[Seat]]] = {}
        self._presence: asyncio.TimerHandle | None = None

    @property
    def seats(self) -> list[Seat]:
        """Everybody here."""
        return [seat for _, seats in self.groups.values() for seat in seats]

    def add(self, seat: Seat, max_hz: float) -> None:
        """Let a seat hear from now on."""
        seat.max_hz = max_hz
        if max_hz not in self.groups:
            seats: set[Seat] = set()
            flow = Flow(self.hub.loop, max_hz, lambda out: self._deliver(seats, out))
            self.groups[max_hz] = (flow, seats)
        self.groups[max_hz][1].add(seat)

    def remove(self, seat: Seat) -> None:
        """Let it hear no more."""
        flow, seats = self.groups.get(seat.max_hz, (None, set()))
        seats.discard(seat)
        if flow is not None and not seats:
            flow.close()
            del self.groups[seat.max_hz]

    def hear(self, news: Committed) -> None:
        """Pass on what was committed."""
        for flow, _ in tuple(self.groups.values()):
            flow.feed(news)

    def announce(self) -> None:
        """Tell everybody who is here, once things have been still for a moment."""
        if self._presence is None:
            self._presence = self.hub.loop.call_later(PRESENCE_SECONDS, self._tell_presence)

    def close(self) -> None:
        """Stop every timer."""
        if self._presence is not None:
            self._presence.cancel()
        for flow, _ in self.groups.values():
            flow.close()

    def _tell_presence(self) -> None:
        self._presence = None
        seats = self.seats
        data = {
            "event": "presence",
            "spectator_count": len(seats),
            "names": sorted({s.name for s in seats if s.name})[:100],
        }
        # Presence is not a record: it has no seq and is not stored.
        frame = envelope(STATUS, self.session_id, None, self.hub.clock.now(), encode(data))
        for seat in seats:
            if STATUS in seat.types:
                seat.push(frame)

    def _deliver(self, seats: Iterable[Seat], out: list[Message]) -> None:
        for message in out:
            frame = envelope(message.type, self.session_id, message.seq, message.at, message.data)
            for seat in tuple(seats):
                seat.offer(message, frame)


class Hub:
    """Every stand.

    Args:
        replay: reads ``(seq, type, timestamp, data)`` of a session after a seq, in order.
        max_hz: rate of a seat that asks for none.
        queue_bytes: what may wait for one seat.
        per_session, total: most seats of one session, and of all.
        history: seqs a seat may have missed and still be caught up with.
    """

    def __init__(
        self,
        bus: Bus,
        replay: Replay,
        clock: Clock,
        *,
        max_hz: float = 10.0,
        queue_bytes: int = 1 << 20,
        per_session: int = 50,
        total: int = 1000,
        history: int = 10_000,
    ) -> None:
        self._bus = bus
        self._replay = replay
        self.clock = clock
        self.max_hz = max_hz
        self.queue_bytes = queue_bytes
        self._per_session = per_session
        self._total = total
        self._history = history
        self._stands: dict[str, Stand] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self.connections = 0
        self.loop: asyncio.AbstractEventLoop

    async def open(self) -> None:
        """Start listening to the bus."""
        self.loop = asyncio.get_running_loop()
        self._unsubscribe = self._bus.subscribe(self._hear)

    async def aclose(self) -> None:
        """Ask everybody to come back later."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for stand in tuple(self._stands.values()):
            for seat in stand.seats:
                seat.leave(1012, "the server is restarting")
            stand.close()

    def watching(self, session_id: str) -> int:
        """How many seats a session has taken."""
        stand = self._stands.get(session_id)
        return len(stand.seats) if stand is not None else 0

    def sit(self, session_id: str, name: str, max_hz: float | None = None) -> Seat:
        """Take a seat; it hears from now on, and holds back what it hears until `release`.

        Raises:
            TooMany: the session or the server is full.
        """
        stand = self._stands.get(session_id)
        if stand is not None and len(stand.seats) >= self._per_session:
            raise TooMany(
                f"session {session_id} has {self._per_session} spectators, which is the limit",
                code="session_full",
                retry_after_seconds=10,
            )
        if self.connections >= self._total:
            raise TooMany(
                f"the server has {self._total} spectators, which is the limit",
                code="server_full",
                retry_after_seconds=10,
            )
        if stand is None:
            stand = self._stands[session_id] = Stand(self, session_id)
        seat = Seat(stand, name, self.queue_bytes)
        stand.add(seat, self.max_hz if max_hz is None else max_hz)
        self.connections += 1
        stand.announce()
        return seat

    def rise(self, seat: Seat) -> None:
        """Leave a seat."""
        stand = seat.stand
        stand.remove(seat)
        self.connections -= 1
        if stand.groups:
            stand.announce()
        else:
            stand.close()
            if self._stands.get(stand.session_id) is stand:
                del self._stands[stand.session_id]

    def set_rate(self, seat: Seat, max_hz: float) -> None:
        """Let a seat hear more or less often."""
        seat.stand.remove(seat)
        seat.stand.add(seat, max_hz)

    async def catch_up(self, seat: Seat, since: int, last_seq: int) -> bool:
        """Send what was stored after `since`, then go on live; True when nothing is missing.

        Live messages are held back meanwhile. Too long a past is left out (False): its watcher
        reads the curves afresh.

        Args:
            last_seq: the session's newest seq when the seat was taken or later.
        """
        whole = since <= last_seq and last_seq - since <= self._history
        at = since if whole else last_seq
        if whole:
            while rows := await self._replay(seat.stand.session_id, at, REPLAY_PAGE):
                if at == since and rows[0][0] != since + 1:
                    whole = False
                for seq, kind, moment, data in rows:
                    if kind in seat.types:
                        await self._room(seat)
                        seat.push(envelope(kind, seat.stand.session_id, seq, moment, data))
                at = rows[-1][0]
                if seat.closing.done():
                    break
        seat.last_seq = at
        return whole

    async def _room(self, seat: Seat) -> None:
        """A replay is longer than an outbox: wait for the spectator to read, within bounds."""
        until = self.clock.monotonic() + 10.0
        while seat.outbox.bytes > self.queue_bytes // 2 and not seat.closing.done():
            if self.clock.monotonic() > until:
                seat.leave(4508, "too slow")
            await self.clock.sleep(0.005)

    def _hear(self, news: News) -> None:
        if isinstance(news, Committed):
            if (stand := self._stands.get(news.session_id)) is not None:
                stand.hear(news)
        elif isinstance(news, Deleted):
            if (stand := self._stands.get(news.session_id)) is not None:
                for seat in stand.seats:
                    seat.leave(4410, "the session was deleted")
        elif isinstance(news, Changed):
            pass  # What changed is also told by an event in the log.


def types_of(names: Any) -> set[str] | None:
    """The message types a client named; None when it named something else."""
    if not isinstance(names, list) or not names:
        return None
    return set(names) if all(isinstance(n, str) and n in MESSAGE_TYPES for n in names) else None


RECORDED = frozenset(RECORD_TYPES)
