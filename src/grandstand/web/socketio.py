"""Socket.IO: the events of managed trainings, for clients that speak it.

A connection hears every training it may watch until `subscribe_training` narrows it. Each event
goes out through python-socketio's rooms; a client whose queue is full is let go, because it can
come back and ask for what it missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import socketio
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp

import grandstand
from grandstand.assembly import Assembly
from grandstand.bus.base import Committed, Deleted, News
from grandstand.errors import GrandstandError
from grandstand.live.flow import Flow, Message, plain
from grandstand.model.session import Kind, Session, Status
from grandstand.model.telemetry import METRICS, STATUS, finite_or_name
from grandstand.service.access import Scope
from grandstand.service.training import progress_of
from grandstand.web.auth import Authority

logger = logging.getLogger("grandstand.web.socketio")

EVERYBODY = "everybody"
QUEUE_LIMIT = 2000
"""Packets that may wait for one client; past it the client is let go."""
PING_INTERVAL_SECONDS = 10
PING_TIMEOUT_SECONDS = 10


def mount_socketio(app: FastAPI, house: Assembly, authority: Authority) -> ASGIApp:
    """`app` with Socket.IO at `/socket.io` in front of it."""
    return Broadcast(house, authority).around(app)


class Broadcast:
    """Turns what trainings report into Socket.IO events."""

    def __init__(self, house: Assembly, authority: Authority) -> None:
        self._house = house
        self._authority = authority
        self._server = socketio.AsyncServer(
            async_mode="asgi",
            cors_allowed_origins="*",  # checked in `_connect` and by `Guard`, like every door
            ping_interval=PING_INTERVAL_SECONDS,
            ping_timeout=PING_TIMEOUT_SECONDS,
            max_http_buffer_size=64 * 1024,
            logger=False,
            engineio_logger=False,
        )
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._disconnect)
        self._server.on("subscribe_training", self._subscribe)
        self._flows: dict[str, Flow] = {}
        self._queue: asyncio.Queue[tuple[str, list[Message]]] | None = None
        self._clients: set[str] = set()
        house.bus.subscribe(self._hear)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The ASGI application that answers `/socket.io` and hands the rest on."""
        whole: ASGIApp = socketio.ASGIApp(self._server, app, socketio_path="socket.io")
        return whole

    # Clients.

    async def _connect(self, sid: str, environ: Mapping[str, Any], auth: Any = None) -> None:
        headers = Headers(scope=environ["asgi.scope"])
        token = auth.get("token") if isinstance(auth, dict) else None
        try:
            self._authority.doors.check(headers)
            header = headers.get("authorization", "")
            bearer = header[7:] if header.lower().startswith("bearer ") else None
            grant = self._house.access.grant(token or bearer)
            grant.check(Scope.WATCH, grant.session_id)
        except GrandstandError as error:
            raise socketio.exceptions.ConnectionRefusedError(error.message, error.code) from None
        if len(self._clients) >= self._house.settings.performance.max_total_connections:
            raise socketio.exceptions.ConnectionRefusedError("the server is full", "server_full")
        self._clients.add(sid)
        room = EVERYBODY if grant.session_id is None else f"session:{grant.session_id}"
        await self._server.enter_room(sid, room)
        await self._server.save_session(sid, {"bound": grant.session_id})
        await self._server.emit(
            "connection_established",
            {
                "message": "connected to Grandstand",
                "sid": sid,
                "server_version": grandstand.__version__,
            },
            to=sid,
        )

    async def _disconnect(self, sid: str, reason: str = "") -> None:
        self._clients.discard(sid)

    async def _subscribe(self, sid: str, wish: Any = None) -> dict[str, Any]:
        """Narrow a connection to one session or one scenario; the answer is the ack."""
        wish = wish if isinstance(wish, dict) else {}
        session_id, scenario = wish.get("session_id"), wish.get("scenario_name")
        bound = (await self._server.get_session(sid)).get("bound")
        if bound is not None and session_id != bound:
            return {"subscribed": None, "error": "other_session"}
        for room in list(self._server.rooms(sid)):
            if room != sid:
                await self._server.leave_room(sid, room)
        if isinstance(session_id, str):
            try:
                session = await self._house.sessions.get(session_id)
            except GrandstandError as error:
                await self._server.enter_room(sid, EVERYBODY)
                return {"subscribed": None, "error": error.code, "message": error.message}
            since = wish.get("since")
            if isinstance(since, int) and not isinstance(since, bool) and since >= 0:
                await self._replay(sid, session, since)
            await self._server.enter_room(sid, f"session:{session_id}")
            return {"subscribed": {"session_id": session_id}}
        if isinstance(scenario, str):
            await self._server.enter_room(sid, f"scenario:{scenario}")
            return {"subscribed": {"scenario_name": scenario}}
        await self._server.enter_room(sid, EVERYBODY)
        return {"subscribed": "all"}

    async def _replay(self, sid: str, session: Session, since: int) -> None:
        if session.last_seq - since > self._house.settings.performance.metrics_history_size:
            since = session.last_seq - self._house.settings.performance.metrics_history_size
        at = since
        while rows := await self._house.replay(session.session_id, at, 1000):
            for seq, kind, moment, data in rows:
                for event, body in self._events(session, Message(kind, seq, moment, data)):
                    await self._server.emit(event, body, to=sid)
            at = rows[-1][0]

    # News.

    def _hear(self, news: News) -> None:
        if isinstance(news, Deleted):
            if (flow := self._flows.pop(news.session_id, None)) is not None:
                flow.close()
            return
        if not isinstance(news, Committed) or not self._clients:
            return
        flow = self._flows.get(news.session_id)
        if flow is None:
            session_id = news.session_id
            flow = self._flows[session_id] = Flow(
                asyncio.get_running_loop(),
                self._house.settings.performance.live_max_hz,
                lambda out: self._put(session_id, out),
            )
        flow.feed(news)

    def _put(self, session_id: str, out: list[Message]) -> None:
        if self._queue is None:
            self._queue = asyncio.Queue()
            self._house.spawn(self._emit_forever(self._queue))
        self._queue.put_nowait((session_id, out))

    async def _emit_forever(self, queue: asyncio.Queue[tuple[str, list[Message]]]) -> None:
        while True:
            session_id, out = await queue.get()
            try:
                session = await self._house.sessions.get(session_id)
            except GrandstandError:
                continue  # deleted meanwhile
            if session.kind is Kind.EXTERNAL:
                continue
            for message in out:
                for event, body in self._events(session, message):
                    await self._emit(session, event, body)
            over = out[-1].type == STATUS and session.end_time is not None
            if over and (flow := self._flows.pop(session_id, None)) is not None:
                flow.close()

    async def _emit(self, session: Session, event: str, body: dict[str, Any]) -> None:
        rooms = [
            EVERYBODY,
            f"session:{session.session_id}",
            f"scenario:{session.scenario_name}",
        ]
        await self._drop_full()
        await self._server.emit(event, body, room=rooms)

    async def _drop_full(self) -> None:
        for sid in tuple(self._clients):
            eio_sid = self._server.manager.eio_sid_from_sid(sid, "/")
            socket = self._server.eio.sockets.get(eio_sid) if eio_sid else None
            if socket is not None and socket.queue.qsize() > QUEUE_LIMIT:
                logger.warning("a Socket.IO client reads too slowly and is let go")
                self._clients.discard(sid)
                await self._server.disconnect(sid)

    def _events(self, session: Session, message: Message) -> list[tuple[str, dict[str, Any]]]:
        """The events a stored record stands for."""
        data: Any = plain(message)
        about = {"session_id": session.session_id, "seq": message.seq}
        if message.type == METRICS:
            progress = progress_of({"total_episodes": session.total_episodes, **data})
            if progress is None:
                return []
            skipped = {k: data[k] for k in ("skipped_from", "skipped_to") if k in data}
            return [("training_progress", {**progress, **about, **skipped})]
        if message.type != STATUS or data.get("event") != "status":
            return []
        status = data.get("status")
        if status == Status.RUNNING and "num_episodes" in data:  # a worker began
            start = session.start_time
            return [
                (
                    "training_started",
                    {
                        "scenario_name": session.scenario_name,
                        "num_episodes": session.total_episodes,
                        "start_time": start.isoformat() if start else None,
                        **about,
                    },
                )
            ]
        ended = {
            "scenario_name": session.scenario_name,
            "episodes_completed": data.get("episodes_completed", session.current_episode),
            "total_episodes": session.total_episodes,
            "reason": data.get("reason"),
            "final_metrics": data.get("final_metrics"),
            "models": data.get("models") or {},
            **about,
        }
        if status == Status.COMPLETED:
            return [("training_completed", ended)]
        if status == Status.STOPPED:
            return [("training_stopped", ended)]
        if status == Status.FAILED:
            error = data.get("error") or {}
            body = {
                "message": error.get("message") or data.get("reason") or "the training failed",
                "details": finite_or_name(error),
                "code": error.get("type") or "training_failed",
                **about,
            }
            return [("training_error", body)]
        return []
