"""Webhooks: other programs are told what becomes of sessions.

What happened is put into the database for each endpoint and offered until it is taken, so an
endpoint that is away, or a server that restarts, costs nothing; a message may come twice, under the
same id. Bodies are signed as Standard Webhooks has it (https://www.standardwebhooks.com). See
docs/webhooks.md.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from grandstand.bus.base import Bus, Committed, Deleted, News
from grandstand.clock import Clock
from grandstand.model.session import Session
from grandstand.model.telemetry import STATUS, encode
from grandstand.store import deliveries, facts
from grandstand.store import sessions as session_rows
from grandstand.store.database import Connection, Database
from grandstand.store.deliveries import Delivery

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("grandstand.webhooks")

FACT: Final = "webhook_secret"
"""Under which name the database keeps the secret."""
PREFIX: Final = "whsec_"
"""How the specification marks a secret, before its base64."""
GAME_SERVER_PATH: Final = "/webhooks/grandstand"
"""Where below `game_server_url` messages go."""
TIMEOUT_SECONDS: Final = 15.0
PAUSES_SECONDS: Final = (5, 30, 120, 600, 1800, 3600, 6 * 3600, 12 * 3600)
"""After each attempt that failed; a day in all, then the message is given up."""
AT_ONCE: Final = 100
LEASE_SECONDS = 120.0
"""What one of several instances took to send is left to it for so long."""
TOLD: Final = frozenset({"running", "paused", "stopped", "completed", "failed", "lost"})
"""Statuses that are told of; those on the way to them are not."""


def endpoints_of(webhooks: Sequence[str], game_server_url: str | None) -> list[str]:
    """All addresses that are told, each once."""
    game = [game_server_url.rstrip("/") + GAME_SERVER_PATH] if game_server_url else []
    return list(dict.fromkeys([*webhooks, *game]))


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: HMAC-SHA256 over ``id.timestamp.body``, as Standard Webhooks
    1.0 defines version 1.

    Args:
        secret: ``whsec_`` and base64.
        message_id: the `webhook-id` header.
        timestamp: the `webhook-timestamp` header, seconds since 1970.
        body: as it is sent.
    """
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = hmac.digest(key, b"%b.%d.%b" % (message_id.encode(), timestamp, body), hashlib.sha256)
    return "v1," + base64.b64encode(signed).decode()


class Webhooks:
    """Hears what happens and tells the endpoints.

    Args:
        endpoints: where to post.
        secret: signs; None takes one that is made at the first start and kept in the database.
    """

    def __init__(
        self,
        database: Database,
        bus: Bus,
        clock: Clock,
        endpoints: Sequence[str],
        secret: str | None = None,
    ) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._endpoints = list(endpoints)
        self._secret = secret or ""
        self._news: asyncio.Queue[tuple[str, datetime, dict[str, Any]]] = asyncio.Queue()
        self._waiting = asyncio.Event()

    async def open(self) -> None:
        """Begin to listen; `serve` sends."""
        if not self._secret:
            self._secret = await self._database.write(
                lambda c: facts.get_or_make(c, FACT, new_secret)
            )
        # Whoever stored it tells of it, so that each message goes out once.
        self._bus.subscribe(self._hear, own=True)
        hosts = ", ".join(_host(endpoint) for endpoint in self._endpoints)
        logger.info("webhooks go to %s, signed with %s", hosts, self._named())

    async def serve(self) -> None:
        """Keep and send what is heard, until cancelled."""
        import httpx

        async with (
            httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False) as client,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._keep())
            tasks.create_task(self._send(client))

    def _named(self) -> str:
        digest = hashlib.sha256(self._secret.encode()).hexdigest()
        return f"the secret whose SHA-256 begins with {digest[:8]} (`grandstand webhook-secret`)"

    # ---- hearing -----------------------------------------------------------------------------

    def _hear(self, news: News) -> None:
        if isinstance(news, Deleted):
            self._put("session.deleted", self._clock.now(), news.session_id, {})
            return
        if not isinstance(news, Committed):
            return
        for record in news.records:
            if record.type == STATUS and not record.columnar:
                kind = _kind(record.value)
                if kind is not None:
                    self._put(kind, news.at, news.session_id, dict(record.value))

    def _put(self, kind: str, at: datetime, session_id: str, event: dict[str, Any]) -> None:
        self._news.put_nowait((session_id, at, {"type": kind, "timestamp": at, "event": event}))

    async def _keep(self) -> None:
        """Put what is heard into the database."""
        while True:
            session_id, at, told = await self._news.get()
            try:
                keep = partial(self._store, session_id=session_id, told=told, at=at)
                await self._database.write(keep)
            except Exception:
                # The session goes on; that somebody was not told of it must not end anything.
                logger.exception("session %s: a webhook message could not be kept", session_id)
            self._waiting.set()

    def _store(
        self, connection: Connection, session_id: str, told: dict[str, Any], at: datetime
    ) -> None:
        session = session_rows.find(connection, session_id)
        body = encode(
            {
                "type": told["type"],
                "timestamp": told["timestamp"],
                "data": {
                    "session_id": session_id,
                    "session": _short(session) if session is not None else None,
                    "event": told["event"],
                },
            }
        )
        deliveries.put(connection, f"msg_{uuid4().hex}", self._endpoints, body, at)

    # ---- sending -----------------------------------------------------------------------------

    async def _send(self, client: httpx.AsyncClient) -> None:
        while True:
            self._waiting.clear()
            now = self._clock.now()
            if self._bus.alone:
                found = await self._database.read(partial(deliveries.due, at=now, limit=AT_ONCE))
            else:
                until = now + timedelta(seconds=LEASE_SECONDS)
                found = await self._database.write(
                    partial(deliveries.claim, at=now, until=until, limit=AT_ONCE)
                )
            by_endpoint: dict[str, list[Delivery]] = {}
            for one in found:
                by_endpoint.setdefault(one.endpoint, []).append(one)
            # One endpoint that is slow holds up no other, and each hears things in their order.
            await asyncio.gather(*(self._offer_all(client, each) for each in by_endpoint.values()))
            if len(found) < AT_ONCE:
                await self._until_due()

    async def _until_due(self) -> None:
        """Wait for news, or until the next attempt of an older message."""
        due = await self._database.read(deliveries.next_due)
        if due is None:
            await self._waiting.wait()
            return
        seconds = max((due - self._clock.now()).total_seconds(), 0.0)
        news = asyncio.ensure_future(self._waiting.wait())
        rest = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((news, rest), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (news, rest):
                one.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await one

    async def _offer_all(self, client: httpx.AsyncClient, found: Sequence[Delivery]) -> None:
        for one in found:
            await self._offer(client, one)

    async def _offer(self, client: httpx.AsyncClient, one: Delivery) -> None:
        import httpx

        timestamp = int(self._clock.now().timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Grandstand",
            "webhook-id": one.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._secret, one.message_id, timestamp, one.body),
        }
        why, for_good = "", False
        try:
            answer = await client.post(one.endpoint, content=one.body, headers=headers)
            if not answer.is_success:
                why, for_good = f"HTTP {answer.status_code}", answer.status_code == 410
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
        removed = not why or for_good or one.attempts >= len(PAUSES_SECONDS)
        if removed:
            await self._database.write(lambda c: deliveries.remove(c, one.id))
        else:
            pause = PAUSES_SECONDS[one.attempts]
            later = self._clock.now() + timedelta(seconds=pause)
            await self._database.write(lambda c: deliveries.postpone(c, one.id, later))
        if why:
            logger.warning(
                "webhook to %s: %s; %s",
                _host(one.endpoint),
                why,
                "the message is given up" if removed else f"again in {pause} s",
            )


def new_secret() -> str:
    """A secret to sign with, 32 random bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def _kind(event: dict[str, Any]) -> str | None:
    """The message type of an event of a session; None for those nobody is told of."""
    name = event.get("event")
    if name == "status":
        status = event.get("status")
        return f"session.{status}" if status in TOLD else None
    return {"evaluation": "session.evaluated", "alert": "session.alert"}.get(str(name))


def _short(session: Session) -> dict[str, Any]:
    """What a message tells of the session itself."""
    return {
        "session_id": session.session_id,
        "training_session_id": session.training_session_id,
        "name": session.name,
        "kind": session.kind,
        "algorithm": session.algorithm,
        "scenario_name": session.scenario_name,
        "status": session.status,
        "stop_reason": session.stop_reason,
        "current_episode": session.current_episode,
        "total_episodes": session.total_episodes,
        "latest": session.latest,
        "room_code": session.room_code,
        "tags": session.tags,
    }


def _host(endpoint: str) -> str:
    """An endpoint as logs may show it: its path and query may be secrets."""
    from urllib.parse import urlsplit

    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
