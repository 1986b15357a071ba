"""Doors: which hosts and origins may knock, what bodies they may bring, and what they may do.

With authentication off the server is meant for its own machine, and a page from elsewhere that a
browser on that machine happens to show must still not reach it: so the Host header is checked
(DNS rebinding), Origin is checked (cross-site requests and sockets), and bodies must be JSON
(a form cannot be posted across sites).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from fastapi import Depends, Request, Security, WebSocket
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from grandstand.clock import Clock
from grandstand.errors import (
    BadRequest,
    Forbidden,
    GrandstandError,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
)
from grandstand.service.access import Access, Grant, Scope
from grandstand.service.rooms import normal
from grandstand.settings import Settings
from grandstand.store.rooms import Standing, no_room
from grandstand.web.addresses import address_of
from grandstand.web.audit import ASKED, GRANT, NOTED
from grandstand.web.errors import error_response
from grandstand.web.keeper import Keeper
from grandstand.web.limits import Limits

FRAMES = re.compile(r"/api/training/sessions/[^/]+/frame$")
ARCHIVES = re.compile(r"/api/training/sessions/[^/]+/(checkpoints/\d+|model)$")
"""The one route that takes images; a form cannot send those across sites either."""
MOST_KNOWN = 64
"""Pairs of Host and Content-Type that are remembered as let in."""
SUBPROTOCOL, TOKEN_PROTOCOL = "grandstand", "token."
"""What a browser may offer with a socket: the first is accepted, the second brings a token."""
FIRST_MESSAGE_SECONDS = 5.0
MOST_TOKEN = 8192
"""Characters of a first message."""
STRANGER = Grant("visitor", frozenset())
"""Somebody without a token where one is wanted: may do what needs no right, as join a room."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - recognised, not bound


USUAL = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
"""Headers of every answer that has no better ones of its own; the page has its own policy."""


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

    def __init__(
        self,
        app: ASGIApp,
        doors: Doors,
        clock: Clock,
        max_body_bytes: int,
        max_archive_bytes: int,
    ) -> None:
        self._app = app
        self._doors = doors
        self.clock = clock
        self._limit = max_body_bytes
        self._archive_limit = max_archive_bytes
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
        send = _with_headers(send)
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
        archive = scope["method"] == "PUT" and ARCHIVES.search(scope["path"]) is not None
        limit = self._archive_limit if archive else self._limit
        told = self._body(scope, headers, limit, archive=archive)
        return self._bounded(receive, limit) if told is None else receive

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

    def _body(self, scope: AsgiScope, headers: Headers, limit: int, *, archive: bool) -> int | None:
        """The body's announced length; None when it is not announced and must be counted."""
        told = headers.get("content-length")
        if told is None and "transfer-encoding" not in headers:
            return 0
        if told == "0":
            return 0
        if told is not None and not told.isdigit():
            raise BadRequest("Content-Length is not a number")
        if told is not None and int(told) > limit:
            raise _too_large(limit, archive=archive)
        media = headers.get("content-type", "").split(";")[0].strip().lower()
        polling = scope["path"].startswith("/socket.io")
        image = media.startswith("image/") and FRAMES.search(scope["path"])
        packed = archive and media == "application/zip"
        json = media == "application/json" or media.endswith("+json")
        if not (polling or image or packed or json):
            raise UnsupportedMedia(
                f"bodies must be JSON, this one says {media or 'nothing'}",
                detail="Send “Content-Type: application/json”.",
                details={"content_type": media or None},
            )
        return int(told) if told is not None else None

    def _bounded(self, receive: Receive, limit: int) -> Receive:
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body") or b"")
            if seen > limit:
                raise _too_large(limit)
            return message

        return bounded


def _too_large(limit: int, *, archive: bool = False) -> TooLarge:
    return TooLarge(
        f"a body may have at most {limit:,} bytes",
        code="body_too_large",
        detail="training.max_archive_bytes allows larger ones."
        if archive
        else "Send fewer records at a time.",
        details={"limit": limit},
    )


def _with_headers(send: Send) -> Send:
    """`send`, with what keeps a browser from making more of an answer than it is."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message.setdefault("headers", [])
            have = {name for name, _ in headers}
            message["headers"] = [*headers, *(h for h in USUAL if h[0] not in have)]
        await send(message)

    return sending


class Authority:
    """Turns requests and sockets into grants.

    Attributes:
        doors: which hosts and origins may knock.
        keeper: asks open sockets again whether they may stay.
        limits: how much is too much.
    """

    def __init__(self, access: Access, settings: Settings, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self.doors = Doors(
            settings.host, settings.security.allowed_hosts, settings.security.cors_origins
        )
        self.keeper = Keeper(access, clock)
        self.limits = Limits(settings, clock)

    def require(self, scope: Scope, *, noted: bool = False) -> Any:
        """The dependency that lets a request through only with a right; gives its `Grant`.

        A token bound to one session (or evaluation) opens only that one's routes.

        Args:
            noted: the audit trail has it too where the scope is none of those it always has.
        """
        # The scope is named here too, for the API's description.
        asked = Security(HTTPBearer(auto_error=False, scheme_name="token"), scopes=[scope])

        async def granted(
            request: Request,
            credentials: HTTPAuthorizationCredentials | None = asked,
        ) -> Grant:
            request.scope[NOTED] = noted
            grant = await self.admit(request.scope, credentials, scope)
            where = request.path_params
            grant.check(scope, where.get("session_id"), where.get("evaluation_id"))
            return grant

        return Depends(granted)

    def anybody(self) -> Any:
        """The dependency that lets through whoever has a grant at all; gives it."""
        bearer = HTTPBearer(auto_error=False, scheme_name="token")

        async def granted(
            request: Request,
            credentials: HTTPAuthorizationCredentials | None = Depends(bearer),
        ) -> Grant:
            return await self.admit(request.scope, credentials, None)

        return Depends(granted)

    def visitor(self) -> Any:
        """The dependency that lets everybody through, also who has no account: gives the grant of
        the token that was sent, if any."""

        async def granted(request: Request) -> Grant:
            where = request.scope
            where[ASKED] = None
            told = request.headers.get("authorization")
            if told is None and self._access.enabled:
                grant = STRANGER
            else:
                grant = await self.of_header(told.encode("latin-1") if told is not None else None)
            where[GRANT] = grant
            await self.limits.request(grant, address_of(where))
            return grant

        return Depends(granted)

    def require_in_room(self, scope: Scope) -> Any:
        """The same as `require`, for routes of a room (`code`): the right must hold for its
        session."""
        asked = Security(HTTPBearer(auto_error=False, scheme_name="token"), scopes=[scope])

        async def granted(
            request: Request,
            credentials: HTTPAuthorizationCredentials | None = asked,
        ) -> Grant:
            grant = await self.admit(request.scope, credentials, scope)
            code = normal(str(request.path_params["code"]))
            if credentials is None:  # whoever comes without a token may be trying codes
                room: Standing | None = await self.room(code, address_of(request.scope))
            else:
                room = await self._room(code)
            grant.check(scope, room.session_id if room is not None else None)
            if room is None:
                raise no_room(code)
            return grant

        return Depends(granted)

    async def room(self, code: str, address: str) -> Standing:
        """The open room of a code; asking for one that is not there counts as a guess.

        Raises:
            NotFound: there is none.
            TooMany: there were too many guesses from this address.
        """
        code = normal(code)
        async with self.limits.look_up(address, "room_not_found"):
            room = await self._room(code)
            if room is None:
                raise no_room(code)
            return room

    async def _room(self, code: str) -> Standing | None:
        room = self._access.room(code)
        if room is None and await self._access.learn():
            room = self._access.room(code)
        return room

    async def admit(
        self,
        where: AsgiScope,
        credentials: HTTPAuthorizationCredentials | None,
        scope: Scope | None,
    ) -> Grant:
        """The grant of a request, counted and left for the audit trail.

        Raises:
            Unauthenticated: see `Access.grant`.
            TooMany: there were too many.
        """
        where[ASKED] = scope
        grant = await self.of_token(credentials.credentials if credentials else None)
        where[GRANT] = grant
        await self.limits.request(grant, address_of(where))
        return grant

    async def of_token(self, token: str | None) -> Grant:
        """The grant that goes with a token (or none).

        Raises:
            Unauthenticated, Forbidden, Gone: see `Access.grant`.
        """
        try:
            return self._access.grant(token)
        except GrandstandError:
            # Perhaps it was made a moment ago, by somebody else.
            if token is None or not await self._access.learn():
                raise
        return self._access.grant(token)

    async def of_header(self, authorization: bytes | None) -> Grant:
        """The grant that goes with an Authorization header (or none).

        Raises:
            Unauthenticated, Forbidden, Gone: see `Access.grant`.
        """
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return await self.of_token(None)
        return await self.of_token(authorization[7:].strip().decode("latin-1"))

    async def accept(self, websocket: WebSocket) -> None:
        """Accept a socket before anything of it is looked at: refused earlier, a browser would see
        a bare 403 and nobody could tell it why."""
        offered = websocket.scope.get("subprotocols") or []
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)

    async def authorize_socket(
        self, websocket: WebSocket, scope: Scope, session_id: str | None
    ) -> Grant:
        """The grant of an accepted socket: from its header, its subprotocols, its `token` query
        parameter or, where it brings none and needs one, its first message.

        Raises:
            GrandstandError: with the close code that refuses it.
        """
        self.doors.check(websocket.headers)
        await self.limits.connection(address_of(websocket.scope))
        token = _brought(websocket)
        try:
            grant = await self.of_token(token)
            grant.check(scope, session_id)
        except Unauthenticated:
            if token is not None:
                raise
            grant = await self.of_token(await self._first_message(websocket))
            grant.check(scope, session_id)
        return grant

    async def _first_message(self, websocket: WebSocket) -> str | None:
        """The token of a socket that says it first of all; None when it says something else."""
        first = asyncio.ensure_future(websocket.receive())
        bound = asyncio.ensure_future(self._clock.sleep(FIRST_MESSAGE_SECONDS))
        try:
            await asyncio.wait((first, bound), return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                return None
            text = first.result().get("text")
        finally:
            first.cancel()
            bound.cancel()
        return token_in(text) if text is not None and len(text) <= MOST_TOKEN else None


def token_in(text: str) -> str | None:
    """The token of a message ``{"type": "authorize", "token": …}``; None of any other."""
    try:
        told = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(told, dict) or told.get("type") != "authorize":
        return None
    token = told.get("token")
    return token if isinstance(token, str) else None


def _brought(websocket: WebSocket) -> str | None:
    header = websocket.headers.get("authorization", "")
    if header.lower().startswith("bearer "):
        return str(header[7:].strip())
    for offered in websocket.scope.get("subprotocols") or []:
        if offered.startswith(TOKEN_PROTOCOL):
            return str(offered[len(TOKEN_PROTOCOL) :])
    return websocket.query_params.get("token")


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:  # such as [::1
        return ""
