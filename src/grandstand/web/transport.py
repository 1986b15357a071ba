"""The WebSocket protocol uvicorn speaks for us: its transport may be written to and read from past
the ASGI application.

One write to a socket is what a delivery costs; everything above it (a task, a queue, an awaited
send) costs more than the write itself. So the protocol puts a `Wire` into the ASGI scope, under
``extensions["grandstand.transport"]``: the hub hands it finished frames, the same bytes for every
spectator. Handshake, pings, what spectators send and closing stay uvicorn's.

A reporter may send tens of thousands of frames a second, and uvicorn's way with a frame (a parser
made of generators, a queue) costs more than the record in it costs everybody else. So `Wire.listen`
takes plain frames straight out of the stream; everything else in it still passes the parser.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from starlette.types import Scope
from uvicorn._types import ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from grandstand.live.frames import brief
from grandstand.live.outbox import SOFT_BYTES
from grandstand.settings import Settings
from grandstand.web.stream import Stream

EXTENSION = "grandstand.transport"
SEND_BUFFER_BYTES = 128 * 1024
UNSENT_BYTES = 32 * 1024
"""Bytes the kernel takes that it cannot send yet. Left alone it would take megabytes, and a
spectator on a slow line would watch a minute-old training without anybody noticing."""
CLOSE_SECONDS = 3.0
"""How long a closed connection may take to say goodbye before it is cut."""


Taker: TypeAlias = Callable[[list[bytes]], None]
"""Takes the payloads of frames as they arrive, in order."""


class Wire:
    """A connection whose frames may be written directly (see `live.outbox.Wire`) and read so."""

    def __init__(self, protocol: WireProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.waiting = protocol.transport.get_write_buffer_size
        self.closed = False

    async def drained(self) -> None:
        await self._protocol.writable.wait()

    def listen(self, take: Taker) -> None:
        """Hand what the client sends to `take`, beginning with what has arrived already.

        From now on the application receives the disconnect alone.
        """
        self._protocol.hand_to(take)

    def hold(self, held: bool) -> None:
        """Stop reading, or go on; what the client sends meanwhile waits in the kernels."""
        self._protocol.hold(held)

    def close(self, code: int, reason: str) -> None:
        self._protocol.close_with(code, reason)

    def abort(self) -> None:
        """Cut the connection."""
        self.closed = True
        self._protocol.transport.abort()


class WireProtocol(WebSocketsSansIOProtocol):
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
        self._stream = Stream(config.ws_max_size)
        self._take: Taker | None = None

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

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:  # uvicorn hands the request over by itself
            super().data_received(data)
            return
        take = self._take
        for piece in self._stream.cut(data, take is not None):
            if isinstance(piece, bytes):
                super().data_received(piece)
            elif take is not None and not self.close_sent:
                take(piece)

    def send_receive_event_to_app(self) -> None:
        if self._take is None:
            super().send_receive_event_to_app()
            return
        message, self.frames = b"".join(self.frames), []
        if not self.close_sent:
            self._take([message])

    def hand_to(self, take: Taker) -> None:
        """See `Wire.listen`."""
        early: list[Any] = []
        rest: list[Any] = []
        while not self.queue.empty():
            message = self.queue.get_nowait()
            (early if message["type"] == "websocket.receive" else rest).append(message)
        for message in rest:
            self.queue.put_nowait(message)
        self._take = take
        self.hold(False)
        if early:
            take([_payload(message) for message in early])

    def hold(self, held: bool) -> None:
        """See `Wire.hold`."""
        if held is self.read_paused or self.close_sent or self.transport.is_closing():
            return
        self.read_paused = held
        if held:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

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


def _payload(message: Any) -> bytes:
    text = message.get("text")
    return text.encode() if text is not None else cast(bytes, message["bytes"])


def protocol_class() -> type[asyncio.Protocol]:
    """What uvicorn's `ws` setting takes."""
    return WireProtocol


def frame_bytes(settings: Settings) -> int:
    """What uvicorn's `ws_max_size` takes: the size beyond which a connection is closed.

    Twice what a frame may have, so that one a little too large is refused in words.
    """
    return 2 * settings.performance.max_body_bytes


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
