"""WS /ws/{session_id}: a spectator's socket.

What it says and understands is in docs/wire.md. The hub writes to it; the task here only
listens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.routing import WebSocketRoute

from grandstand import logs
from grandstand.assembly import Assembly
from grandstand.errors import BadRequest, GrandstandError
from grandstand.live.frames import brief
from grandstand.live.hub import types_of
from grandstand.live.outbox import Outbox, QueueOutbox, WireOutbox
from grandstand.live.seat import Seat
from grandstand.model.frames import FRAME
from grandstand.model.session import Session
from grandstand.model.telemetry import CONNECTION, ERROR, MESSAGE_TYPES, encode, envelope
from grandstand.service.access import Grant, Scope
from grandstand.web.addresses import address_of
from grandstand.web.auth import Authority
from grandstand.web.errors import error_body
from grandstand.web.keeper import Held
from grandstand.web.transport import wire_of

logger = logging.getLogger("grandstand.web.socket")

MAX_HZ = 1000.0
MAX_NAME = 64
MAX_MESSAGE_BYTES = 64 * 1024
MAX_SEQ = 2**53
CLOSE_SECONDS = 2.0


def register_websocket(app: FastAPI, house: Assembly, authority: Authority) -> None:
    """Put the spectators' socket into `app`."""

    async def watch(websocket: WebSocket) -> None:
        session_id = str(websocket.path_params["session_id"])
        address = address_of(websocket.scope)
        asked = websocket.query_params
        await authority.accept(websocket)
        try:
            house.hub.enter(address)
        except GrandstandError as error:
            await refuse(websocket, error)
            return
        try:
            grant = await authority.authorize_socket(websocket, Scope.WATCH, session_id)
            await _serve(
                websocket,
                house,
                authority,
                grant,
                session_id,
                asked.get("user_name", ""),
                asked.get("since"),
                asked.get("max_hz"),
            )
        except GrandstandError as error:
            await refuse(websocket, error)
        finally:
            house.hub.leave(address)

    add_socket(app, "/ws/{session_id}", watch)


def add_socket(
    app: FastAPI, path: str, serve: Callable[[WebSocket], Coroutine[Any, Any, None]]
) -> None:
    """Put a socket into `app`: a route of Starlette's, since FastAPI's looks the endpoint's source
    up and its parameters through at every connection, which takes longer than all the rest."""
    app.router.routes.append(WebSocketRoute(path, serve))


async def _serve(
    websocket: WebSocket,
    house: Assembly,
    authority: Authority,
    grant: Grant,
    session_id: str,
    user_name: str,
    since: str | None,
    max_hz: str | None,
) -> None:
    wire = wire_of(websocket.scope)
    queue = (
        None if wire else QueueOutbox(websocket.send_text, ender(websocket), websocket.send_bytes)
    )
    outbox: Outbox | None = WireOutbox(wire) if wire else queue
    assert outbox is not None
    # A seat in a room has its name; two sockets of it are one spectator.
    name = grant.subject if grant.seat is not None else _name(user_name)
    seat = house.hub.sit(session_id, outbox, name=name, who=grant.seat)
    logs.bind(connection_id=seat.id)
    held = Held(grant, Scope.WATCH, session_id, seat.leave)
    spectator = _Spectator(websocket, house, authority, held, seat)
    authority.keeper.add(held)
    try:
        # Read after taking the seat: whatever is committed from here on, the stand hears of.
        session = await house.sessions.get(session_id)
        if queue is None:
            await spectator.listen(session, since, max_hz)
        else:
            await both(queue, spectator.listen(session, since, max_hz))
    finally:
        authority.keeper.drop(held)
        house.hub.rise(seat)


async def both(queue: QueueOutbox, listening: Coroutine[Any, Any, None]) -> None:
    """Listen, with a task beside that sends; the end of either ends the other."""
    sender = asyncio.create_task(queue.run())
    listener = asyncio.create_task(listening)
    left = asyncio.create_task(queue.left())
    try:
        await asyncio.wait((left, listener), return_when=asyncio.FIRST_COMPLETED)
        if left.done():
            await asyncio.wait((sender,), timeout=CLOSE_SECONDS)
    finally:
        tasks = (sender, listener, left)
        for task in tasks:
            task.cancel()
        for problem in await asyncio.gather(*tasks, return_exceptions=True):
            # A connection that breaks while being written to is an ordinary end.
            if isinstance(problem, Exception) and not isinstance(
                problem, (WebSocketDisconnect, RuntimeError, OSError)
            ):
                raise problem


class _Spectator:
    """What one socket is told and asks."""

    def __init__(
        self, websocket: WebSocket, house: Assembly, authority: Authority, held: Held, seat: Seat
    ) -> None:
        self._socket = websocket
        self._house = house
        self._authority = authority
        self._held = held
        self._seat = seat
        self._session_id = seat.stand.session_id

    async def listen(self, session: Session, since: str | None, max_hz: str | None) -> None:
        """Greet, catch up, then obey until the socket closes."""
        seat = self._seat
        if max_hz is not None:
            self._first_rate(max_hz)
        seat.stand.reached(session.last_seq)
        self._greet(session)
        if since is None:
            seat.stand.join(seat, session.last_seq)
        elif since.isdecimal() and len(since) <= len(str(MAX_SEQ)):
            await seat.stand.resume(seat, int(since), self._recovered(int(since)))
        else:
            self._error("bad_since", "since must be a seq: a whole number, 0 or more")
            seat.stand.join(seat, session.last_seq)
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None or len(text) > MAX_MESSAGE_BYTES:
                self._error("bad_message", "send a JSON object as text, at most 64 KiB")
                continue
            await self._obey(text)

    def _greet(self, session: Session) -> None:
        self._say(
            {
                "event": "snapshot",
                "status": "connected",
                "connection_id": self._seat.id,
                "session_id": session.session_id,
                "session": session,
                "latest": session.latest,
                "last_seq": session.last_seq,
                "subscriptions": self._subscriptions(False),
                "max_hz": self._seat.max_hz,
            }
        )

    async def _obey(self, text: str) -> None:
        try:
            asked = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            self._error("malformed_json", "that was not JSON")
            return
        kind = asked.get("type") if isinstance(asked, dict) else None
        if kind in ("subscribe", "unsubscribe"):
            self._subscribe(kind, asked.get("message_types"))
        elif kind == "resume":
            since = asked.get("since")
            if type(since) is int and 0 <= since <= MAX_SEQ:
                await self._seat.stand.resume(self._seat, since, self._recovered(since))
            else:
                self._error("bad_since", "since must be a seq: a whole number, 0 or more")
        elif kind == "set_rate":
            self._set_rate(asked.get("max_hz"))
        elif kind == "authorize":
            await self._authorize(asked.get("token"))
        elif kind == "ping":
            self._say({"event": "pong", "status": "connected", "id": asked.get("id")})
        elif isinstance(kind, str):
            self._error(
                "unknown_type",
                f"there is no message type {kind[:64]!r}",
                "Send subscribe, unsubscribe, resume, set_rate, authorize or ping.",
            )
        else:
            self._error("bad_message", "a message is a JSON object with a type")

    def _subscribe(self, kind: str, names: Any) -> None:
        # Frames come beside the messages: wishing for them changes nothing of what else comes.
        frames = isinstance(names, list) and FRAME in names
        others = [name for name in names if name != FRAME] if frames else names
        types = frozenset() if frames and not others else types_of(others)
        if types is None:
            self._error(
                "bad_message_types",
                "message_types must be a list of message types",
                f"There are: {', '.join(MESSAGE_TYPES)}, {FRAME}.",
            )
            return
        now = self._seat.types
        if kind == "unsubscribe":
            types = now - types
        elif not types or len(now) < len(MESSAGE_TYPES):
            types = now | types
        # Else: the first wish narrows "everything" to what it names.
        if types != now:
            self._seat.stand.tune(self._seat, types=types)
        self._say(
            {
                "event": "subscribed",
                "status": "connected",
                "subscriptions": self._subscriptions(
                    kind == "subscribe" if frames else self._seat.frames
                ),
            }
        )
        if frames:
            self._house.hub.show_frames(self._seat, kind == "subscribe")

    def _first_rate(self, told: str) -> None:
        try:
            rate = float(told)
        except ValueError:
            rate = -1.0
        if 0 <= rate <= MAX_HZ:
            self._seat.max_hz = rate
        else:
            self._error("bad_rate", f"max_hz must be 0 (every row) to {MAX_HZ:g}")

    def _set_rate(self, max_hz: Any) -> None:
        if type(max_hz) not in (int, float) or not 0 <= max_hz <= MAX_HZ:
            self._error("bad_rate", f"max_hz must be 0 (every row) to {MAX_HZ:g}")
            return
        self._seat.stand.tune(self._seat, max_hz=float(max_hz))
        self._say({"event": "rate", "status": "connected", "max_hz": float(max_hz)})

    async def _authorize(self, token: Any) -> None:
        """Go on with another token, before the one it came with expires."""
        if not isinstance(token, str):
            self._error("bad_token", "token must be a text")
            return
        try:
            grant = await self._authority.of_token(token)
            self._authority.keeper.renew(self._held, grant)
        except GrandstandError as error:
            self._tell(error)
            return
        self._say(
            {"event": "authorized", "status": "connected", "expires_at": moment(grant.expires_at)}
        )

    def _recovered(self, since: int) -> Callable[[bool, int], None]:
        def tell(recovered: bool, last_seq: int) -> None:
            self._say(
                {
                    "event": "recovered",
                    "status": "connected",
                    "recovered": recovered,
                    "since": since,
                    "last_seq": last_seq,
                }
            )

        return tell

    def _subscriptions(self, frames: bool) -> list[str]:
        types: list[str] = [name for name in MESSAGE_TYPES if name in self._seat.types]
        return [*types, FRAME] if frames else types

    def _say(self, data: dict[str, Any]) -> None:
        now = self._house.clock.now()
        self._seat.say(envelope(CONNECTION, self._session_id, None, now, encode(data)))

    def _error(self, code: str, message: str, detail: str = "") -> None:
        self._tell(BadRequest(message, code=code, detail=detail))

    def _tell(self, error: GrandstandError) -> None:
        data = encode(error_body(error, self._house.clock))
        now = self._house.clock.now()
        self._seat.say(envelope(ERROR, self._session_id, None, now, data))


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as a time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _name(told: str) -> str:
    """A spectator's name as the others may see it: printable and short."""
    return "".join(c for c in told if c.isprintable()).strip()[:MAX_NAME]


def ender(websocket: WebSocket) -> Callable[[int, str], Any]:
    """What a `QueueOutbox` closes its connection with."""

    async def end(code: int, reason: str) -> None:
        await websocket.close(code, brief(reason))

    return end


async def refuse(websocket: WebSocket, error: GrandstandError) -> None:
    """Close with the code that says whether to come back, and when."""
    reason = error.message
    if error.retry_after_seconds is not None:
        reason = f"{error.retry_after_seconds:g} seconds: {reason}"
    try:
        await asyncio.wait_for(websocket.close(error.close_code, brief(reason)), CLOSE_SECONDS)
    except (TimeoutError, RuntimeError, WebSocketDisconnect):
        # It has gone, or does not read: nobody is there to be told.
        if (wire := wire_of(websocket.scope)) is not None:
            wire.abort()
