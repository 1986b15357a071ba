"""Limits: who has guessed too often, who asks for more than is good for everybody.

Guesses at passwords are counted always, the rest with `performance.enable_rate_limiting`: by
credential, else by address; guesses by address alone, so that nobody can shut somebody else out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from limits import RateLimitItem, parse_many

from grandstand.clock import Clock
from grandstand.errors import GrandstandError, TooMany
from grandstand.service.access import Grant
from grandstand.settings import Settings
from grandstand.web.addresses import network
from grandstand.web.counts import Counts

KIB = 1024
GUESSES_AT_ONCE = 40
"""What one address may have waiting, a class behind one router, say; each takes its turn, so that
none slips past the count."""


class Limits:
    """Counts, and refuses what is too much.

    Args:
        settings: `limits`, and whether they are on.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        told = settings.limits
        self.enabled = settings.performance.enable_rate_limiting
        self._requests = parse_many(told.requests)
        self._ingest = parse_many(told.ingest_kib)
        self._connections = parse_many(told.connections)
        self._guesses = parse_many(told.wrong_passwords)
        self._counts = Counts(clock, url=settings.redis.address, name=settings.redis.name)
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    async def request(self, grant: Grant, address: str) -> None:
        """Count a request.

        Raises:
            TooMany: `limits.requests` is reached.
        """
        if self.enabled:
            await self._hit(self._requests, "requests", _who(grant, address))

    async def ingest(self, grant: Grant, address: str, size: int) -> None:
        """Count what a reporter sends, in bytes.

        Raises:
            TooMany: `limits.ingest_kib` is reached.
        """
        if self.enabled:
            await self._hit(
                self._ingest, "ingest_kib", _who(grant, address), max(1, round(size / KIB))
            )

    async def connection(self, address: str) -> None:
        """Count a new socket.

        Raises:
            TooMany: `limits.connections` is reached.
        """
        if self.enabled and address:
            await self._hit(self._connections, "connections", network(address))

    @contextlib.asynccontextmanager
    async def guess(self, address: str, *wrong: str) -> AsyncIterator[None]:
        """Around the check of a password; a failure with one of the codes `wrong` counts.

        Raises:
            TooMany: there were `limits.wrong_passwords` from this address already.
        """
        who = network(address)
        lock, waiting = self._turns.get(who, (asyncio.Lock(), 0))
        if waiting >= GUESSES_AT_ONCE:
            raise _too_many("wrong_passwords", 1.0)
        self._turns[who] = lock, waiting + 1
        try:
            async with lock, self.look_up(address, *wrong):
                yield
        finally:
            lock, waiting = self._turns[who]
            if waiting > 1:
                self._turns[who] = lock, waiting - 1
            else:
                del self._turns[who]

    @contextlib.asynccontextmanager
    async def look_up(self, address: str, *wrong: str) -> AsyncIterator[None]:
        """The same around what takes no time, such as looking a room's code up: nobody waits for
        their turn, so a class may come in at once.

        Raises:
            TooMany: there were `limits.wrong_passwords` from this address already.
        """
        who = network(address)
        await self._guessed(who)
        try:
            yield
        except GrandstandError as error:
            if error.code in wrong:
                for item in self._guesses:
                    await self._counts.hit(item, "guess", who, moving=True)
            raise

    async def aclose(self) -> None:
        """Let go of Redis."""
        await self._counts.aclose()

    async def _guessed(self, who: str) -> None:
        for item in self._guesses:
            until = await self._counts.test(item, "guess", who, moving=True)
            if until is not None:
                raise self._refusal(item, "wrong_passwords", until)

    async def _hit(self, items: list[RateLimitItem], name: str, who: str, cost: int = 1) -> None:
        for item in items:
            until = await self._counts.hit(item, name, who, cost=cost)
            if until is not None:
                raise self._refusal(item, name, until)

    def _refusal(self, item: RateLimitItem, name: str, until: float) -> TooMany:
        left = until - self._clock.now().timestamp()
        # The library goes by the machine's clock, which a test's is not.
        return _too_many(name, min(max(1.0, left), item.get_expiry()), str(item))


def _who(grant: Grant, address: str) -> str:
    return grant.key_id or grant.user_id or grant.token_id or network(address)


def _too_many(name: str, seconds: float, rule: str = "") -> TooMany:
    what = "wrong passwords" if name == "wrong_passwords" else name.replace("_", " ")
    return TooMany(
        f"too many {what}" + (f": {rule}" if rule else ""),
        code="rate_limited",
        detail=f"Come back in {seconds:.0f} seconds. limits.{name} sets it.",
        details={"limit": name, "retry_after_seconds": round(seconds)},
        retry_after_seconds=seconds,
    )
