"""Who watches at other instances, as they tell of it every few seconds."""

from __future__ import annotations

from collections.abc import Callable

from grandstand.bus.base import Present
from grandstand.clock import Clock

TELL_SECONDS = 5.0
"""How often an instance tells who watches at it, changed or not."""
SOON_SECONDS = 0.25
"""Changes are gathered for so long."""
SILENT_SECONDS = 15.0
"""An instance that told nothing for so long counts no more: it died, or cannot be heard."""


class Elsewhere:
    """Sessions that are watched at other instances.

    Args:
        changed: called with a session's id when it is watched otherwise than before.
    """

    def __init__(self, clock: Clock, changed: Callable[[str], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._told: dict[str, dict[str, tuple[float, Present]]] = {}

    def hear(self, news: Present) -> None:
        """Take in what another instance tells."""
        told = self._told.setdefault(news.session_id, {})
        before = told.pop(news.instance, None)
        if news.names or news.seats:
            told[news.instance] = self._clock.monotonic(), news
        if not told:
            del self._told[news.session_id]
        if before is None or before[1] != news:
            self._changed(news.session_id)

    def of(self, session_id: str) -> list[Present]:
        """What each of the others told of a session."""
        return [news for _, news in self._told.get(session_id, {}).values()]

    def forget_silent(self) -> None:
        """Count those no more who told nothing for too long."""
        limit = self._clock.monotonic() - SILENT_SECONDS
        for session_id, told in tuple(self._told.items()):
            silent = [instance for instance, (at, _) in told.items() if at < limit]
            for instance in silent:
                del told[instance]
            if not told:
                del self._told[session_id]
            if silent:
                self._changed(session_id)
