"""Doors: which hosts and origins may knock, what bodies they may bring, and what they may do.

With authentication off the server is meant for its own machine, and a page from elsewhere that a
browser on that machine happens to show must still not reach it: so the Host header is checked
(DNS rebinding), Origin is checked (cross-site requests and sockets), and bodies must be JSON
(a form cannot be posted across sites).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, Request, WebSocket
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from grandstand.clock import Clock
from grandstand.errors import BadRequest, Forbidden, GrandstandError, TooLarge, UnsupportedMedia
from grandstand.service.access import Access, Grant, Scope
from grandstand.settings import Settings
from grandstand.web.errors import error_response

FRAMES = re.compile(r"/api/training/sessions/[^/]+/frame$")
"""The one route that takes images; a form cannot send those across sites either."""
MOST_KNOWN = 64
"""Pairs of Host and Content-Type that are remembered as let in."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - recognised, not bound


class Doors:
    """Which Host and Origin headers are let in.

    Args:
        hosts: further host names; ``*`` lets every one in.
        origins: further origins, as a browser writes them; ``*`` lets every one in.
    """

    def __init__(self, host: str, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._hosts = {h.lower() for h in hosts}
        self._origins = {o.rstrip("/").lower() for o in origins}
        # A server on every address is reached by names it cannot know.
        self._any_host = "*" in self._hosts or (host in ANY_ADDRESS and not self._hosts)
        self._hosts |= {*LOOPBACK, host.lower()}

    def check(self, headers: Headers) -> None:
        """Refuse a request that comes through the wrong door.

        Raises:
            BadRequest: unknown host (code ``host_not_allowed``).
            Forbidden: foreign origin (code ``origin_not_allowed``).
        """
        host = headers.get("host", "")
        if not self._any_host and _hostname(host) not in self._hosts:
            raise BadRequest(
                f"this server does not answer for the host {host!r}",
                code="host_not_allowed",
                detail="Add it to security.allowed_hosts.",
            )
        origin = headers.get("origin")
        if origin is not None and not self.origin_allowed(origin, host):
            raise Forbidden(
                f"pages of {origin} may not use this server",
                code="origin_not_allowed",
                detail="Add it to security.cors_origins (CORS_ORIGINS).",
            )

    def origin_allowed(self, origin: str, host: str) -> bool:
        """Whether a page of `origin` may talk to us, whom it reached as `host`."""
        if "*" in self._origins or origin.rstrip("/").lower() in self._origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:  # such as http://[
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


class Guard:
    """The ASGI layer that every HTTP request passes: doors, content type, size of the body."""

    def __init__(self, app: ASGIApp, doors: Doors, clock: Clock, max_body_bytes: int) -> None:
        self._app = app
        self._doors = doors
        self.clock = clock
        self._limit = max_body_bytes
        self._known: set[tuple[bytes, bytes]] = set()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            receive = self.admit(scope, Headers(scope=scope), receive)
        except GrandstandError as error:
            await error_response(error, self.clock)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except TooLarge as error:  # from `_bounded`, through an app without handlers of ours
            await error_response(error, self.clock)(scope, receive, send)

    def admit(self, scope: AsgiScope, headers: Headers, receive: Receive) -> Receive:
        """Let a request in.

        Returns:
            what to receive its body with, bounded.

        Raises:
            BadRequest, Forbidden: see `Doors.check`.
            UnsupportedMedia, TooLarge: the body is none that we take.
        """
        self._doors.check(headers)
        return self._bounded(receive) if self._body(scope, headers) is None else receive

    def admit_report(
        self, scope: AsgiScope, headers: dict[bytes, bytes], receive: Receive
    ) -> Receive:
        """The same for a report without Origin: a program's headers are alike every time, so what
        was looked at once need not be looked at again.

        Args:
            headers: by name; of one that comes twice the last.
        """
        host = headers.get(b"host", b""), headers.get(b"content-type", b"")
        size = headers.get(b"content-length", b"")
        once = len(headers) == len(scope["headers"])
        if host in self._known and once and size.isdigit() and 0 < int(size) <= self._limit:
            return receive
        receive = self.admit(scope, Headers(raw=scope["headers"]), receive)
        if once and size.isdigit() and int(size) > 0 and len(self._known) < MOST_KNOWN:
            self._known.add(host)
        return receive

    def _body(self, scope: AsgiScope, headers: Headers) -> int | None:
        """The body's announced length; None when it is not announced and must be counted."""
        told = headers.get("content-length")
        if told is None and "transfer-encoding" not in headers:
            return 0
        if told == "0":
            return 0
        if told is not None and not told.isdigit():
            raise BadRequest("Content-Length is not a number")
        if told is not None and int(told) > self._limit:
            raise self._too_large()
        media = headers.get("content-type", "").split(";")[0].strip().lower()
        polling = scope["path"].startswith("/socket.io")
        image = media.startswith("image/") and FRAMES.search(scope["path"])
        if not (polling or image or media == "application/json" or media.endswith("+json")):
            raise UnsupportedMedia(
                f"bodies must be JSON, this one says {media or 'nothing'}",
                detail="Send “Content-Type: application/json”.",
                details={"content_type": media or None},
            )
        return int(told) if told is not None else None

    def _bounded(self, receive: Receive) -> Receive:
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body") or b"")
            if seen > self._limit:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"a body may have at most {self._limit:,} bytes",
            code="body_too_large",
            detail="Send fewer records at a time.",
            details={"limit": self._limit},
        )


class Authority:
    """Turns requests and sockets into grants."""

    def __init__(self, access: Access, settings: Settings) -> None:
        self._access = access
        self.doors = Doors(
            settings.host, settings.security.allowed_hosts, settings.security.cors_origins
        )

    def require(self, scope: Scope) -> Any:
        """The dependency that lets a request through only with a right; gives its `Grant`.

        A token bound to one session (or evaluation) opens only that one's routes.
        """
        bearer = HTTPBearer(auto_error=False, scheme_name="token")
        access = self._access

        async def granted(
            request: Request,
            credentials: HTTPAuthorizationCredentials | None = Depends(bearer),
        ) -> Grant:
            grant = access.grant(credentials.credentials if credentials else None)
            where = request.path_params
            grant.check(scope, where.get("session_id"), where.get("evaluation_id"))
            return grant

        return Depends(granted)

    def grant(self, authorization: bytes | None) -> Grant:
        """The grant that goes with an Authorization header (or none).

        Raises:
            Unauthenticated: see `Access.grant`.
        """
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return self._access.grant(None)
        return self._access.grant(authorization[7:].strip().decode("latin-1"))

    async def authorize_socket(
        self, websocket: WebSocket, scope: Scope, session_id: str | None
    ) -> Grant:
        """The grant of a socket, from its header or its `token` query parameter.

        Raises:
            GrandstandError: with the close code that refuses it.
        """
        self.doors.check(websocket.headers)
        header = websocket.headers.get("authorization", "")
        token = header[7:] if header.lower().startswith("bearer ") else None
        grant = self._access.grant(token or websocket.query_params.get("token"))
        grant.check(scope, session_id)
        return grant


AuthorizeSocket = Callable[[WebSocket, Scope, str | None], Awaitable[Grant]]


def address_of(scope: AsgiScope) -> str:
    """Where a connection comes from; empty where the server cannot tell (a Unix socket)."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:  # such as [::1
        return ""
