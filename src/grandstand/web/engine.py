"""The way from the hub to a Socket.IO client, past the library's queues where that is possible.

python-socketio keeps handshake, long polling, acknowledgements and pings. Its emit makes a task
for every client and queues without bound; so what the hub has to say goes out by `EngineOutbox`:
finished frames straight to the transport once the client is on a WebSocket, and packets in the
library's queue, counted, while it polls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import engineio
from engineio.packet import MESSAGE, NOOP, Packet

from grandstand.live.frames import Binary, Parcel
from grandstand.live.outbox import SOFT_BYTES
from grandstand.web.transport import Wire

POLL_PACKETS = 10
"""Clients take 16 packets from one poll; acknowledgements and pings want some of them."""


class EngineOutbox:
    """One Socket.IO client's end of the hub; see `live.outbox.Outbox`.

    Texts are whole Engine.IO packets: ``42["event",{…}]``.

    Args:
        wires: the WebSocket connections of clients, by Engine.IO sid, as they come and go.
        cut: ends the connection of a client that has no wire.
        spawn: runs a coroutine beside the server.
    """

    def __init__(
        self,
        engine: engineio.AsyncServer,
        eio_sid: str,
        wires: Mapping[str, Wire],
        cut: Callable[[], Coroutine[Any, Any, None]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._engine = engine
        self.eio_sid = eio_sid
        self._wires = wires
        self._cut = cut
        self._spawn = spawn
        self._wire: Wire | None = None
        self._backlog: deque[bytes] = deque()
        self._bytes = 0
        self._feeder: asyncio.Task[None] | None = None
        self.closed = False

    def put(self, parcel: Parcel, limit: int = SOFT_BYTES) -> bool:
        if self.closed:
            return False
        if (wire := self._wire) is not None:
            if wire.closed or wire.waiting() > limit:
                return False
            if parcel.texts:
                wire.write(parcel.wire)
            return True
        if self._upgraded() is not None or self._bytes > limit or self._socket() is None:
            return False
        self._backlog.extend(parcel.texts)
        self._bytes += parcel.size
        if self._backlog and self._feeder is None:
            self._feeder = asyncio.create_task(self._feed())
        return True

    def show(self, binary: Binary) -> bool:
        """Frames do not go to Socket.IO clients, and none can ask for them."""
        return False

    def waiting(self) -> int:
        return self._bytes if self._wire is None else self._wire.waiting()

    async def drained(self) -> None:
        if self._wire is not None:
            await self._wire.drained()
        elif (wire := self._upgraded()) is not None:
            await self._switch(wire)
        elif self._feeder is not None:
            await asyncio.wait((self._feeder,))

    def close(self, code: int, reason: str) -> None:
        if self.closed:
            return
        self.end()
        wire = self._wire or self._wires.get(self.eio_sid)
        if wire is not None:
            wire.close(code, reason)
        else:
            self._spawn(self._cut())

    def end(self) -> None:
        """Take nothing more: the connection is gone, or is about to be closed."""
        self.closed = True
        if self._feeder is not None:
            self._feeder.cancel()

    def _socket(self) -> Any:
        socket = self._engine.sockets.get(self.eio_sid)
        return None if socket is None or socket.closed else socket

    def _upgraded(self) -> Wire | None:
        """The wire to go on with, once the client has left polling behind."""
        wire, socket = self._wires.get(self.eio_sid), self._socket()
        if wire is None or socket is None or not socket.upgraded or socket.upgrading:
            return None
        return wire

    async def _switch(self, wire: Wire) -> None:
        """Go on with direct writes, once the library has sent all it had queued."""
        if (socket := self._socket()) is None:
            return
        if self._feeder is not None:
            self._feeder.cancel()
        while self._backlog:
            self._queue(socket)
        barrier = _Barrier()
        socket.queue.put_nowait(barrier)
        await barrier.reached.wait()
        self._wire = wire

    async def _feed(self) -> None:
        """Hand the backlog to the library, so much at a time as one poll may bring."""
        try:
            while self._backlog and (socket := self._socket()) is not None:
                size = 0
                for _ in range(min(len(self._backlog), POLL_PACKETS)):
                    size += self._queue(socket)
                await socket.queue.join()
                self._bytes -= size
        finally:
            self._feeder = None

    def _queue(self, socket: Any) -> int:
        text = self._backlog.popleft()
        socket.queue.put_nowait(Packet(MESSAGE, text[1:].decode()))
        return len(text)


class _Barrier(Packet):  # type: ignore[misc]
    """A packet without meaning that notes when the library's writer comes to it."""

    def __init__(self) -> None:
        super().__init__(NOOP)
        self.reached = asyncio.Event()

    def encode(self, b64: bool = False) -> Any:
        self.reached.set()
        return super().encode(b64)
