"""What a bus promises.

It carries news of what is already committed: a hint, fast and possibly lost. Whoever misses one
finds the same in the store by `seq`, so a bus need not be reliable, only quick and in order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from grandstand.model.frames import Frame
from grandstand.model.session import Session
from grandstand.model.telemetry import Record

logger = logging.getLogger("grandstand.bus")


@dataclass(slots=True, frozen=True)
class Committed:
    """Records were stored; they took `first_seq` to `last_seq`, in order, without a gap.

    The rows of one columnar record take consecutive seqs.
    """

    session_pk: int
    session_id: str
    first_seq: int
    last_seq: int
    records: Sequence[Record]
    at: datetime


@dataclass(slots=True, frozen=True)
class Changed:
    """A session's own row changed in a way a watcher sees (status, wish, name …)."""

    session: Session


@dataclass(slots=True, frozen=True)
class Deleted:
    """A session is gone; its sockets close with 4410."""

    session_id: str


@dataclass(slots=True, frozen=True)
class Shown:
    """A frame of the agent at play was taken; it is kept nowhere but in the galleries."""

    session_id: str
    frame: Frame


@dataclass(slots=True, frozen=True)
class Present:
    """Who watches a session at one instance, told again every few seconds.

    Attributes:
        instance: where.
        names: of spectators without a seat in a room, and how often.
        seats: the seats of a room that are sat on, and their names.
    """

    instance: str
    session_id: str
    names: dict[str, int]
    seats: dict[str, str]


@dataclass(slots=True, frozen=True)
class Rights:
    """Tokens, users, keys or seats changed in the database: read them again."""


@dataclass(slots=True, frozen=True)
class Missed:
    """News of other instances may have been lost: whoever cares looks in the store."""


News: TypeAlias = Committed | Changed | Deleted | Shown | Present | Rights | Missed
Listener: TypeAlias = Callable[[News], None]


class Bus(Protocol):
    """Publish and hear.

    Attributes:
        instance: names this server among those on the bus.
        alone: whether nobody else can be on it.
    """

    instance: str
    alone: bool

    async def open(self) -> None:
        """Begin to hear others; returns at once, whether they can be reached or not."""

    def publish(self, news: News) -> None:
        """Tell every listener; returns at once. News of one session arrive in the order told.

        Listeners of this instance have heard when it returns, the others hear as soon as may be.
        """

    def subscribe(self, listener: Listener, *, own: bool = False) -> Callable[[], None]:
        """Call `listener` on the event loop for every news from now on; it must not block.

        Args:
            own: only for what this instance told, for what is to be done once, not once at each.

        Returns:
            what ends the subscription.
        """

    def hear(self, news: News) -> None:
        """Tell this instance alone what it should have heard of others, as the store shows."""

    async def aclose(self) -> None:
        """Let go of connections; what waits is sent, if that can be done at once."""


class Listeners:
    """Those who hear in this process."""

    def __init__(self) -> None:
        self._all: list[tuple[Listener, bool]] = []

    def add(self, listener: Listener, own: bool) -> Callable[[], None]:
        """See `Bus.subscribe`."""
        entry = (listener, own)
        self._all.append(entry)

        def end() -> None:
            if entry in self._all:
                self._all.remove(entry)

        return end

    def tell(self, news: News, *, own: bool) -> None:
        """Call each at once, in the order they came."""
        for listener, only_own in tuple(self._all):
            if only_own and not own:
                continue
            try:
                listener(news)
            except Exception:
                # One listener's fault must cost neither the others nor the reporter, whose record
                # is committed already.
                logger.exception("a listener failed on %s", type(news).__name__)

    def clear(self) -> None:
        """Tell nobody any more."""
        self._all.clear()
