"""The bus of a single process: a list of listeners."""

from __future__ import annotations

import logging
from collections.abc import Callable

from grandstand.bus.base import Listener, News

logger = logging.getLogger("grandstand.bus")


class MemoryBus:
    """Calls each listener at once, in the order they came."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def publish(self, news: News) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(news)
            except Exception:
                # One listener's fault must cost neither the others nor the reporter, whose record
                # is committed already.
                logger.exception("a listener failed on %s", type(news).__name__)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    async def aclose(self) -> None:
        self._listeners.clear()
