"""Who watches a session, told to those who watch it, at most once a second."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grandstand.bus.base import Present
from grandstand.clock import Clock

QUIET_SECONDS = 1.0
"""Comings and goings are gathered for so long and told together."""
MOST_NAMES = 100


class Presence:
    """The names of a session's spectators.

    Args:
        tell: called with the data of a presence event when it is due.
        elsewhere: gives who watches at other instances.
        changed: called when somebody came or went here.
    """

    def __init__(
        self,
        clock: Clock,
        tell: Callable[[dict[str, Any]], None],
        elsewhere: Callable[[], Sequence[Present]] = tuple,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._tell = tell
        self._elsewhere = elsewhere
        self._changed = changed
        self._names: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._seats: Counter[str] = Counter()
        self._seated: dict[str, str] = {}
        self._timer: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """Spectators, those without a name counted too."""
        others = self._elsewhere()
        if not others:
            return self._names.total() + len(self._seated)
        return everybody(self._names, self._seated, others).total()

    @property
    def here_now(self) -> tuple[dict[str, int], dict[str, str]]:
        """Those at this instance: names without a seat in a room, and seats with theirs."""
        return dict(self._names), dict(self._seated)

    def join(self, name: str, who: str | None = None) -> None:
        """Somebody came.

        Args:
            who: whom several connections may belong to; they count as one spectator.
        """
        if who is not None:
            self._seats[who] += 1
            if self._seats[who] > 1:
                return
            self._seated[who] = name
        else:
            self._names[name] += 1
        self._changed()
        self.look()

    def here(self, who: str) -> bool:
        """Whether somebody is there already."""
        return who in self._seats or any(who in told.seats for told in self._elsewhere())

    def leave(self, name: str, who: str | None = None) -> None:
        """Somebody went; see `join`."""
        if who is not None:
            self._seats[who] -= 1
            if self._seats[who] > 0:
                return
            del self._seats[who]
            del self._seated[who]
        else:
            self._names[name] -= 1
            if self._names[name] <= 0:
                del self._names[name]
        self._changed()
        self.look()

    def close(self) -> None:
        """Tell nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> None:
        """Tell soon who is there, where that is not as it was."""
        if self._timer is None:
            self._timer = asyncio.create_task(self._soon())

    async def _soon(self) -> None:
        await self._clock.sleep(QUIET_SECONDS)
        self._timer = None
        now = everybody(self._names, self._seated, self._elsewhere())
        came, went = now - self._told, self._told - now
        if not came and not went:
            return
        self._told = now
        data: dict[str, Any] = {
            "event": "presence",
            "spectator_count": now.total(),
            "spectators": sorted(n for n in now if n)[:MOST_NAMES],
            "joined": sorted(n for n in came if n)[:MOST_NAMES],
            "left": sorted(n for n in went if n)[:MOST_NAMES],
        }
        moved = [(n, "joined") for n in came.elements()] + [(n, "left") for n in went.elements()]
        if len(moved) == 1 and moved[0][0]:
            data["user_name"], data["action"] = moved[0]
        self._tell(data)


def everybody(
    names: Mapping[str, int], seats: Mapping[str, str], others: Sequence[Present]
) -> Counter[str]:
    """How many of each name there are at all instances; a seat in a room counts once."""
    found = Counter(dict(names))
    seated = dict(seats)
    for told in others:
        found.update(told.names)
        seated = {**told.seats, **seated}
    found.update(seated.values())
    return found
