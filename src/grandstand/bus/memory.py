"""The bus of a single process: a list of listeners."""

from __future__ import annotations

from collections.abc import Callable

from grandstand.bus.base import Listener, Listeners, News
from grandstand.model.session import new_id


class MemoryBus:
    """Calls each listener at once, in the order they came."""

    alone = True

    def __init__(self) -> None:
        self.instance = new_id()
        self._listeners = Listeners()

    async def open(self) -> None:
        """Nobody else is there to be heard."""

    def publish(self, news: News) -> None:
        self._listeners.tell(news, own=True)

    def subscribe(self, listener: Listener, *, own: bool = False) -> Callable[[], None]:
        return self._listeners.add(listener, own)

    def hear(self, news: News) -> None:
        self._listeners.tell(news, own=False)

    async def aclose(self) -> None:
        self._listeners.clear()
