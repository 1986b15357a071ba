"""What waits to reach one spectator: bounded, and never awaited by whoever sends.

Two ways out. `WireOutbox` writes finished frames straight to the connection's transport, where
the server hands it out (web/transport.py). `QueueOutbox` works under any ASGI server: a queue and
a task that sends. Both keep the same promises, and the same tests hold them to it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from grandstand.live.frames import Binary, Parcel

SOFT_BYTES = 64 * 1024
"""More than this on its way to one spectator, and it is set aside until it has read."""
TOO_SLOW = 4508
ROOM_BYTES = SOFT_BYTES // 4
"""With no more than this on its way there is room: for whoever was set aside, and for a frame."""


class Outbox(Protocol):
    """A spectator's end of the hub."""

    closed: bool
    """Whether anything put in can still arrive."""

    def put(self, parcel: Parcel, limit: int = SOFT_BYTES) -> bool:
        """Send `parcel` on its way; returns at once.

        Returns:
            False, having taken nothing, when more than `limit` bytes are waiting already or the
            outbox is closed. A parcel may exceed the limit by itself: it has to go somehow.
        """

    def show(self, binary: Binary) -> bool:
        """Send a binary message on its way if there is room; returns at once.

        Its size is not held against what is put in behind it: a large one makes nobody slow.

        Returns:
            False, having taken nothing, when there is none.
        """

    def waiting(self) -> int:
        """Bytes put in that the kernel has not taken yet."""

    async def drained(self) -> None:
        """Return when there is room again, or nobody left to need it."""

    def close(self, code: int, reason: str) -> None:
        """Close the connection after what is waiting; returns at once, is safe to repeat."""


class Wire(Protocol):
    """A connection whose bytes may be written directly; see web/transport.py."""

    closed: bool

    def write(self, data: bytes, /) -> object:
        """Write whole frames."""

    def waiting(self) -> int:
        """Bytes written that the kernel has not taken yet."""

    async def drained(self) -> None:
        """Return when little is waiting, or the connection is gone."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; cut the connection if it is not answered within bounds."""


class WireOutbox:
    """Straight to the transport: no queue of its own, no task."""

    __slots__ = ("_shown", "_waiting", "_wire", "_write", "closed")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._write = wire.write
        self._waiting = wire.waiting
        self._shown = 0  # bytes of the binary message shown last
        self.closed = wire.closed

    def put(self, parcel: Parcel, limit: int = SOFT_BYTES) -> bool:
        # The size before the write: the loop may hand bytes to the kernel only at its turn's end.
        if self.closed or self._wire.closed or self._waiting() > limit + self._shown:
            return False
        if parcel.texts:
            self._write(parcel.wire)
        return True

    def show(self, binary: Binary) -> bool:
        if self.closed or self._wire.closed or self._waiting() > ROOM_BYTES:
            return False
        self._write(binary.wire)
        self._shown = len(binary.wire)
        return True

    def waiting(self) -> int:
        return self._waiting()

    async def drained(self) -> None:
        await self._wire.drained()

    def close(self, code: int, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self._wire.close(code, reason)


class QueueOutbox:
    """A queue and a task (`run`) that sends one message after the other.

    Args:
        send: sends one text message.
        end: closes the connection with a code and a reason.
        send_binary: sends one binary message; without it none are taken.
    """

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        end: Callable[[int, str], Awaitable[None]],
        send_binary: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> None:
        self._send = send
        self._end = end
        self._send_binary = send_binary
        self._queue: deque[bytes | Binary] = deque()
        self._bytes = 0
        self._shown = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._farewell: tuple[int, str] | None = None
        self._left = asyncio.Event()
        self.closed = False

    def put(self, parcel: Parcel, limit: int = SOFT_BYTES) -> bool:
        if self.closed or self._bytes > limit + self._shown:
            return False
        self._queue.extend(parcel.texts)
        self._take(parcel.size)
        return True

    def show(self, binary: Binary) -> bool:
        if self.closed or self._send_binary is None or self._bytes > ROOM_BYTES:
            return False
        self._queue.append(binary)
        self._shown = len(binary.payload)
        self._take(self._shown)
        return True

    def _take(self, size: int) -> None:
        self._bytes += size
        if self._bytes > ROOM_BYTES:
            self._room.clear()
        self._filled.set()

    def waiting(self) -> int:
        return self._bytes

    async def drained(self) -> None:
        await self._room.wait()

    def close(self, code: int, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self._farewell = (code, reason)
            self._left.set()
            self._filled.set()
            self._room.set()

    async def left(self) -> None:
        """Return when it has been closed; `run` may still be held up by a slow reader."""
        await self._left.wait()

    async def run(self) -> None:
        """Send until closed; ends when the farewell was said or the connection broke.

        After `close` only what is being sent already goes out: a spectator that does not read
        would keep the rest waiting, and comes back for it by seq anyway.
        """
        try:
            while self._farewell is None:
                await self._filled.wait()
                self._filled.clear()
                while self._queue and self._farewell is None:
                    self._bytes -= await self._send_one()
                    if self._bytes <= ROOM_BYTES:
                        self._room.set()
            # What a refusal or a restart leaves in the queue is short: a snapshot, an error.
            while self._queue and self._bytes <= SOFT_BYTES:
                await self._send_one()
            await self._end(*self._farewell)
        finally:
            self.closed = True
            self._room.set()
            self._left.set()

    async def _send_one(self) -> int:
        """Send the first of the queue; how many bytes it had."""
        message = self._queue.popleft()
        if not isinstance(message, Binary):
            await self._send(message.decode())
            return len(message)
        assert self._send_binary is not None
        await self._send_binary(message.payload)
        return len(message.payload)
