"""A session in memory: commits go to the bus and to a log that can be replayed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from grandstand.bus.base import Committed
from grandstand.bus.memory import MemoryBus
from grandstand.clock import ManualClock
from grandstand.live.dialects import ENVELOPES, Dialect
from grandstand.live.frames import Binary, Parcel
from grandstand.live.hub import ALL_TYPES, Hub
from grandstand.live.outbox import ROOM_BYTES, SOFT_BYTES
from grandstand.live.seat import Seat
from grandstand.live.stand import ReplayRow
from grandstand.model.telemetry import Record, parse_batch

ID = "run"


class Reader:
    """An outbox in memory whose reader can stop reading."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.parcels = 0
        self.reads = True
        self.closed = False
        self.code: tuple[int, str] | None = None
        self.shown: list[bytes] = []
        self._unread: list[Parcel] = []
        self._room = asyncio.Event()

    def put(self, parcel: Parcel, limit: int = SOFT_BYTES) -> bool:
        if self.closed or self.waiting() > limit:
            return False
        self._unread.append(parcel)
        self.parcels += bool(parcel.texts)
        if self.reads:
            self.read()
        return True

    def show(self, binary: Binary) -> bool:
        if self.closed or self.waiting() > ROOM_BYTES:
            return False
        self.shown.append(binary.payload)
        return True

    def waiting(self) -> int:
        return sum(p.size for p in self._unread)

    async def drained(self) -> None:
        while self.waiting() > SOFT_BYTES // 4 and not self.closed:
            self._room.clear()
            await self._room.wait()

    def close(self, code: int, reason: str) -> None:
        if not self.closed:
            self.closed, self.code = True, (code, reason)
            self._room.set()

    def read(self, parcels: int | None = None) -> None:
        """Read what waits: all, or so many parcels."""
        taken, self._unread = self._unread[:parcels], self._unread[parcels or len(self._unread) :]
        self.messages += [json.loads(text) for parcel in taken for text in parcel.texts]
        self._room.set()

    @property
    def seqs(self) -> list[int]:
        return [m["seq"] for m in self.messages if m["seq"] is not None]


def covered(messages: list[dict[str, Any]], after: int, until: int) -> None:
    """Hold that the messages tell of every seq once, in order: sent, or said to be skipped."""
    at = after
    for message in messages:
        if message["seq"] is None:
            continue
        first = message["data"].get("skipped_from", message["seq"])
        assert first == at + 1, f"{message['seq']} says {first}, after {at}"
        if first < message["seq"]:
            assert message["data"]["skipped_to"] == message["seq"] - 1
        at = message["seq"]
    assert at == until


class World:
    """A hub over a session in memory."""

    def __init__(self, **hub: Any) -> None:
        self.clock = ManualClock()
        self.bus = MemoryBus()
        self.rows: list[ReplayRow] = []
        self.last_seq = 0
        self.reads = 0
        self.during_read: Callable[[], None] | None = None
        self.hub = Hub(self.bus, self._replay, self.clock, **hub)

    def commit(self, *records: dict[str, Any], publish: bool = True) -> Committed:
        """Store records as one batch, and tell the bus of them."""
        body = json.dumps({"records": records}).encode()
        batch = parse_batch(body)
        first = self.last_seq + 1
        for record in batch.records:
            for row in range(record.count):
                self.last_seq += 1
                at = record.timestamp(row, self.clock.now())
                self.rows.append((self.last_seq, record.type, at, record.data(row)))
        stored: tuple[Record, ...] = tuple(batch.records)
        news = Committed(1, ID, first, self.last_seq, stored, self.clock.now())
        if publish:
            self.bus.publish(news)
        return news

    def sit(
        self,
        reader: Reader | None = None,
        *,
        position: int | None = None,
        dialect: Dialect = ENVELOPES,
        types: frozenset[str] = ALL_TYPES,
        max_hz: float | None = None,
        name: str = "",
    ) -> tuple[Seat, Reader]:
        reader = reader or Reader()
        seat = self.hub.sit(ID, reader, name=name, dialect=dialect, types=types, max_hz=max_hz)
        seat.stand.reached(self.last_seq)
        seat.stand.join(seat, self.last_seq if position is None else position)
        return seat, reader

    async def _replay(self, session_id: str, since: int, limit: int) -> list[ReplayRow]:
        assert session_id == ID
        self.reads += 1
        rows = [row for row in self.rows if row[0] > since][:limit]
        await asyncio.sleep(0)
        if self.during_read is not None:
            self.during_read()
        await asyncio.sleep(0)
        return rows


def metrics(episode: int, **more: Any) -> dict[str, Any]:
    return {"type": "training_metrics", "data": {"episode": episode, **more}}


def episodes(first: int, last: int) -> dict[str, Any]:
    """A columnar record of episodes `first` to `last`."""
    column = list(range(first, last + 1))
    columns = {"episode": column, "current_reward": [float(e) for e in column]}
    return {"type": "training_metrics", "columns": columns}


def decision(step: int) -> dict[str, Any]:
    return {"type": "bot_decision", "data": {"step": step, "confidence_score": 0.5}}


def graph(graph_id: str = "g") -> dict[str, Any]:
    return {"type": "graph_update", "data": {"graph_id": graph_id}}


def status(event: str, **more: Any) -> dict[str, Any]:
    return {"type": "training_status", "data": {"event": event, **more}}


async def settle(until: Callable[[], bool] | None = None) -> None:
    """Let everything that can run do so; bounded."""
    for turn in range(1000):
        if until is not None and until():
            return
        if until is None and turn == 30:
            return
        await asyncio.sleep(0)
    if until is not None:
        # Timers of a few milliseconds are real ones.
        async with asyncio.timeout(5):
            while not until():  # noqa: ASYNC110 - the condition is a plain value
                await asyncio.sleep(0.001)


MakeWorld = Callable[..., Any]


@pytest.fixture
async def make_world() -> AsyncIterator[MakeWorld]:
    worlds: list[World] = []

    async def make(**hub: Any) -> World:
        world = World(**hub)
        worlds.append(world)
        await world.hub.open()
        return world

    yield make
    for world in worlds:
        closing = asyncio.create_task(world.hub.aclose())
        while not closing.done():
            await world.clock.advance(0.5)
        await closing


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    made: World = await make_world()
    return made
