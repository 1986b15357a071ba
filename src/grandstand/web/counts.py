"""Counts behind the limits: in this process, and where there are several servers in Redis, too.

What this server saw it always counts itself, so a Redis that is away, or comes back without its
memory, opens no door wider than one server's limit at each of them.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, MovingWindowSupport, Storage
from limits.aio.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter

from grandstand.clock import Clock

if TYPE_CHECKING:
    from redis.asyncio import BlockingConnectionPool

logger = logging.getLogger("grandstand.limits")

REPLY_SECONDS = 1.0
"""What a request waits for Redis at most; past it this server counts for itself."""
AGAIN_SECONDS = 1.0
"""A Redis that is away is asked so often, not by every request."""
CONNECTIONS = 16


class Counts:
    """How often something happened of late.

    Args:
        url: of the Redis; None where this server is the only one.
        name: what its keys begin with.
    """

    def __init__(self, clock: Clock, *, url: str | None, name: str) -> None:
        self._clock = clock
        self._here = _limiters(MemoryStorage())
        self._pool: BlockingConnectionPool | None = None
        self._away: tuple[type[BaseException], ...] = ()
        self._ask_again: float | None = None
        """When Redis, which is away, is asked again."""
        if url is not None:
            self._shared = self._in_redis(url, name)

    async def hit(
        self, item: RateLimitItem, *key: str, cost: int = 1, moving: bool = False
    ) -> float | None:
        """Count, unless that is too much.

        Args:
            moving: over the time before now, not over whole minutes, say.

        Returns:
            None where it was counted; else until when it is too much, in seconds since 1970.
        """
        return await self._ask(
            moving, item, key, lambda limiter: limiter.hit(item, *key, cost=cost)
        )

    async def test(self, item: RateLimitItem, *key: str, moving: bool = False) -> float | None:
        """What `hit` would answer, without counting."""
        return await self._ask(moving, item, key, lambda limiter: limiter.test(item, *key))

    async def aclose(self) -> None:
        """Let go of Redis."""
        if self._pool is not None:
            await self._pool.aclose()

    async def _ask(
        self,
        moving: bool,
        item: RateLimitItem,
        key: tuple[str, ...],
        asked: Callable[[RateLimiter], Awaitable[bool]],
    ) -> float | None:
        if (until := await _refused(self._here[moving], item, key, asked)) is not None:
            return until
        if self._pool is None:
            return None
        if self._ask_again is not None and self._clock.monotonic() < self._ask_again:
            return None
        try:
            until = await _refused(self._shared[moving], item, key, asked)
        except self._away as error:
            self._lost(error)
            return None
        if self._ask_again is not None:
            self._ask_again = None
            logger.info("Redis is back: limits are counted over all servers again")
        return until

    def _lost(self, error: BaseException) -> None:
        if self._ask_again is None:
            logger.warning(
                "Redis does not count for the limits (%s: %s); until it does, each server counts "
                "for itself",
                type(error).__name__,
                error,
            )
        self._ask_again = self._clock.monotonic() + AGAIN_SECONDS

    def _in_redis(self, url: str, name: str) -> dict[bool, RateLimiter]:
        from limits.aio.storage import RedisStorage
        from redis.asyncio import BlockingConnectionPool
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError

        self._away = (RedisError, OSError, TimeoutError)
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=REPLY_SECONDS,
            socket_timeout=REPLY_SECONDS,
            socket_connect_timeout=REPLY_SECONDS,
            # Once at once: a connection that Redis closed as it left is found so only by use.
            retry=Retry(NoBackoff(), 1),
        )
        return _limiters(
            RedisStorage(
                "async+redis://",  # only the sort; the pool knows where
                implementation="redispy",
                key_prefix=f"{name}:limits",
                connection_pool=self._pool,  # type: ignore[arg-type]
            )
        )


def _limiters(storage: Storage) -> dict[bool, RateLimiter]:
    assert isinstance(storage, MovingWindowSupport)
    return {False: FixedWindowRateLimiter(storage), True: MovingWindowRateLimiter(storage)}


async def _refused(
    limiter: RateLimiter,
    item: RateLimitItem,
    key: tuple[str, ...],
    asked: Callable[[RateLimiter], Awaitable[bool]],
) -> float | None:
    if await asked(limiter):
        return None
    return (await limiter.get_window_stats(item, *key)).reset_time
