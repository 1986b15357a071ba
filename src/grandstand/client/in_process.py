"""Requests straight into an ASGI app in this process, without a socket between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from grandstand.client.handshake import USER_AGENT
from grandstand.client.transport import JSON, TIMEOUT_SECONDS, Reply, unreachable
from grandstand.errors import GrandstandError, Unavailable

ASGIApp: TypeAlias = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]

HERE: Final = "the server in this process"


class Told:
    """The headers of an answer."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._headers = {name.lower(): value for name, value in headers}

    def get(self, name: str, /) -> str | None:
        """The value of a header, or None."""
        value = self._headers.get(name.lower().encode())
        return value.decode("latin-1") if value is not None else None


class AsgiTransport:
    """Requests straight into an ASGI app that lives on an event loop of this process.

    Args:
        app: the ASGI app, already started.
        loop: the running loop it lives on.
        token: bearer token, or None.
    """

    def __init__(
        self, app: ASGIApp, loop: asyncio.AbstractEventLoop, token: str | None = None
    ) -> None:
        self._app = app
        self._loop = loop
        self._token = token

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        repeatable: bool = False,
        media_type: str = JSON,
    ) -> Reply:
        """See `Transport.request`; never from the app's own loop, which it would hold."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            raise GrandstandError(
                "this call would wait for the event loop it is holding",
                code="called_from_the_loop",
                detail="In async code use grandstand.connect_async and await it.",
            )
        if self._loop.is_closed():
            raise unreachable(HERE, "its event loop has ended")
        future = asyncio.run_coroutine_threadsafe(
            self._ask(method, path, body, media_type), self._loop
        )
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise unreachable(HERE, f"no answer within {timeout:g} s") from None

    async def _ask(self, method: str, path: str, body: bytes | None, media_type: str) -> Reply:
        path, _, query = path.partition("?")
        content = body or b""
        headers = [
            (b"host", b"127.0.0.1"),
            (b"content-type", media_type.encode()),
            (b"content-length", str(len(content)).encode()),
            (b"user-agent", USER_AGENT.encode()),
        ]
        if self._token:
            headers.append((b"authorization", f"Bearer {self._token}".encode()))
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        asked = False
        answered = asyncio.Event()
        status = 500
        told = Told()
        parts: list[bytes] = []

        async def receive() -> MutableMapping[str, Any]:
            nonlocal asked
            if asked:
                await answered.wait()
                return {"type": "http.disconnect"}
            asked = True
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status, told
            if message["type"] == "http.response.start":
                status = message["status"]
                told = Told(message.get("headers") or ())
            elif message["type"] == "http.response.body":
                parts.append(bytes(message.get("body") or b""))
                if not message.get("more_body"):
                    answered.set()

        await self._app(scope, receive, send)
        return Reply(status, b"".join(parts), told, HERE)

    def twin(self) -> AsgiTransport:
        """See `Transport.twin`."""
        return self

    def bearing(self, token: str | None) -> AsgiTransport:
        """See `Transport.bearing`."""
        return AsgiTransport(self._app, self._loop, token)

    def close(self) -> None:
        """See `Transport.close`; there is no connection."""


class AppThread:
    """A bare ASGI app, started on an event loop of its own in a thread, until `close()`.

    Raises:
        Unavailable: the app refused to start, with its reason.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._started = threading.Event()
        self._refusal: str | None = None
        self._thread = threading.Thread(target=self._run, name="grandstand-app", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._refusal is not None:
            raise Unavailable(f"the app did not start: {self._refusal}", code="app_failed")

    def _run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        told: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()

        asked = False

        async def receive() -> MutableMapping[str, Any]:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "lifespan.startup"}
            await self._stop.wait()
            return {"type": "lifespan.shutdown"}

        async def live() -> None:
            scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
            try:
                await self.app(scope, receive, told.put)
            except Exception as error:
                # An app without lifespan raises here, which the protocol allows.
                refused = {"type": "lifespan.ended", "message": repr(error)}
                await told.put(refused)

        life = asyncio.create_task(live())
        answer: Mapping[str, Any] = await told.get()
        if answer["type"] == "lifespan.startup.failed":
            self._refusal = str(answer.get("message") or "no reason given")
        self._started.set()
        if self._refusal is None:
            await self._stop.wait()
        await life

    def close(self) -> None:
        """Shut the app down and wait for it."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
