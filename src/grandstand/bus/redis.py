"""The bus between instances: one script appends to a Redis stream and publishes.

Subscribers hear by Pub/Sub, which is quick and forgets; after a broken connection they read in the
stream what they missed, and where that is gone too they are told so (`Missed`) and look in the
store. Redis may be lost at any time: nothing waits for it, and nothing rests on it alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from grandstand.bus import words
from grandstand.bus.base import Listener, Listeners, Missed, News, Present, Shown
from grandstand.clock import Clock
from grandstand.model.session import new_id

logger = logging.getLogger("grandstand.bus")

STREAM = "news"
FLEETING = "fleeting"
"""What is out of date before anybody could read it later: frames, presence."""
KEPT = 1000
"""Bundles in the stream, roughly; none is larger than about 128 KiB."""
BUNDLE_BYTES = 64 * 1024
WAITING_BYTES = 16 << 20
"""What may wait for Redis; past it all is dropped, and the others look in the store."""
GATHER_SECONDS = 0.01
"""Bundles that are not nearly full are so far apart."""
REPLY_SECONDS = 5.0
QUIET_SECONDS = 5.0
"""A subscription that is quiet for so long is asked whether it lives."""
PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0)
GOODBYE_SECONDS = 1.0
PAGE = 100

PUBLISH = """
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'b', ARGV[2])
redis.call('PUBLISH', KEYS[1], id .. ' ' .. ARGV[2])
return id
"""

AWAY = (RedisError, OSError, TimeoutError)
Id = tuple[int, int]


class RedisBus:
    """News between instances through one Redis.

    Args:
        url: of the Redis.
        name: what its keys and channels begin with; servers of different databases that share a
            Redis must differ in it.
    """

    alone = False

    def __init__(self, url: str, clock: Clock, *, name: str = "grandstand") -> None:
        self.instance = new_id()
        self._clock = clock
        self._stream = f"{name}:{STREAM}"
        self._fleeting = f"{name}:{FLEETING}"
        self._listeners = Listeners()
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=REPLY_SECONDS, socket_connect_timeout=REPLY_SECONDS
        )
        self._waiting: deque[tuple[bool, bytes]] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._sent = asyncio.Event()
        self._sent.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._last: Id | None = None
        self.connected = asyncio.Event()
        """Set while others are heard."""
        self._away_told = False

    async def open(self) -> None:
        self._tasks = [
            asyncio.create_task(self._send_forever()),
            asyncio.create_task(self._hear_forever()),
        ]

    def publish(self, news: News) -> None:
        self._listeners.tell(news, own=True)
        fleeting = isinstance(news, Shown | Present)
        if fleeting and not self.connected.is_set():
            return
        try:
            word = words.encode(news)
        except Exception:
            # It is committed: that others are told later, from the store, must not fail it.
            logger.exception("news could not be told to other instances")
            word, fleeting = words.encode(Missed()), False
        self._waiting_bytes += len(word)
        if self._waiting_bytes > WAITING_BYTES:
            self._waiting.clear()
            word, fleeting = words.encode(Missed()), False
            self._waiting_bytes = len(word)
        self._waiting.append((fleeting, word))
        self._sent.clear()
        self._wake.set()

    def subscribe(self, listener: Listener, *, own: bool = False) -> Callable[[], None]:
        return self._listeners.add(listener, own)

    def hear(self, news: News) -> None:
        self._listeners.tell(news, own=False)

    async def sent(self) -> None:
        """Return when all that was published is with Redis."""
        await self._sent.wait()

    async def aclose(self) -> None:
        if self.connected.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self.sent()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listeners.clear()
        with contextlib.suppress(*AWAY):
            await self._redis.aclose()

    # Telling.

    async def _send_forever(self) -> None:
        publish = self._redis.register_script(PUBLISH)
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                begun = self._clock.monotonic()
                taken = self._take()
                body = words.bundle(self.instance, [word for _, word in taken])
                try:
                    if taken[0][0]:
                        await self._redis.publish(self._fleeting, body)
                    else:
                        await publish(keys=[self._stream], args=[KEPT, body])
                    failures = 0
                except AWAY as error:
                    # Told twice does no harm (the reply may be what was lost); never told would.
                    self._waiting.extendleft(reversed([t for t in taken if not t[0]]))
                    self._waiting_bytes += sum(len(word) for kept, word in taken if not kept)
                    self._lost(error)
                    await self._clock.sleep(_pause(failures))
                    failures += 1
                    continue
                if not self._waiting:
                    self._sent.set()
                # A round trip is dear and nearly the same for one record as for a hundred, so when
                # there is much to tell it goes together; what comes alone has gone at once.
                left = GATHER_SECONDS - (self._clock.monotonic() - begun)
                if left > 0 and sum(len(word) for _, word in taken) < BUNDLE_BYTES // 2:
                    await self._clock.sleep(left)
            self._sent.set()

    def _take(self) -> list[tuple[bool, bytes]]:
        """The next that go together: of one sort, and not too much."""
        taken = [self._waiting.popleft()]
        size = len(taken[0][1])
        while (
            self._waiting
            and self._waiting[0][0] is taken[0][0]
            and size + len(self._waiting[0][1]) <= BUNDLE_BYTES
        ):
            taken.append(self._waiting.popleft())
            size += len(taken[-1][1])
        self._waiting_bytes -= size
        return taken

    # Hearing.

    async def _hear_forever(self) -> None:
        failures = 0
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(self._stream, self._fleeting)
                    await self._begun(pubsub)
                    await self._recover()
                    failures = 0
                    self._back()
                    await self._listen(pubsub)
            except AWAY as error:
                self._lost(error)
            except Exception:
                logger.exception("hearing other instances failed; trying again")
            self.connected.clear()
            await self._clock.sleep(_pause(failures))
            failures += 1

    async def _begun(self, pubsub: PubSub) -> None:
        """Wait until both subscriptions hold: from then on nothing passes unheard."""
        begun = 0
        async with asyncio.timeout(REPLY_SECONDS):
            while begun < 2:
                message = await pubsub.get_message(timeout=REPLY_SECONDS)
                if message is not None and message["type"] == "subscribe":
                    begun += 1

    async def _recover(self) -> None:
        """Hear from the stream what came since the last that was heard."""
        if self._last is None:
            self._last = await self._newest()
            return
        frm = b"%d-%d" % self._last
        page = await self._page(frm)
        if not page or page[0][0] != self._last:
            # Trimmed meanwhile, or it is another stream: Redis came back without its memory.
            self._last = await self._newest()
            self._listeners.tell(Missed(), own=False)
            return
        while page:
            for name, body in page:
                self._heard(name, body)
            if len(page) < PAGE:
                return
            page = await self._page(b"(%d-%d" % self._last)

    async def _page(self, frm: bytes) -> list[tuple[Id, bytes]]:
        page: Any = await self._redis.xrange(self._stream, frm, "+", count=PAGE)
        return [(_id(name), fields[b"b"]) for name, fields in page]

    async def _newest(self) -> Id:
        newest: Any = await self._redis.xrevrange(self._stream, count=1)
        return _id(newest[0][0]) if newest else (0, 0)

    async def _listen(self, pubsub: PubSub) -> None:
        quiet = False
        while True:
            message = await pubsub.get_message(timeout=QUIET_SECONDS)
            if message is None:
                if quiet:
                    raise TimeoutError("it does not answer")
                await pubsub.ping()
                quiet = True
                continue
            quiet = False
            if message["type"] != "message":
                continue
            if message["channel"] == self._fleeting.encode():
                self._tell(message["data"])
            else:
                name, _, body = message["data"].partition(b" ")
                self._heard(_id(name), body)

    def _heard(self, name: Id, body: bytes) -> None:
        assert self._last is not None
        if name > self._last:
            self._last = name
            self._tell(body)

    def _tell(self, body: bytes) -> None:
        try:
            told = words.unbundle(body)
            if told.origin == self.instance:
                return
            news = [words.decode(word) for word in told.words]
        except msgspec.DecodeError as error:
            # Of another version, during an update, say. What it tells is in the store.
            logger.warning("news of another instance are not understood (%s)", error)
            news = [Missed()]
        for one in news:
            self._listeners.tell(one, own=False)

    # What is said of it.

    def _lost(self, error: BaseException) -> None:
        if not self._away_told:
            self._away_told = True
            logger.warning(
                "Redis is away (%s): spectators at other instances are served from the database "
                "until it is back",
                str(error) or type(error).__name__,
            )

    def _back(self) -> None:
        self.connected.set()
        self._wake.set()
        if self._away_told:
            self._away_told = False
            logger.warning("Redis is back; what was missed meanwhile is made up for")


def _pause(failures: int) -> float:
    return PAUSES_SECONDS[min(failures, len(PAUSES_SECONDS) - 1)]


def _id(name: bytes) -> Id:
    milliseconds, _, count = name.partition(b"-")
    return int(milliseconds), int(count)
