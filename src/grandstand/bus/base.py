"""What a bus promises.

It carries news of what is already committed: a hint, fast and possibly lost. Whoever misses one
finds the same in the store by `seq`, so a bus need not be reliable, only quick and in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from grandstand.model.session import Session
from grandstand.model.telemetry import Record


@dataclass(slots=True, frozen=True)
class Committed:
    """Records were stored; they took `first_seq` to `last_seq`, in order, without a gap.

    The rows of one columnar record take consecutive seqs.
    """

    session_pk: int
    session_id: str
    first_seq: int
    last_seq: int
    records: tuple[Record, ...]
    at: datetime


@dataclass(slots=True, frozen=True)
class Changed:
    """A session's own row changed in a way a watcher sees (status, wish, name …)."""

    session: Session


@dataclass(slots=True, frozen=True)
class Deleted:
    """A session is gone; its sockets close with 4410."""

    session_id: str


News: TypeAlias = Committed | Changed | Deleted
Listener: TypeAlias = Callable[[News], None]


class Bus(Protocol):
    """Publish and hear."""

    def publish(self, news: News) -> None:
        """Tell every listener; returns at once. News of one session arrive in the order told."""

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on the event loop for every news from now on; it must not block.

        Returns:
            what ends the subscription.
        """

    async def aclose(self) -> None:
        """Let go of connections."""
