"""Serving beside other code, on an event loop that somebody else runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

from starlette.types import ASGIApp

from grandstand.assembly import Assembly
from grandstand.errors import Unavailable
from grandstand.settings import Settings
from grandstand.web.server import Server, bind, url_of, uvicorn_config

START_SECONDS = 30.0


class _Guest(Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # Ctrl-C belongs to whoever runs the loop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:  # uvicorn's way to say so; it would end the host's event loop
            self.should_exit = True


class Beside:
    """A server that is started and stopped by other code.

    Args:
        settings: host, port and the rest.
        house: what it serves; opened and closed by the app's lifespan.
        app: from `make_app(house)`.

    Raises:
        OSError: the address cannot be listened at.
    """

    def __init__(self, settings: Settings, house: Assembly, app: ASGIApp) -> None:
        self._house = house
        self._listeners: list[socket.socket] = bind(settings.host, settings.port)
        self.url = url_of(settings.host, self._listeners[0])
        config = uvicorn_config(app, settings)
        self._server = _Guest(config, house)
        self._serving: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Return once it answers and takes jobs.

        Raises:
            Unavailable: it does not come up; the log says why.
        """
        self._serving = asyncio.create_task(self._server.serve(sockets=self._listeners))
        clock = self._house.clock
        until = clock.monotonic() + START_SECONDS
        while not self._server.started:
            if self._serving.done() or clock.monotonic() > until:
                await self.aclose()
                raise Unavailable(
                    "the server did not start; its log says why", code="server_failed"
                )
            await clock.sleep(0.01)
        await self._house.supervise(self.url)

    async def aclose(self) -> None:
        """Have workers leave, answer what is under way, close."""
        self._server.should_exit = True
        try:
            if self._serving is not None:
                await self._serving
        finally:
            for listener in self._listeners:
                listener.close()
