"""Every request and socket, as whoever operates the server sees it: an id, a line, a count.

The id is in every line of the log that the request causes, and in its answer's `X-Request-ID`. A
proxy in front may give it. Reports on the short way are counted, and get no id: who reports
thousands of times a second has a batch id.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections import Counter
from time import perf_counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grandstand import logs
from grandstand.model.tally import SECONDS, Tally

logger = logging.getLogger("grandstand.access")

HEADER: Final = b"x-request-id"
_GIVEN: Final = re.compile(rb"[A-Za-z0-9._~+/=:-]{1,128}")
_SESSION: Final = re.compile(r"/(?:api/training/sessions|ws)/([A-Za-z0-9._~-]{1,128})(?:/|$)")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE: Final = "none"
"""What is counted as the route of a request that was refused before it had one."""


class Traffic:
    """What came, since the start.

    Attributes:
        answers: (method, route, status) → how many.
        seconds: (method, route) → how long they took, until the whole answer was handed on.
        sockets: kind → how many are open.
        opened: kind → how many there were.
    """

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str, int]] = Counter()
        self.seconds: dict[tuple[str, str], Tally] = {}
        self.sockets: Counter[str] = Counter()
        self.opened: Counter[str] = Counter()

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self.answers[method, route, status] += 1
        tally = self.seconds.get((method, route))
        if tally is None:
            tally = self.seconds[method, route] = Tally(SECONDS)
        tally.add(seconds)


class Requests:
    """The ASGI layer around the doors."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = perf_counter()
        request_id = request_id_of(scope)
        status = 0

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = [*message.get("headers", ()), (HEADER, request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        with logs.bound(request_id=request_id, **_about(scope["path"])):
            try:
                await self._app(scope, receive, tell)
            finally:
                seconds = perf_counter() - begun
                method = scope["method"] if scope["method"] in _METHODS else "other"
                # 499 as proxies have it: it went away before there was an answer.
                self._traffic.note(method, _route(scope), status or 499, seconds)
                if logger.isEnabledFor(logging.DEBUG):
                    told = {"status": status or 499, "milliseconds": round(seconds * 1e3, 1)}
                    logger.debug("%s %s", scope["method"], scope["path"], extra=told)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = _kind(scope["path"])
        self._traffic.sockets[kind] += 1
        self._traffic.opened[kind] += 1
        begun = perf_counter()
        with logs.bound(request_id=request_id_of(scope), **_about(scope["path"])):
            logger.debug("%s socket opens", kind)
            try:
                await self._app(scope, receive, send)
            finally:
                self._traffic.sockets[kind] -= 1
                seconds = round(perf_counter() - begun, 1)
                logger.debug("%s socket ends", kind, extra={"seconds": seconds})


def request_id_of(scope: Scope) -> str:
    """The id a proxy gave a request, if it looks like one; else a new one."""
    for name, value in scope["headers"]:
        if name == HEADER and _GIVEN.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(6)


def _about(path: str) -> dict[str, str]:
    found = _SESSION.search(path)
    return {"session_id": found.group(1)} if found is not None else {}


def _route(scope: Scope) -> str:
    """The route as it is declared, so that there are only so many of them."""
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        return str(route)
    return "/socket.io" if scope["path"].startswith("/socket.io") else NO_ROUTE


def _kind(path: str) -> str:
    if "/socket.io" in path:
        return "socketio"
    return "reporter" if path.rstrip("/").endswith("/ingest") else "spectator"
