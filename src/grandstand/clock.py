"""Time, in one place: what "now" is and how to wait.

Nothing else in the package calls `datetime.now`, `time.time` or `sleep`, so a test can hold the
clock (`ManualClock`) and say "fifteen seconds later" instead of sleeping.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the package knows of time."""

    def now(self) -> datetime:
        """The present, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never go backwards, for measuring spans."""

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass without holding the event loop."""

    def wait(self, seconds: float) -> None:
        """Let `seconds` pass, holding the calling thread."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class ManualClock:
    """A clock that moves when told to; sleepers wake in order of their due time.

    Args:
        start: first value of `now()`; aware.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), woken))
        await woken

    def wait(self, seconds: float) -> None:
        self._elapsed += max(seconds, 0.0)

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, waking every sleeper whose time has come, in order."""
        until = self._elapsed + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, woken = heapq.heappop(self._sleepers)
            self._elapsed = due
            if not woken.done():
                woken.set_result(None)
            await asyncio.sleep(0)
        self._elapsed = until
        await asyncio.sleep(0)
