"""Tails: what of a session's series is not in blocks yet, in memory, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

import numpy as np
from sqlalchemy import Connection, select

from grandstand.errors import NotFound
from grandstand.model.telemetry import METRICS, Record, unpack
from grandstand.store.blocks import Sealed, sealed
from grandstand.store.cells import Floats, Ints
from grandstand.store.history import batches
from grandstand.store.points import Gatherer, Stretch, join
from grandstand.store.tables import sessions

SLICE: Final = 32_768
"""Seqs read from the log in one go."""
PARTS: Final = 32
"""Stretches in a tail before they become one."""
_NOTHING: Final = Sealed(0, 0, 0, {})


class Committed(Protocol):
    """Records just committed, as the bus tells of them."""

    @property
    def session_pk(self) -> int:
        """Whose they are."""

    @property
    def first_seq(self) -> int:
        """Seq of the first record's first row."""

    @property
    def last_seq(self) -> int:
        """Seq of the last record's last row; every seq between is theirs."""

    @property
    def records(self) -> Sequence[Record]:
        """What was stored, in order."""

    @property
    def at(self) -> datetime:
        """When they arrived."""


@dataclass(slots=True, frozen=True)
class View:
    """A session's series as they were at one moment.

    Attributes:
        sealed: what is in blocks.
        parts: what came after it.
        last_seq: everything up to it is in one or the other.
        names: of every metric.
    """

    sealed: Sealed
    parts: tuple[Stretch, ...]
    last_seq: int
    names: tuple[str, ...]

    def points(self, metric: str) -> tuple[Ints, Floats] | None:
        """A metric's points outside blocks: x (4 × points) and values; None without any."""
        found = [p for part in self.parts if (p := part.points(metric)) is not None]
        if len(found) < 2:
            return found[0] if found else None
        return np.concatenate([x for x, _ in found], axis=1), np.concatenate([v for _, v in found])


@dataclass(slots=True)
class Tail:
    """A session's newest rows, those after what is in blocks.

    Not shared between threads: whoever works on it has it alone (see `SeriesStore`).
    """

    sealed: Sealed = _NOTHING
    created_at: datetime | None = None
    """When its session was made; None before anything was read. Tells whose rows these are: a
    database may give a deleted session's key to another."""
    last_seq: int = 0
    step: int = 0
    parts: list[Stretch] = field(default_factory=list)
    rows: int = 0
    size: int = 0
    """Bytes held, roughly."""
    names: dict[str, None] = field(default_factory=dict)

    @property
    def view(self) -> View:
        """What there is now; later changes do not reach it."""
        return View(self.sealed, tuple(self.parts), self.last_seq, tuple(self.names))

    def catch_up(self, connection: Connection, session_pk: int, news: Sequence[Committed]) -> bool:
        """Take in what `news` tells and what else this connection sees in the log.

        Returns:
            whether more is left in the log than one slice.

        Raises:
            NotFound: the session is gone.
        """
        row = connection.execute(
            select(sessions.c.created_at, sessions.c.last_seq).where(sessions.c.pk == session_pk)
        ).one_or_none()
        if row is None:
            raise NotFound(
                "there is no such session",
                code="session_not_found",
                detail="It was deleted meanwhile.",
            )
        known = max([row.last_seq, *(item.last_seq for item in news)])
        if self.created_at != row.created_at or self.last_seq > known:
            self._begin(row.created_at, sealed(connection, session_pk))
            # These might still be of a deleted session that had the same key.
            news = ()
        gatherer = Gatherer(self.step, self.last_seq)
        last_seq = self.last_seq
        for item in news:
            if item.first_seq > last_seq + 1:
                break
            if item.last_seq > last_seq:
                gatherer.add(item.records, item.first_seq, item.at)
                last_seq = item.last_seq
        behind = row.last_seq - last_seq
        if behind > 0:
            until = last_seq + min(SLICE, behind)
            for batch in batches(connection, session_pk, last_seq, until, (METRICS,)):
                records = unpack(batch.kind, batch.body)
                gatherer.add(records, batch.first_seq, batch.received_at)
                until = max(until, batch.last_seq)
            last_seq = until
        self._take(gatherer.take(), gatherer.step, last_seq)
        return bool(last_seq < row.last_seq)

    def whole(self) -> Stretch:
        """All rows as one stretch; there must be some."""
        return join(self.parts)

    def cut(self, now_sealed: Sealed, rest: Stretch) -> None:
        """Keep only `rest`: everything before it is in blocks."""
        self.sealed = now_sealed
        self.parts = [rest] if len(rest) else []
        self.rows = len(rest)
        self.size = rest.size

    def _begin(self, created_at: datetime, there: Sealed) -> None:
        self.created_at, self.sealed = created_at, there
        self.last_seq, self.step = there.last_seq, there.step
        self.parts, self.rows, self.size = [], 0, 0
        self.names = dict.fromkeys(there.names)

    def _take(self, gathered: Sequence[Stretch], step: int, last_seq: int) -> None:
        for part in gathered:
            if len(part):
                self.parts.append(part)
                self.rows += len(part)
                self.size += part.size
                self.names |= dict.fromkeys(part.columns)
        if len(self.parts) > PARTS:
            self.parts = [join(self.parts)]
            self.size = self.parts[0].size
        self.step, self.last_seq = step, last_seq
