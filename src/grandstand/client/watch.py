"""Watching a session: every record once and in order, over as many connections as it takes.

`Feed` knows what the spectators' socket says and decides what to do when it closes; it touches no
network. `watching` and `watching_async` hold the socket (see docs/wire.md, "Watch").
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
from collections.abc import AsyncGenerator, Generator, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import quote, urlencode

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from grandstand.client.handshake import NOT_OURS, USER_AGENT
from grandstand.client.transport import unreachable
from grandstand.clock import Clock, SystemClock
from grandstand.errors import GrandstandError, Unavailable, ValidationFailed, tree
from grandstand.model.session import ENDED
from grandstand.model.telemetry import CONNECTION, DECISION, MESSAGE_TYPES, RECORD_MESSAGES, STATUS

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncConnection
    from websockets.sync.client import ClientConnection as SyncConnection

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncConnection
    from websockets.sync.client import ClientConnection as SyncConnection

log = logging.getLogger("grandstand.client")

COMES_BACK: Final = frozenset({1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 4429, 4508})
"""Close codes after which to connect again: those of docs/wire.md, and what proxies close with."""
WAIT_SECONDS: Final = (0.5, 15.0)
"""Before the first attempt to come back, and the longest before a later one."""
OPEN_SECONDS: Final = 10.0
RENEW_AGAIN_SECONDS: Final = 5.0
"""After an attempt to renew a token that nobody answered."""
LOST: Final = frozenset({4401, 4403})
"""Close codes after which a lease may have another token to come back with."""
CLOSE_SECONDS: Final = 2.0
MAX_HZ: Final = 1000.0
_NOT_FINITE: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_MARKS: Final = ('"NaN"', 'Infinity"')
_SECONDS: Final = re.compile(r"\d+(\.\d+)?")


class Event(msgspec.Struct, frozen=True):
    """Something that happened in a session.

    Attributes:
        seq: its place in the session, from 1; None for what is not a record.
        type: "training_metrics", "bot_decision", "graph_update" or "training_status"; or
            "connection_status" for news of the connection.
        at: when, aware, in UTC.
        data: what was reported. NaN and the infinities of metrics are floats.
    """

    seq: int | None
    type: str
    at: datetime
    data: dict[str, Any]


class _Envelope(msgspec.Struct):
    type: str
    seq: int | None
    timestamp: datetime
    data: dict[str, Any]


class Lease(Protocol):
    """A token that ends, and is to be renewed before it does."""

    @property
    def token(self) -> str:
        """The token as it is now."""

    def due_seconds(self) -> float:
        """Seconds until it should be renewed; less than nothing when that is overdue."""

    def renew(self) -> str:
        """The next token; waits for the server.

        Raises:
            GrandstandError: there is none.
        """


class Post(NamedTuple):
    """Where spectators' sockets are: the server's URL, and the token it asks for, for as long as
    it holds or, with a lease, for longer."""

    url: str
    token: str | None
    lease: Lease | None = None


_decode = msgspec.json.Decoder(_Envelope).decode


class Feed:
    """What a spectator knows of one session.

    Args:
        session_id: whose.
        since: the newest seq that is known already; None to begin with what comes next.
        types: the message types to give out; None for all records, and word of a gap.
        max_hz: metrics (and decisions) a second at most; 0 for every one.
        decisions: whether to give decisions out.
        follow: go on when the session has ended, for it may be resumed.

    Raises:
        ValidationFailed: a type nobody knows, a rate or seq out of bounds.
    """

    def __init__(
        self,
        session_id: str,
        *,
        since: int | None = None,
        types: Iterable[str] | None = None,
        max_hz: float = 0.0,
        decisions: bool = True,
        follow: bool = False,
    ) -> None:
        wanted = set(RECORD_MESSAGES) if types is None else set(types)
        if unknown := sorted(wanted - set(MESSAGE_TYPES)):
            raise ValidationFailed(
                f"types: there is no message type {unknown[0]!r}",
                detail=f"Ask for some of: {', '.join(MESSAGE_TYPES)}.",
                details={"field": "types", "allowed": list(MESSAGE_TYPES)},
            )
        if since is not None and since < 0:
            raise ValidationFailed(f"since: a seq is 0 or more, not {since}")
        if not 0 <= max_hz <= MAX_HZ:
            raise ValidationFailed(f"max_hz: must be from 0 to {MAX_HZ:g}, not {max_hz!r}")
        self.session_id = session_id
        self.reached = since
        """The newest seq that was heard; None before the first connection."""
        self._wanted = wanted - (set() if decisions else {DECISION})
        self._tell_gaps = types is None or CONNECTION in wanted
        self._max_hz = max_hz
        self._follow = follow
        self._status = ""
        self._newest = 0
        self._catching_up = False
        self._greeted = False
        self._attempt = 0

    def path(self) -> str:
        """Path and query of the next connection."""
        asked: dict[str, Any] = {"max_hz": f"{self._max_hz:g}"}
        self._catching_up = self.reached is not None
        if self.reached is not None:
            asked["since"] = self.reached
        return f"/ws/{quote(self.session_id, safe='')}?{urlencode(asked)}"

    @property
    def over(self) -> bool:
        """Whether the session has ended and everything of it was heard."""
        caught_up = not self._catching_up and (self.reached or 0) >= self._newest
        return caught_up and self._status in ENDED and not self._follow

    def hear(self, message: str | bytes) -> Event | None:
        """Take in a message; the event to give out, if it is one that was asked for."""
        if isinstance(message, bytes):
            return None  # a frame of the agent at play; nobody here subscribes to them
        told = _decode(message)
        data = told.data
        if told.seq is None:
            given = self._notice(told)
        else:
            if self.reached is not None and told.seq <= self.reached:
                return None
            if told.type == STATUS and data.get("event") == "status" and told.seq > self._newest:
                self._status = str(data.get("status"))
            self.reached = told.seq
            self._newest = max(self._newest, told.seq)
            given = told.type in self._wanted
        if not given:
            return None
        if told.type not in (STATUS, CONNECTION) and any(mark in message for mark in _MARKS):
            data = floats(data)
        return Event(told.seq, told.type, told.timestamp, data)

    def _notice(self, told: _Envelope) -> bool:
        """Learn from what is not a record; whether to give it out."""
        data = told.data
        last = data.get("last_seq")
        if data.get("event") == "snapshot":
            self._greeted, self._attempt = True, 0
            self._status = str((data.get("session") or {}).get("status"))
            self._newest = int(last or 0)
            if self.reached is None:
                self.reached = last
        elif data.get("event") == "recovered" and told.type == CONNECTION:
            self._catching_up = False
            if not data.get("recovered"):
                self.reached = last
                log.warning(
                    "session %s: records after %s cannot be sent again; it goes on after %s",
                    self.session_id,
                    data.get("since"),
                    last,
                )
                return self._tell_gaps
        return CONNECTION in self._wanted

    def closed(self, code: int, reason: str) -> float:
        """A connection was closed.

        Returns:
            Seconds to wait before the next.

        Raises:
            GrandstandError: it is not to come back; the class that goes with the code.
        """
        if code not in COMES_BACK:
            kind = next((e for e in tree() if e.close_code == code), GrandstandError)
            raise kind(
                reason or f"the server closed the connection of session {self.session_id} ({code})",
                details={"close_code": code},
            )
        at_least = _SECONDS.search(reason) if code == 4429 else None
        log.info("session %s: connection closed (%s %s)", self.session_id, code, reason)
        return (float(at_least[0]) if at_least else 0.0) + self._pause()

    def unreached(self, url: str, error: Exception) -> float:
        """No connection came about.

        Returns:
            Seconds to wait before the next attempt.

        Raises:
            Unavailable: and there never was one, so the address may be wrong.
        """
        passing = not isinstance(error, InvalidStatus) or error.response.status_code >= 500
        if not self._greeted or not passing:
            if isinstance(error, InvalidStatus):
                raise Unavailable(
                    f"{url} answers {error.response.status_code} where the socket should be",
                    code=NOT_OURS,
                    detail="Check the address, and whether a proxy lets WebSockets through.",
                ) from error
            raise unreachable(url, str(error) or type(error).__name__) from error
        log.info("session %s: no connection (%s)", self.session_id, error)
        return self._pause()

    def renewed(self) -> float:
        """A connection was closed because its token had ended, and there is another.

        Returns:
            Seconds to wait before the next connection.
        """
        return self._pause()

    def _pause(self) -> float:
        whole = min(WAIT_SECONDS[0] * 2.0**self._attempt, WAIT_SECONDS[1])
        self._attempt = min(self._attempt + 1, 16)
        return whole * random.uniform(0.5, 1.0)  # noqa: S311  a thousand do not return at once


def floats(value: Any) -> Any:
    """`value` with "NaN", "Infinity" and "-Infinity" as floats, at any depth."""
    if isinstance(value, str):
        return _NOT_FINITE.get(value, value)
    if isinstance(value, dict):
        return {name: floats(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [floats(inner) for inner in value]
    return value


def watching(post: Post, feed: Feed, clock: Clock | None = None) -> Generator[Event, None, None]:
    """The events of `feed`, until its session is over; closing the generator closes the socket.

    Raises:
        Unavailable: no server answers at the first attempt.
        NotFound, Gone, Unauthenticated, Forbidden: what the server closed the connection with.
    """
    from websockets.sync.client import connect

    clock = clock or SystemClock()
    while not feed.over:
        with contextlib.ExitStack() as leaving:
            try:
                if (lease := post.lease) is not None and lease.due_seconds() <= 0:
                    lease.renew()
                socket = leaving.enter_context(connect(_address(post, feed), **_options(post)))
            except (OSError, InvalidHandshake, EOFError, Unavailable) as error:
                wait = feed.unreached(post.url, error)
            else:
                try:
                    while not feed.over:
                        event = feed.hear(_heard(socket, lease))
                        if event is not None:
                            yield event
                except ConnectionClosed as closed:
                    code, reason = _why(closed)
                    if lease is not None and code in LOST:
                        lease.renew()
                        wait = feed.renewed()
                    else:
                        wait = feed.closed(code, reason)
                else:
                    return
        clock.wait(wait)


def _heard(socket: SyncConnection, lease: Lease | None) -> str | bytes:
    """The next message; a token that is due is renewed while waiting for it."""
    if lease is None:
        return socket.recv()
    while True:
        left = lease.due_seconds()
        if left <= 0:
            try:
                socket.send(_authorize(lease.renew()))
                left = lease.due_seconds()
            except Unavailable:
                left = RENEW_AGAIN_SECONDS
        with contextlib.suppress(TimeoutError):
            return socket.recv(timeout=max(left, 0.0))


async def watching_async(
    post: Post, feed: Feed, clock: Clock | None = None
) -> AsyncGenerator[Event, None]:
    """See `watching`."""
    from websockets.asyncio.client import connect

    clock = clock or SystemClock()
    while not feed.over:
        try:
            if (lease := post.lease) is not None and lease.due_seconds() <= 0:
                await asyncio.to_thread(lease.renew)
            socket = await connect(_address(post, feed), **_options(post))
        except (OSError, InvalidHandshake, EOFError, Unavailable) as error:
            await clock.sleep(feed.unreached(post.url, error))
            continue
        try:
            while not feed.over:
                event = feed.hear(await _heard_async(socket, lease))
                if event is not None:
                    yield event
        except ConnectionClosed as closed:
            code, reason = _why(closed)
            if lease is not None and code in LOST:
                await asyncio.to_thread(lease.renew)
                wait = feed.renewed()
            else:
                wait = feed.closed(code, reason)
        else:
            return
        finally:
            await socket.close()
        await clock.sleep(wait)


async def _heard_async(socket: AsyncConnection, lease: Lease | None) -> str | bytes:
    """See `_heard`."""
    if lease is None:
        return await socket.recv()
    while True:
        left = lease.due_seconds()
        if left <= 0:
            try:
                await socket.send(_authorize(await asyncio.to_thread(lease.renew)))
                left = lease.due_seconds()
            except Unavailable:
                left = RENEW_AGAIN_SECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(left, 0.0)):
                return await socket.recv()


def _authorize(token: str) -> str:
    return msgspec.json.encode({"type": "authorize", "token": token}).decode()


def _address(post: Post, feed: Feed) -> str:
    return post.url.replace("http", "ws", 1) + feed.path()


def _options(post: Post) -> dict[str, Any]:
    token = post.lease.token if post.lease is not None else post.token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return {
        "additional_headers": headers,
        "user_agent_header": USER_AGENT,
        "compression": None,
        "max_size": None,
        "open_timeout": OPEN_SECONDS,
        "close_timeout": CLOSE_SECONDS,
        "proxy": None,  # as for requests
    }


def _why(closed: ConnectionClosed) -> tuple[int, str]:
    """What the server closed with; 1006 where it said nothing."""
    return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
