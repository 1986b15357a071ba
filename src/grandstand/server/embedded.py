"""The server as an object: run it and wait, or have it beside other code on the same event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from grandstand.client.transport import ASGIApp, AsgiTransport, HttpTransport, Transport
from grandstand.errors import GrandstandError, Unavailable, ValidationFailed
from grandstand.server.config import ServerConfig, ServerConfiguration

if TYPE_CHECKING:
    from grandstand.assembly import Assembly
    from grandstand.web.server import Server

log = logging.getLogger("grandstand.server")

START_SECONDS = 30.0


class TrainingMetricsServer:
    """A whole server.

    ``run()`` serves until Ctrl-C. ``start()`` and ``aclose()`` (or ``async with``) serve beside
    other code on the running event loop.

    Args:
        config: `ServerConfig` (short names), `ServerConfiguration` (nested), or None for the
            configuration file and environment alone.

    Attributes:
        settings: what it serves by.
        url: where it answers; None while it does not.

    Raises:
        ValidationFailed: settings with which no server can work, with what to do about each.
    """

    def __init__(self, config: ServerConfig | ServerConfiguration | None = None) -> None:
        from grandstand.settings import check

        config = config if config is not None else ServerConfig()
        self.settings = config.settings if isinstance(config, ServerConfig) else config
        self.url: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._house: Assembly | None = None
        self._app: ASGIApp | None = None
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._listeners: list[socket.socket] = []
        problems = check(self.settings)
        errors = [p for p in problems if p.severity == "error"]
        if errors:
            raise ValidationFailed(
                "\n".join(str(problem) for problem in errors),
                code="invalid_settings",
                details={"problems": [str(problem) for problem in errors]},
            )
        for problem in problems:
            log.warning("%s", problem)

    @property
    def app(self) -> ASGIApp:
        """The ASGI application, to serve or mount elsewhere; its lifespan opens and closes it."""
        if self._app is None:
            from grandstand.assembly import build
            from grandstand.web.app import make_app

            self._house = build(self.settings)
            self._app = make_app(self._house)
        return self._app

    @property
    def running(self) -> bool:
        """Whether it answers."""
        return self.url is not None

    def run(self) -> None:
        """Serve until Ctrl-C or SIGTERM.

        Raises:
            Unavailable: the address is taken, or not one of this machine's.
        """
        from grandstand.web.server import serve

        try:
            serve(self.settings, on_ready=self._ready)
        except OSError as error:
            raise _no_address(self.settings, error) from error
        finally:
            self.url = None

    async def start(self) -> str:
        """Serve on the running event loop; returns the URL once it answers. Twice is harmless.

        Raises:
            Unavailable: the address is taken, or the server does not come up.
        """
        if self.url is not None:
            return self.url
        import uvicorn

        from grandstand.web.server import Server, bind, url_of
        from grandstand.web.transport import protocol_class

        class Embedded(Server):
            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield  # Ctrl-C belongs to whoever embeds us

        try:
            self._listeners = bind(self.settings.host, self.settings.port)
        except OSError as error:
            raise _no_address(self.settings, error) from error
        config = uvicorn.Config(
            self.app,
            http="httptools",
            ws=protocol_class(),
            log_config=None,
            access_log=self.settings.debug,
            lifespan="on",
            timeout_graceful_shutdown=5,
            timeout_keep_alive=75,
            server_header=False,
        )
        assert self._house is not None
        self._server = Embedded(config, self._house)
        self._loop = asyncio.get_running_loop()
        self._serving = asyncio.create_task(self._server.serve(sockets=self._listeners))
        await self._until_started(self._server, self._serving)
        url = url_of(self.settings.host, self._listeners[0])
        await self._house.supervise(url)
        self._ready(url)
        return url

    async def aclose(self) -> None:
        """Stop serving: workers leave, what waits is stored, everything is closed."""
        if self._serving is None or self._server is None:
            return
        self.url = None
        self._server.should_exit = True
        serving, self._serving = self._serving, None
        try:
            await serving
        finally:
            for listener in self._listeners:
                listener.close()
            self._app = self._house = self._loop = None

    def transport(self, token: str | None = None) -> Transport:
        """A way in for an SDK client in this process; see `grandstand.connect(server)`.

        Raises:
            Unavailable: it is not running.
        """
        if self.url is None:
            raise Unavailable(
                "this server is not running yet",
                code="server_not_started",
                detail="Await server.start() first, or call server.run() in another thread.",
            )
        if self._loop is not None and self._app is not None:
            return AsgiTransport(self._app, self._loop, token)
        return HttpTransport(self.url, token)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _ready(self, url: str) -> None:
        self.url = url
        log.info("serving at %s", url)

    async def _until_started(self, server: Any, serving: asyncio.Task[None]) -> None:
        assert self._house is not None
        clock = self._house.clock
        until = clock.monotonic() + START_SECONDS
        while not server.started:
            if serving.done() or clock.monotonic() > until:
                server.should_exit = True
                await serving  # raises what kept it from starting, if anything did
                raise Unavailable(
                    "the server did not start; its log says why", code="server_failed"
                )
            await clock.sleep(0.01)


def _no_address(settings: ServerConfiguration, error: OSError) -> GrandstandError:
    where = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return Unavailable(
            f"{where} is in use by another program",
            code="address_in_use",
            detail="Give another port, or 0 for any free one, or stop the other program.",
        )
    return Unavailable(
        f"cannot listen at {where}: {error.strerror or error}",
        code="address_unavailable",
        detail="Give an address of this machine, such as 127.0.0.1, and a port above 1023.",
    )
