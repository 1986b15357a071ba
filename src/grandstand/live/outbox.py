"""What waits to be sent to one spectator: bounded, never awaited by the sender."""

from __future__ import annotations

import asyncio
from collections import deque


class Outbox:
    """A queue of messages of at most `limit` bytes.

    Whoever fills it never waits; when it would grow over its limit it says so, and its owner is
    let go with a code that says "come back": the store has what was missed.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[bytes] = deque()
        self._filled = asyncio.Event()
        self.bytes = 0
        self.overflowed = False

    def put(self, frame: bytes) -> bool:
        """Queue a message; False once it has overflowed (then nothing is queued any more)."""
        if self.overflowed:
            return False
        if self.bytes + len(frame) > self._limit:
            self.overflowed = True
            self._filled.set()
            return False
        self._waiting.append(frame)
        self.bytes += len(frame)
        self._filled.set()
        return True

    async def get(self) -> bytes | None:
        """The next message, once there is one; None when it has overflowed."""
        while not self._waiting and not self.overflowed:
            self._filled.clear()
            await self._filled.wait()
        if self.overflowed:
            return None
        frame = self._waiting.popleft()
        self.bytes -= len(frame)
        return frame
