"""WS /ws/{session_id}: a spectator's socket."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any, cast

import msgspec
from fastapi import FastAPI, Query, WebSocket, WebSocketDisconnect

from grandstand.assembly import Assembly
from grandstand.errors import GrandstandError
from grandstand.live.hub import Hub, Seat, types_of
from grandstand.model.session import Session
from grandstand.model.telemetry import CONNECTION, ERROR, encode, envelope
from grandstand.service.access import Scope
from grandstand.web.auth import Authority

logger = logging.getLogger("grandstand.web.socket")

MAX_HZ = 1000.0
FRAME_LIMIT = 64 * 1024
STALE_SECONDS = 10.0


def register_websocket(app: FastAPI, house: Assembly, authority: Authority) -> None:
    """Put the spectators' socket into `app`."""

    @app.websocket("/ws/{session_id}")
    async def watch(
        websocket: WebSocket,
        session_id: str,
        user_name: Annotated[str, Query()] = "",
        since: Annotated[str | None, Query()] = None,
    ) -> None:
        # Refused only after it is accepted: before, a browser would see a bare 403.
        await websocket.accept()
        try:
            await authority.authorize_socket(websocket, Scope.WATCH, session_id)
            await house.sessions.get(session_id)
            seat = house.hub.sit(session_id, user_name[:64])
        except GrandstandError as error:
            await _refuse(websocket, house, session_id, error)
            return
        try:
            await _Spectator(websocket, house, seat).serve(since)
        finally:
            house.hub.rise(seat)


class _Spectator:
    """One socket: a task that sends, and one that listens."""

    def __init__(self, websocket: WebSocket, house: Assembly, seat: Seat) -> None:
        self._socket = websocket
        self._house = house
        self._hub: Hub = house.hub
        self._seat = seat
        self._session_id = seat.stand.session_id

    async def serve(self, since: str | None) -> None:
        sender = asyncio.create_task(self._send_forever())
        listener = asyncio.create_task(self._listen(since))
        leaving = asyncio.ensure_future(self._seat.closing)
        try:
            await asyncio.wait((sender, listener, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sender.cancel()
            listener.cancel()
            done = await asyncio.gather(sender, listener, return_exceptions=True)
            for problem in done:
                if isinstance(problem, Exception) and not isinstance(
                    problem, (WebSocketDisconnect, RuntimeError)
                ):
                    logger.error("a spectator's socket failed", exc_info=problem)
            if self._seat.closing.done():
                await _close(self._socket, *self._seat.closing.result())
            else:
                self._seat.closing.cancel()

    async def _send_forever(self) -> None:
        while (frame := await self._seat.outbox.get()) is not None:
            try:
                await asyncio.wait_for(
                    self._socket.send({"type": "websocket.send", "text": frame.decode()}),
                    STALE_SECONDS,
                )
            except TimeoutError:
                self._seat.leave(4508, "too slow; come back with since")
                return

    async def _listen(self, since: str | None) -> None:
        session = await self._house.sessions.get(self._session_id)
        self._greet(session)
        self._seat.last_seq = session.last_seq
        if since is not None and since.isdigit():
            await self._catch_up(int(since), session.last_seq)
        elif since is not None:
            self._error("bad_since", "since is not a seq")
        self._seat.release()
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None or len(text) > FRAME_LIMIT:
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
                "subscriptions": sorted(self._seat.types),
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
            if not isinstance(since, int) or isinstance(since, bool) or since < 0:
                self._error("bad_since", "since must be a seq, 0 or more")
                return
            self._seat.hold()
            session = await self._house.sessions.get(self._session_id)
            await self._catch_up(since, session.last_seq)
            self._seat.release()
        elif kind == "set_rate":
            self._set_rate(asked.get("max_hz"))
        elif kind == "ping":
            self._say({"event": "pong", "status": "connected", "id": asked.get("id")})
        else:
            self._error("unknown_type", f"there is no message type {kind!r}")

    def _subscribe(self, kind: str, names: Any) -> None:
        types = types_of(names)
        if types is None:
            self._error("bad_message_types", "message_types must name some of the six types")
            return
        if kind == "subscribe":
            # The first wish narrows "everything" to what was named; later ones add.
            everything = len(self._seat.types) == 6
            self._seat.types = types if everything else self._seat.types | types
        else:
            self._seat.types -= types
        self._say(
            {
                "event": "subscribed",
                "status": "connected",
                "subscriptions": sorted(self._seat.types),
            }
        )

    def _set_rate(self, max_hz: Any) -> None:
        number = isinstance(max_hz, (int, float)) and not isinstance(max_hz, bool)
        if not number or not 0 <= max_hz <= MAX_HZ:
            self._error("bad_rate", f"max_hz must be 0 (all) to {MAX_HZ:g}")
            return
        self._hub.set_rate(self._seat, float(max_hz))
        self._say({"event": "rate", "status": "connected", "max_hz": float(max_hz)})

    async def _catch_up(self, since: int, last_seq: int) -> None:
        recovered = await self._hub.catch_up(self._seat, since, last_seq)
        self._say(
            {
                "event": "recovered",
                "status": "connected",
                "recovered": recovered,
                "since": since,
                "last_seq": self._seat.last_seq,
            }
        )

    def _say(self, data: dict[str, Any]) -> None:
        now = self._house.clock.now()
        self._seat.push(envelope(CONNECTION, self._session_id, None, now, encode(data)))

    def _error(self, code: str, message: str) -> None:
        now = self._house.clock.now()
        data = {"error": code, "message": message, "detail": "", "details": {}, "timestamp": now}
        self._seat.push(envelope(ERROR, self._session_id, None, now, encode(data)))


async def _refuse(
    websocket: WebSocket, house: Assembly, session_id: str, error: GrandstandError
) -> None:
    reason = error.message
    if error.retry_after_seconds is not None:
        reason = f"{error.retry_after_seconds:g}"
    await _close(websocket, error.close_code, reason)


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    """Close within bounds: a spectator that does not read does not answer either."""
    try:
        # A close frame has 125 bytes for the code and the reason.
        brief = reason.encode()[:120].decode(errors="ignore")
        await asyncio.wait_for(websocket.close(code, brief), 2.0)
    except (TimeoutError, RuntimeError, WebSocketDisconnect):
        transport = cast("Any", websocket.scope.get("extensions", {})).get("grandstand.transport")
        if transport is not None:
            transport.abort()
