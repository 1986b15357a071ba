"""Every kind of bus, and a pair of instances on one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from grandstand.bus.base import Bus, News
from grandstand.bus.memory import MemoryBus
from grandstand.bus.redis import RedisBus
from grandstand.clock import SystemClock
from grandstand.model.session import new_id

BOUND_SECONDS = 15.0


class Ear:
    """What a listener heard, and a way to wait for it."""

    def __init__(self) -> None:
        self.heard: list[News] = []
        self._came = asyncio.Event()

    def __call__(self, news: News) -> None:
        self.heard.append(news)
        self._came.set()

    async def until(self, condition: Callable[[list[News]], bool]) -> list[News]:
        async with asyncio.timeout(BOUND_SECONDS):
            while not condition(self.heard):
                self._came.clear()
                await self._came.wait()
        return self.heard


@pytest.fixture(params=["memory", "redis"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "memory":
        made: Any = MemoryBus()
    else:
        server = request.getfixturevalue("redis")
        made = RedisBus(server.url, SystemClock(), name=f"test-{new_id()}")
    await made.open()
    yield made
    await made.aclose()
