"""One spectator's place in one session's stand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grandstand.live.dialects import Dialect
from grandstand.live.frames import Parcel
from grandstand.live.outbox import TOO_SLOW, Outbox
from grandstand.model.session import new_id

if TYPE_CHECKING:
    from grandstand.live.group import Group
    from grandstand.live.stand import Stand


class Seat:
    """A spectator: in a group and live, or on the way there from `position`.

    Attributes:
        id: names the connection to its client.
        who: whose seat in a room it is.
        counted: whether it is one of the session's spectators.
        types: message types it gets.
        max_hz: its rate, 0 for every row.
        frames: whether it gets frames of the agent at play; see `Stand.show_frames`.
        position: the seq it has everything up to; kept only while it is in no group.
    """

    def __init__(
        self,
        stand: Stand,
        name: str,
        outbox: Outbox,
        dialect: Dialect,
        types: frozenset[str],
        max_hz: float,
        *,
        counted: bool,
        who: str | None = None,
    ) -> None:
        self.id = new_id()
        self.stand = stand
        self.name = name
        self.who = who
        self.outbox = outbox
        self.dialect = dialect
        self.types = types
        self.max_hz = max_hz
        self.frames = False
        self.counted = counted
        self.position = 0
        self.group: Group | None = None
        self.following: asyncio.Task[None] | None = None
        self.gone = False

    def say(self, payload: bytes) -> None:
        """Send a message that is this seat's alone; one that never reads is let go."""
        if self.outbox.closed:
            return
        if not self.outbox.put(Parcel([payload]), self.stand.queue_bytes):
            self.leave(TOO_SLOW, "too slow; come back with since")

    def leave(self, code: int, reason: str) -> None:
        """Close its connection; whoever serves it takes it out of the hub then."""
        if code == TOO_SLOW and not self.gone:
            self.stand.measures.too_slow += 1
        self.stand.drop(self)
        self.outbox.close(code, reason)
