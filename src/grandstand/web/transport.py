"""The WebSocket protocol uvicorn speaks for us: it lets the hub write straight to the transport.

One write to a socket is what a delivery costs; everything above it (a task, a queue, an awaited
send) costs more than the write itself. So the protocol puts a `Wire` into the ASGI scope, under
``extensions["grandstand.transport"]``: the hub hands it finished frames, the same bytes for every
spectator. Handshake, pings, what the client sends and closing stay uvicorn's.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from typing import Any, cast

from starlette.types import Scope
from uvicorn._types import ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from grandstand.live.frames import brief
from grandstand.live.outbox import SOFT_BYTES

EXTENSION = "grandstand.transport"
SEND_BUFFER_BYTES = 128 * 1024
UNSENT_BYTES = 32 * 1024
"""Bytes the kernel takes that it cannot send yet. Left alone it would take megabytes, and a
spectator on a slow line would watch a minute-old training without anybody noticing."""
CLOSE_SECONDS = 3.0
"""How long a closed connection may take to say goodbye before it is cut."""


class Wire:
    """A connection whose frames may be written directly; see `live.outbox.Wire`."""

    def __init__(self, protocol: SpectatorProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.waiting = protocol.transport.get_write_buffer_size
        self.closed = False

    async def drained(self) -> None:
        await self._protocol.writable.wait()

    def close(self, code: int, reason: str) -> None:
        self._protocol.close_with(code, reason)

    def abort(self) -> None:
        """Cut the connection."""
        self.closed = True
        self._protocol.transport.abort()


class SpectatorProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's sans-I/O protocol, with a `Wire` and no compression.

    Compressed frames carry on from one another, so none could be shared between connections.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _logger
        self.close_timeout = CLOSE_SECONDS
        self.conn = type(self.conn)(max_size=config.ws_max_size, logger=_logger)
        self.wire: Wire | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=SOFT_BYTES, low=SOFT_BYTES // 4)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self.wire = Wire(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.wire is not None:
            self.wire.closed = True
        super().connection_lost(exc)

    async def run_asgi(self) -> None:
        extensions = cast("dict[str, Any]", self.scope["extensions"])
        extensions[EXTENSION] = self.wire
        await super().run_asgi()

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "websocket.close" and self.wire is not None:
            self.wire.closed = True
        await super().send(message)

    def shutdown(self) -> None:
        if self.wire is not None:
            self.wire.closed = True
        super().shutdown()

    def close_with(self, code: int, reason: str) -> None:
        """Send a close frame after what is waiting; cut the connection if that takes too long."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        assert self.wire is not None
        self.wire.closed = True
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.conn.state.name == "OPEN":  # else the client was first
            self.conn.send_close(code, brief(reason))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        # Not `transport.close`: that waits for a reader who may never read.
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)


def protocol_class() -> type[asyncio.Protocol]:
    """What uvicorn's `ws` setting takes."""
    return SpectatorProtocol


def wire_of(scope: Scope) -> Wire | None:
    """The wire of a WebSocket connection; None under another server."""
    wire = (scope.get("extensions") or {}).get(EXTENSION)
    return wire if isinstance(wire, Wire) else None


class _NoTokens(logging.Filter):
    """Uvicorn logs a socket's whole address, and a browser can put its token nowhere else."""

    _token = re.compile(r"([?&]token=)[^&\s\"]+")

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                self._token.sub(r"\1…", a) if isinstance(a, str) else a for a in record.args
            )
        return True


_logger = logging.getLogger("uvicorn.error.websocket")
_logger.addFilter(_NoTokens())
