"""The server as an object: run it and wait, or have it beside other code on the same event loop."""

from __future__ import annotations

import asyncio
import errno
import logging
from types import TracebackType
from typing import TYPE_CHECKING, Self

from grandstand.client.in_process import ASGIApp, AsgiTransport
from grandstand.client.transport import HttpTransport, Transport
from grandstand.errors import GrandstandError, Unavailable, ValidationFailed
from grandstand.server.config import ServerConfig, ServerConfiguration

if TYPE_CHECKING:
    from grandstand.assembly import Assembly
    from grandstand.web.beside import Beside

log = logging.getLogger("grandstand.server")


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
        self._beside: Beside | None = None
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
        from grandstand.web.beside import Beside

        app = self.app
        assert self._house is not None
        try:
            self._beside = Beside(self.settings, self._house, app)
        except OSError as error:
            raise _no_address(self.settings, error) from error
        self._loop = asyncio.get_running_loop()
        await self._beside.open()
        self._ready(self._beside.url)
        return self._beside.url

    async def aclose(self) -> None:
        """Stop serving: workers leave, what waits is stored, everything is closed."""
        beside, self._beside, self.url = self._beside, None, None
        if beside is not None:
            await beside.aclose()
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
