"""Serving: sockets bound first, uvicorn on them, workers seen out before the doors close."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import socket
from collections.abc import Callable, Sequence

import uvicorn
from starlette.types import ASGIApp

from grandstand.assembly import Assembly, build
from grandstand.settings import Settings
from grandstand.web.app import make_app
from grandstand.web.http import HttpProtocol
from grandstand.web.transport import frame_bytes, protocol_class

logger = logging.getLogger("grandstand")

LEAVE_SECONDS = 9.0
"""From the word to stop until connections that do not end by themselves are cut."""
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - how workers reach us


class Server(uvicorn.Server):
    """Uvicorn, which sees everybody out before it ends.

    Spectators are asked to come back, a few at a time, while workers say goodbye through doors that
    stay open for them; then reporters, once what they sent is committed; then requests that are
    held are answered. Whoever does not answer is cut, and ten seconds after the word it is over.
    """

    def __init__(self, config: uvicorn.Config, house: Assembly) -> None:
        super().__init__(config)
        self._house = house

    async def main_loop(self) -> None:
        await super().main_loop()
        house = self._house
        until = house.clock.monotonic() + LEAVE_SECONDS
        if not house.supervisor.running:  # workers have to reach us until they are gone
            self._stop_listening()
        spectators = asyncio.create_task(house.hub.see_out())
        await house.drain()
        self._stop_listening()
        await spectators
        await house.hub.aclose()
        house.training.answer_held()
        left = until - house.clock.monotonic()
        self.config.timeout_graceful_shutdown = max(1, round(left))

    def _stop_listening(self) -> None:
        for server in self.servers:
            server.close()


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets listening at every address of `host`, all on one port.

    Args:
        port: 0 takes any free one.

    Raises:
        OSError: the port is taken, or the host is not one of this machine's.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise OSError(errno.EADDRNOTAVAIL, f"unknown host {host}") from error
    bound: list[socket.socket] = []
    # IPv4 first: it is what "localhost" means to most clients.
    for family, kind, protocol, _, address in sorted(found, key=lambda f: f[0] != socket.AF_INET):
        place = (address[0], bound[0].getsockname()[1] if bound else port, *address[2:])
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(place)
            listener.listen(2048)
            listener.setblocking(False)
        except OSError:
            listener.close()
            # A machine without IPv6 still has a localhost; the first address must work.
            if not bound:
                raise
            continue
        bound.append(listener)
    return bound


def reachable(host: str, port: int) -> str:
    """Where a browser or worker of this machine finds a server bound to `host`."""
    name = ANY_ADDRESS.get(host, host) or "127.0.0.1"
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def url_of(host: str, listener: socket.socket) -> str:
    """The same, for the port that a listener got."""
    return reachable(host, listener.getsockname()[1])


def uvicorn_config(app: ASGIApp | str, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves us, whoever runs it."""
    return uvicorn.Config(
        app,
        loop="auto",
        http=HttpProtocol,
        ws=protocol_class(),
        ws_max_size=frame_bytes(settings),
        ws_per_message_deflate=False,
        log_config=None,
        access_log=settings.debug,
        lifespan="on",
        timeout_graceful_shutdown=round(LEAVE_SECONDS),
        timeout_keep_alive=75,
        forwarded_allow_ips=settings.trusted_proxies or "127.0.0.1",
        proxy_headers=bool(settings.trusted_proxies),
        server_header=False,
    )


def serve(
    settings: Settings, *, demo: bool = False, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve until told to stop (Ctrl-C, SIGTERM).

    Args:
        demo: also run the demonstration.
        on_ready: called with the server's URL once it answers.

    Raises:
        OSError: the address cannot be listened at.
        Unavailable: the database cannot be opened.
    """
    listeners = bind(settings.host, settings.port)
    with contextlib.ExitStack() as stack:
        for listener in listeners:
            stack.callback(listener.close)
        serve_at(settings, listeners, demo=demo, on_ready=on_ready)


def serve_at(
    settings: Settings,
    listeners: Sequence[socket.socket],
    *,
    supervises: bool = True,
    demo: bool = False,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve at sockets that listen already, until told to stop.

    Args:
        supervises: take trainings; see `serve` for the rest.

    Raises:
        Unavailable: the database cannot be opened.
    """
    config = uvicorn_config("", settings)

    async def run() -> None:
        house = build(settings)
        config.app = make_app(house)
        server = Server(config, house)
        url = url_of(settings.host, listeners[0])

        async def when_up() -> None:
            while not server.started:
                await house.clock.sleep(0.01)
            _spare_the_collector()
            if supervises:
                await house.supervise(url, demo=demo)
            if on_ready is not None:
                on_ready(url)
            if house.access.nobody_yet:
                logger.warning(
                    "nobody can sign in yet: grandstand users add NAME --admin makes the first "
                    "account"
                )

        house.spawn(when_up())
        await server.serve(sockets=list(listeners))

    loop_factory = config.get_loop_factory()
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=loop_factory) as r:
        r.run(run())


def _spare_the_collector() -> None:
    """Have the garbage collector look at less, less often.

    What a server is made of stays to its end, and records hold no cycles; looking through all of
    it takes some 30 ms, and was a quarter of what a record cost.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
