"""Socket.IO: the events of managed trainings, for clients that speak it.

A connection hears every training it may watch until `subscribe_training` narrows it. Each of its
trainings is a seat in the hub, so it is thinned, replayed and set aside like every spectator.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import socketio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

import grandstand
from grandstand.assembly import Assembly
from grandstand.bus.base import Changed, Committed, Deleted, News
from grandstand.errors import BadRequest, GrandstandError
from grandstand.live.seat import Seat
from grandstand.model.session import ENDED, Kind, Session
from grandstand.model.telemetry import METRICS, STATUS
from grandstand.service.access import Grant, Scope
from grandstand.web.addresses import address_of
from grandstand.web.auth import Authority
from grandstand.web.engine import EngineOutbox
from grandstand.web.errors import error_response
from grandstand.web.keeper import Held
from grandstand.web.training_events import TrainingEvents
from grandstand.web.transport import Wire, wire_of
from grandstand.web.websocket import moment

logger = logging.getLogger("grandstand.web.socketio")

PATH = "/socket.io"
PING_INTERVAL_SECONDS = 10
PING_TIMEOUT_SECONDS = 10
LINGER_SECONDS = 60.0
"""How long seats are kept at a training that has ended: it may be resumed."""
TYPES = frozenset({METRICS, STATUS})
MAX_SEQ = 2**53


def mount_socketio(
    app: ASGIApp,
    house: Assembly,
    authority: Authority,
    *,
    ping_interval: float = PING_INTERVAL_SECONDS,
    ping_timeout: float = PING_TIMEOUT_SECONDS,
) -> ASGIApp:
    """`app` with Socket.IO at `/socket.io` in front of it.

    Args:
        ping_interval, ping_timeout: seconds between pings, and until a silent client is let go.
    """
    return TrainingSocket(app, house, authority, ping_interval, ping_timeout)


@dataclass(slots=True, eq=False)
class _Client:
    """One connection, and what it wants to hear."""

    grant: Grant
    outbox: EngineOutbox
    address: str
    session_id: str | None = None
    scenario_name: str | None = None
    joined: bool = False
    held: Held | None = None
    seats: dict[str, Seat] = field(default_factory=dict)

    def hears(self, session: Session) -> bool:
        """Whether it wants, and may have, the events of a session."""
        try:
            self.grant.check(Scope.WATCH, session.session_id)
        except GrandstandError:
            return False
        if self.session_id is not None:
            return session.session_id == self.session_id
        if session.kind is not Kind.MANAGED:
            return False
        return self.scenario_name in (None, session.scenario_name)


class _Server(socketio.AsyncServer):  # type: ignore[misc]
    """The library's server, which says when a client has been told that it is connected."""

    owner: TrainingSocket

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        await super()._handle_connect(eio_sid, namespace, data)
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace or "/")
        if sid is not None and self.manager.is_connected(sid, namespace or "/"):
            await self.owner.established(sid)


class TrainingSocket:
    """The ASGI application that answers `/socket.io` and hands the rest on."""

    def __init__(
        self,
        app: ASGIApp,
        house: Assembly,
        authority: Authority,
        ping_interval: float,
        ping_timeout: float,
    ) -> None:
        self._app = app
        self._house = house
        self._authority = authority
        self._server = _Server(
            async_mode="asgi",
            cors_allowed_origins=[],  # Guard, CORSMiddleware and `__call__` see to origins
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            max_http_buffer_size=64 * 1024,
            logger=False,
            engineio_logger=False,
        )
        self._server.owner = self
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._disconnect)
        self._server.on("subscribe_training", self._subscribe)
        self._server.on("authorize", self._authorize)
        self._engine_app: ASGIApp = socketio.ASGIApp(self._server, socketio_path=PATH)
        self._clients: dict[str, _Client] = {}
        self._wires: dict[str, Wire] = {}
        self._sessions: dict[str, Session] = {}  # those that have had news, as they are now
        self._opening: set[str] = set()
        self._dialect = TrainingEvents(self._sessions)
        house.bus.subscribe(self._hear)
        house.hub.at_close(self._goodbye)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not _ours(scope["path"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            try:
                self._check_poll(scope)
            except BadRequest as error:
                await error_response(error, self._house.clock)(scope, receive, send)
                return
            await self._engine_app(scope, receive, send)
        else:
            await self._websocket(scope, receive, send)

    def _check_poll(self, scope: AsgiScope) -> None:
        """Refuse polling in words where the next poll may end up at another server, which knows
        nothing of the first: a client would see connections that break for no reason.

        Raises:
            BadRequest: it cannot work here (code ``websocket_only``), or not as the servers are
                reached (``connection_elsewhere``).
        """
        if self._house.bus.alone:
            return
        (sid,) = parse_qs(scope["query_string"].decode("latin-1")).get("sid", [""])[:1]
        if not sid and self._house.settings._processes > 1:
            raise BadRequest(
                "this server has several processes, and a client that polls would meet another one "
                "each time",
                code="websocket_only",
                detail='Connect by WebSocket from the beginning: transports: ["websocket"].',
            )
        if sid and sid not in self._server.eio.sockets:
            raise BadRequest(
                f"the connection {sid[:40]!r} is not at this server, or it has ended",
                code="connection_elsewhere",
                detail="Of several servers a client that polls must always meet the same one: make "
                'the load balancer sticky, or connect with transports: ["websocket"].',
            )

    async def _websocket(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        try:
            self._authority.doors.check(Headers(scope=scope))
        except GrandstandError:
            await receive()
            await send({"type": "websocket.close", "code": 4403})
            return
        # A client that comes from polling brings its sid; another gets one in `_connect`.
        sids = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("sid", [])
        wire = wire_of(scope)
        if wire is None or not sids or sids[0] in self._wires:
            await self._engine_app(scope, receive, send)
            return
        self._wires[sids[0]] = wire
        try:
            await self._engine_app(scope, receive, send)
        finally:
            self._wires.pop(sids[0], None)

    # Clients.

    async def _connect(self, sid: str, environ: Mapping[str, Any], auth: Any = None) -> None:
        scope = environ["asgi.scope"]
        header = Headers(scope=scope).get("authorization", "")
        bearer = header[7:] if header.lower().startswith("bearer ") else None
        token = auth.get("token") if isinstance(auth, dict) else None
        address = address_of(scope)
        try:
            await self._authority.limits.connection(address)
            grant = await self._authority.of_token(token if isinstance(token, str) else bearer)
            grant.check(Scope.WATCH, grant.session_id)
            self._house.hub.enter(address)
        except GrandstandError as error:
            raise socketio.exceptions.ConnectionRefusedError(error.message, error.code) from None
        eio_sid = self._server.manager.eio_sid_from_sid(sid, "/")
        if scope["type"] == "websocket" and (wire := wire_of(scope)) is not None:
            self._wires[eio_sid] = wire
        outbox = EngineOutbox(
            self._server.eio,
            eio_sid,
            self._wires,
            lambda: self._server.disconnect(sid),
            self._house.spawn,
        )
        client = _Client(grant, outbox, address, session_id=grant.session_id)
        client.held = Held(
            grant, Scope.WATCH, grant.session_id, outbox.close, lambda: self._recheck(client)
        )
        self._authority.keeper.add(client.held)
        self._clients[sid] = client

    async def established(self, sid: str) -> None:
        """Greet a client and let it hear, now that it knows it is connected."""
        if (client := self._clients.get(sid)) is None:
            return
        await self._server.emit(
            "connection_established",
            {
                "message": "connected to Grandstand",
                "sid": sid,
                "server_version": grandstand.__version__,
            },
            to=sid,
        )
        client.joined = True
        if client.grant.seat is not None and client.grant.session_id is not None:
            # A room's seat is sat on from the beginning, whether there are news or not.
            with contextlib.suppress(GrandstandError):
                await self._subscribe_session(client, client.grant.session_id, None)
        self._seat_everywhere(client)

    async def _disconnect(self, sid: str, reason: str = "") -> None:
        client = self._clients.pop(sid, None)
        if client is None:
            return
        if client.held is not None:
            self._authority.keeper.drop(client.held)
        client.outbox.end()
        self._leave(client, tuple(client.seats))
        self._wires.pop(client.outbox.eio_sid, None)
        self._house.hub.leave(client.address)
        if not self._clients:
            self._sessions.clear()

    async def _authorize(self, sid: str, told: Any = None) -> dict[str, Any]:
        """Let a connection go on with another token; the answer is the ack."""
        client = self._clients.get(sid)
        token = told.get("token") if isinstance(told, dict) else None
        if client is None or client.held is None or not isinstance(token, str):
            return {"authorized": False, "error": "bad_token", "message": "token must be a text"}
        try:
            grant = await self._authority.of_token(token)
            self._authority.keeper.renew(client.held, grant)
        except GrandstandError as error:
            return {"authorized": False, "error": error.code, "message": error.message}
        client.grant = grant
        ends = moment(grant.expires_at)
        until = None if ends is None else ends.isoformat().replace("+00:00", "Z")
        return {"authorized": True, "expires_at": until}

    async def _subscribe(self, sid: str, wish: Any = None) -> dict[str, Any]:
        """Narrow a connection to one session or one scenario; the answer is the ack."""
        client = self._clients.get(sid)
        if client is None:
            return {"subscribed": None}
        wish = wish if isinstance(wish, dict) else {}
        session_id, scenario = wish.get("session_id"), wish.get("scenario_name")
        try:
            if isinstance(session_id, str):
                return await self._subscribe_session(client, session_id, wish.get("since"))
            bound = client.grant.session_id
            if bound is not None:
                return await self._subscribe_session(client, bound, wish.get("since"))
        except GrandstandError as error:
            return {"subscribed": None, "error": error.code, "message": error.message}
        client.session_id = None
        client.scenario_name = scenario if isinstance(scenario, str) else None
        self._leave(client, [s for s in client.seats if not self._wanted(client, s)])
        self._seat_everywhere(client)
        return {
            "subscribed": "all" if client.scenario_name is None else {"scenario_name": scenario}
        }

    async def _subscribe_session(
        self, client: _Client, session_id: str, since: Any
    ) -> dict[str, Any]:
        client.grant.check(Scope.WATCH, session_id)
        since = since if type(since) is int and 0 <= since <= MAX_SEQ else None
        seat = self._house.hub.sit(
            session_id,
            client.outbox,
            name=client.grant.subject if client.grant.seat is not None else "",
            who=client.grant.seat,
            dialect=self._dialect,
            types=TYPES,
            counted=True,
        )
        try:
            session = await self._house.sessions.get(session_id)
        except GrandstandError:
            self._house.hub.rise(seat)
            raise
        if client.outbox.closed:
            self._house.hub.rise(seat)
            return {"subscribed": None}
        news = session_id not in self._sessions and session_id not in self._opening
        self._sessions[session_id] = session
        client.session_id, client.scenario_name = session_id, None
        self._leave(client, tuple(client.seats))
        client.seats[session_id] = seat
        seat.stand.reached(session.last_seq)
        if news:  # from now on it is a known session, which nobody is seated at by news of it
            for other in self._clients.values():
                self._seat(other, session, session.last_seq)
        answer: dict[str, Any] = {"subscribed": {"session_id": session_id}}
        if since is None:
            seat.stand.join(seat, session.last_seq)
        else:
            await seat.stand.resume(seat, since, lambda whole, last: answer.update(recovered=whole))
        return answer

    # Seats.

    def _wanted(self, client: _Client, session_id: str) -> bool:
        session = self._sessions.get(session_id)
        return session is not None and client.hears(session)

    def _recheck(self, client: _Client) -> None:
        """Leave the sessions that were closed to it meanwhile, hear those that were opened."""
        self._leave(client, [s for s in client.seats if not client.grant.covers(Scope.WATCH, s)])
        for session in self._sessions.values():
            self._seat(client, session, session.last_seq)

    def _seat_everywhere(self, client: _Client) -> None:
        for session in self._sessions.values():
            self._seat(client, session, None)

    def _seat(self, client: _Client, session: Session, position: int | None) -> None:
        """Let a client hear a session it wants, from `position` or what comes next."""
        session_id = session.session_id
        if not client.joined or session_id in client.seats or not client.hears(session):
            return
        seat = self._house.hub.sit(
            session_id, client.outbox, dialect=self._dialect, types=TYPES, counted=False
        )
        client.seats[session_id] = seat
        if position is not None:
            seat.stand.reached(session.last_seq)
        seat.stand.join(seat, seat.stand.last_seq if position is None else position)

    def _leave(self, client: _Client, session_ids: Iterable[str]) -> None:
        for session_id in session_ids:
            self._house.hub.rise(client.seats.pop(session_id))

    # News.

    def _hear(self, news: News) -> None:
        if not self._clients:
            return
        if isinstance(news, Committed):
            session_id = news.session_id
            if session_id not in self._sessions and session_id not in self._opening:
                self._opening.add(session_id)
                self._house.spawn(self._open(session_id, news.first_seq - 1))
        elif isinstance(news, Changed):
            session = news.session
            if session.session_id in self._sessions:
                self._sessions[session.session_id] = session
                if session.status in ENDED:
                    self._house.spawn(self._linger(session.session_id))
        elif isinstance(news, Deleted):
            self._sessions.pop(news.session_id, None)
            for client in self._clients.values():
                if (seat := client.seats.pop(news.session_id, None)) is not None:
                    self._house.hub.rise(seat)

    async def _open(self, session_id: str, position: int) -> None:
        """Seat everybody who wants to hear a session of which news came."""
        try:
            session = await self._house.sessions.get(session_id)
        except GrandstandError:
            return  # deleted meanwhile
        finally:
            self._opening.discard(session_id)
        if not self._clients:
            return
        self._sessions[session_id] = session
        for client in self._clients.values():
            self._seat(client, session, position)

    async def _linger(self, session_id: str) -> None:
        await self._house.clock.sleep(LINGER_SECONDS)
        session = self._sessions.get(session_id)
        if session is None or session.status not in ENDED:
            return
        kept = False
        for client in self._clients.values():
            if client.session_id == session_id:
                kept = True
            elif session_id in client.seats:
                self._leave(client, (session_id,))
        if not kept:
            self._sessions.pop(session_id, None)

    async def _goodbye(self) -> None:
        for client in tuple(self._clients.values()):
            client.outbox.close(1012, "the server is restarting")
        if self._server.eio.sockets:
            # A poll that is held would keep the server from ending; this answers it.
            await self._server.eio.disconnect()
        if self._server.eio.service_task_handle is not None:
            await self._server.shutdown()


def _ours(path: str) -> bool:
    return path == PATH or path.startswith(PATH + "/")
