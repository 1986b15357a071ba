"""Between instances: order, what is missed while away, what happens without Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from grandstand.bus.base import (
    Changed,
    Committed,
    Deleted,
    Missed,
    News,
    Present,
    Rights,
    Shown,
)
from grandstand.bus.redis import KEPT, WAITING_BYTES, RedisBus
from grandstand.clock import SystemClock
from grandstand.model.frames import Frame
from grandstand.model.session import Kind, Session, Status, Wanted, new_id
from grandstand.model.telemetry import parse_batch, parse_record

from .conftest import BOUND_SECONDS, Ear
from .test_bus import AT, committed


class Pair:
    """Two instances on one Redis, and what the second one heard."""

    def __init__(self, url: str) -> None:
        name = f"test-{new_id()}"
        self.one = RedisBus(url, SystemClock(), name=name)
        self.other = RedisBus(url, SystemClock(), name=name)
        self.ear, self.own = Ear(), Ear()
        self.other.subscribe(self.ear)
        self.other.subscribe(self.own, own=True)

    async def connected(self) -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            await self.one.connected.wait()
            await self.other.connected.wait()

    async def cut(self, server: Any) -> None:
        """Stop the server, and wait until both noticed."""
        server.stop()
        async with asyncio.timeout(BOUND_SECONDS):
            while self.one.connected.is_set() or self.other.connected.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def _open(url: str) -> AsyncIterator[Pair]:
    pair = Pair(url)
    await pair.one.open()
    await pair.other.open()
    await pair.connected()
    yield pair
    await pair.one.aclose()
    await pair.other.aclose()


@pytest.fixture
async def pair(redis: Any) -> AsyncIterator[Pair]:
    async for made in _open(redis.url):
        yield made


@pytest.fixture
async def own_pair(own_redis: Any) -> AsyncIterator[Pair]:
    async for made in _open(own_redis.url):
        yield made


def seqs(heard: list[News]) -> list[int]:
    return [news.first_seq for news in heard if isinstance(news, Committed)]


async def test_others_hear_everything_in_order_and_only_others(pair: Pair) -> None:
    back = Ear()
    pair.one.subscribe(back)
    for seq in range(1, 501):
        pair.one.publish(committed(seq))
    pair.one.publish(Deleted("run"))
    heard = await pair.ear.until(lambda h: Deleted("run") in h)
    assert seqs(heard) == list(range(1, 501))
    assert len(heard) == len(back.heard) == 501  # its own it heard once, at once
    assert pair.own.heard == []
    record = heard[6].records[0]  # type: ignore[union-attr]
    assert (record.body, record.value.episode) == (b'{"episode": 7}', 7)


async def test_every_kind_of_news_arrives_as_it_was(pair: Pair) -> None:
    session = Session(
        session_id="run",
        training_session_id="run/1",
        kind=Kind.EXTERNAL,
        name="ü",
        algorithm="DQN",
        status=Status.PAUSING,
        wanted=Wanted.PAUSED,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        config={"inf": "Infinity", "deep": [{"a": None}]},
    )
    told: list[News] = [
        Changed(session),
        Shown("run", Frame(b"\xff\xd8", "image/jpeg", 1, None, 0.5, AT)),
        Present("here", "run", {"Ada": 2}, {"seat": "Bo"}),
        Rights(),
        Missed(),
        Deleted("run"),
    ]
    for news in told:
        pair.one.publish(news)
    heard = await pair.ear.until(lambda h: len(h) == len(told))
    assert sorted(map(repr, heard)) == sorted(map(repr, told))


async def test_columns_and_keys_arrive_as_they_were(pair: Pair) -> None:
    body = b"""{"records": [
        {"type": "training_metrics", "columns": {"episode": [1, 2], "loss_value": ["NaN", 1]}},
        {"type": "training_status", "data": {"event": "note", "x": 1}, "key": "k"},
        {"type": "text", "data": {"name": "t", "text": "words"}}]}"""
    records = parse_batch(body).records
    pair.one.publish(Committed(1, "run", 1, 4, tuple(records), AT))
    (news,) = await pair.ear.until(lambda h: len(h) == 1)
    assert isinstance(news, Committed)
    got = list(news.records)
    assert [(r.type, r.count, r.key, r.body) for r in got] == [
        (r.type, r.count, r.key, r.body) for r in records
    ]
    assert list(got[0].rows()) == list(records[0].rows())


async def test_much_at_once_is_told_without_the_records(pair: Pair) -> None:
    big = parse_record("training_status", b'{"event": "e", "x": "%b"}' % (b"x" * 100_000))
    pair.one.publish(Committed(1, "run", 1, 1, tuple(big.records), AT))
    (news,) = await pair.ear.until(lambda h: len(h) == 1)
    assert news == Committed(1, "run", 1, 1, (), AT)


async def test_redis_lost_and_back(
    own_pair: Pair, own_redis: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It forgets all; what was told meanwhile still comes, and all are sent to the store."""
    own_pair.one.publish(committed(1))
    await own_pair.ear.until(lambda h: seqs(h) == [1])
    await own_pair.cut(own_redis)
    for seq in (2, 3):
        own_pair.one.publish(committed(seq))
    own_redis.start()
    await own_pair.connected()
    heard = await own_pair.ear.until(lambda h: 3 in seqs(h) or Missed() in h)
    assert Missed() in heard or seqs(heard) == [1, 2, 3]
    own_pair.one.publish(committed(4))
    heard = await own_pair.ear.until(lambda h: 4 in seqs(h))
    assert seqs(heard) == sorted(set(seqs(heard)))
    assert caplog.text.count("Redis is away") == 2
    assert caplog.text.count("Redis is back") == 2


async def test_what_came_while_not_listening_is_read_from_the_stream(
    pair: Pair, redis: Any
) -> None:
    pair.one.publish(committed(1))
    await pair.ear.until(lambda h: seqs(h) == [1])
    await _deaf(pair.other)
    for seq in range(2, 300):
        pair.one.publish(committed(seq))
        if seq % 50 == 0:
            await pair.one._sent.wait()
    await pair.one._sent.wait()
    pair.other._tasks.append(asyncio.create_task(pair.other._hear_forever()))
    heard = await pair.ear.until(lambda h: 299 in seqs(h))
    assert seqs(heard) == list(range(1, 300))
    assert Missed() not in heard


async def test_what_the_stream_has_forgotten_is_in_the_store(pair: Pair) -> None:
    pair.one.publish(committed(1))
    await pair.ear.until(lambda h: seqs(h) == [1])
    await _deaf(pair.other)
    for seq in range(2, 2 * KEPT):
        pair.one.publish(committed(seq))
        await pair.one._sent.wait()
    pair.other._tasks.append(asyncio.create_task(pair.other._hear_forever()))
    await pair.ear.until(lambda h: Missed() in h)


async def test_more_than_may_wait_is_dropped_and_said_so(own_pair: Pair, own_redis: Any) -> None:
    await own_pair.cut(own_redis)
    body = b'{"event": "e", "x": "%b"}' % (b"x" * 60_000)
    records = tuple(parse_record("training_status", body).records)
    for seq in range(1, 2 + WAITING_BYTES // 60_000):
        own_pair.one.publish(Committed(1, "run", seq, seq, records, AT))
    own_redis.start()
    await own_pair.ear.until(lambda h: Missed() in h)


async def _deaf(bus: RedisBus) -> None:
    """Have an instance hear nothing for a while."""
    hearing = bus._tasks.pop()
    hearing.cancel()
    await asyncio.wait((hearing,))
