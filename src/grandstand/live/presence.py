"""Who watches a session, told to those who watch it, at most once a second."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from grandstand.clock import Clock

QUIET_SECONDS = 1.0
"""Comings and goings are gathered for so long and told together."""
MOST_NAMES = 100


class Presence:
    """The names of a session's spectators.

    Args:
        tell: called with the data of a presence event when it is due.
    """

    def __init__(self, clock: Clock, tell: Callable[[dict[str, Any]], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._names: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._seats: Counter[str] = Counter()
        self._timer: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """Spectators, those without a name counted too."""
        return self._names.total()

    def join(self, name: str, who: str | None = None) -> None:
        """Somebody came.

        Args:
            who: whom several connections may belong to; they count as one spectator.
        """
        if who is not None:
            self._seats[who] += 1
            if self._seats[who] > 1:
                return
        self._names[name] += 1
        self._schedule()

    def here(self, who: str) -> bool:
        """Whether somebody is there already."""
        return who in self._seats

    def leave(self, name: str, who: str | None = None) -> None:
        """Somebody went; see `join`."""
        if who is not None:
            self._seats[who] -= 1
            if self._seats[who] > 0:
                return
            del self._seats[who]
        self._names[name] -= 1
        if self._names[name] <= 0:
            del self._names[name]
        self._schedule()

    def close(self) -> None:
        """Tell nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = asyncio.create_task(self._soon())

    async def _soon(self) -> None:
        await self._clock.sleep(QUIET_SECONDS)
        self._timer = None
        came, went = self._names - self._told, self._told - self._names
        if not came and not went:
            return
        self._told = Counter(self._names)
        data: dict[str, Any] = {
            "event": "presence",
            "spectator_count": self.count,
            "spectators": sorted(n for n in self._names if n)[:MOST_NAMES],
            "joined": sorted(n for n in came if n)[:MOST_NAMES],
            "left": sorted(n for n in went if n)[:MOST_NAMES],
        }
        moved = [(n, "joined") for n in came.elements()] + [(n, "left") for n in went.elements()]
        if len(moved) == 1 and moved[0][0]:
            data["user_name"], data["action"] = moved[0]
        self._tell(data)
