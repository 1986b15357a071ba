"""Series: every scalar a session reports, ready to be drawn at any zoom.

The log is the truth; series are made from it. What is in blocks ends at a watermark, the seq of
the last sealed row; what came after it, the *tail*, is kept in memory as columns. Blocks are
stored in one transaction, and the watermark is read off them, so a crash can neither lose nor
double a point: the tail is simply read from the log again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol, cast

import msgspec
import numpy as np
from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from grandstand.clock import Clock, SystemClock
from grandstand.errors import NotFound, ValidationFailed
from grandstand.model.telemetry import METRICS, Record, unpack
from grandstand.store.blocks import SEGMENT, Sealed, Sealing, Shelf, sealed
from grandstand.store.cells import Floats, Ints
from grandstand.store.database import Database
from grandstand.store.points import Gatherer, Stretch, join
from grandstand.store.tables import log, sessions
from grandstand.store.zoom import Range, zoom

logger = logging.getLogger("grandstand.store")

MAX_POINTS: Final = 1_000_000
"""Most buckets in one answer."""
WAITING: Final = 256
"""Rows that wait as records before they are turned into columns."""
SLICE: Final = 8 * SEGMENT
"""Seqs read from the log in one go."""
_PARTS: Final = 32
"""Stretches in a tail before they become one."""


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


@dataclass(slots=True)
class _Session:
    """What is in memory of one session's series."""

    pk: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: list[Committed] = field(default_factory=list)
    waiting_rows: int = 0
    waiting_bytes: int = 0
    used_at: float = 0.0
    created_at: datetime | None = None
    """Whose series these are: a database may give a deleted session's key to another."""
    sealed: Sealed | None = None
    last_seq: int = 0
    """Everything up to it is in blocks or in the tail."""
    step: int = 0
    tail: list[Stretch] = field(default_factory=list)
    rows: int = 0
    names: dict[str, None] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes held in memory, roughly."""
        return self.waiting_bytes + sum(part.size for part in self.tail)

    def forget(self) -> None:
        """Let go of everything that can be read again."""
        self.heard()
        self.created_at = self.sealed = None
        self.tail, self.rows = [], 0
        self.names = {}

    def hear(self, news: Committed) -> None:
        """Keep news until they are worked into the tail."""
        self.waiting.append(news)
        self.waiting_rows += news.last_seq - news.first_seq + 1
        # A record costs its bytes, about as much again decoded, and a few objects.
        self.waiting_bytes += sum(2 * len(record.body) + 600 for record in news.records)

    def heard(self) -> list[Committed]:
        """Give up the news kept so far."""
        news, self.waiting, self.waiting_rows, self.waiting_bytes = self.waiting, [], 0, 0
        return news

    def begin(self, created_at: datetime, there: Sealed) -> None:
        """Start from what is in blocks."""
        self.created_at, self.sealed = created_at, there
        self.last_seq, self.step = there.last_seq, there.step
        self.tail, self.rows = [], 0
        self.names = dict.fromkeys(there.names)

    def take(self, gathered: list[Stretch], step: int, last_seq: int) -> None:
        """Add to the tail everything up to `last_seq`."""
        for part in gathered:
            if len(part):
                self.tail.append(part)
                self.rows += len(part)
                self.names |= dict.fromkeys(part.columns)
        if len(self.tail) > _PARTS:
            self.tail = [join(self.tail)]
        self.step, self.last_seq = step, last_seq


@dataclass(slots=True, frozen=True)
class _View:
    """A session's series as they were at one moment."""

    pk: int
    segments: int
    numbers: dict[str, int]
    tail: tuple[Stretch, ...]
    last_seq: int
    names: tuple[str, ...]

    def points(self, metric: str) -> tuple[Ints, Floats] | None:
        found = [p for part in self.tail if (p := part.points(metric)) is not None]
        if not found:
            return None
        return np.concatenate([x for x, _ in found], axis=1), np.concatenate([v for _, v in found])


class SeriesStore:
    """Builds series behind what is committed, and answers for them.

    Args:
        database: where log and blocks are.
        clock: tells which session was used last.
        memory_bytes: how much the tails of all sessions may hold; past it those used longest ago
            are let go, and read from the log again when they are wanted.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock | None = None,
        *,
        memory_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        self._memory_bytes = memory_bytes
        self._sessions: dict[int, _Session] = {}
        self._due: dict[int, None] = {}
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._offers = 0

    def offer(self, news: Committed) -> None:
        """Hear of records just committed, on the event loop; returns at once.

        A hint that saves reading them back: one that never comes, comes twice or comes late
        changes no answer.
        """
        if self._closed:
            return
        session = self._session(news.session_pk)
        session.hear(news)
        if session.waiting_rows >= WAITING:
            self._due[session.pk] = None
            if self._worker is None:
                self._worker = asyncio.get_running_loop().create_task(self._work())
        self._offers += 1
        if self._offers % WAITING == 0:
            self._trim()

    def forget(self, session_pk: int) -> None:
        """Let go of a deleted session."""
        self._sessions.pop(session_pk, None)
        self._due.pop(session_pk, None)

    async def settle(self) -> None:
        """Wait until nothing is under way in the background."""
        while (worker := self._worker) is not None:
            await asyncio.wait([worker])

    async def aclose(self) -> None:
        """Finish what is under way; the rest is in the log."""
        self._closed = True
        await self.settle()
        self._sessions.clear()

    async def query(
        self,
        session_pk: int,
        metrics: Sequence[str] | None = None,
        x: str = "episode",
        frm: float | None = None,
        to: float | None = None,
        max_points: int = 1000,
    ) -> dict[str, Any]:
        """The same as `query_json`, decoded."""
        body = await self.query_json(session_pk, metrics, x, frm, to, max_points)
        return cast("dict[str, Any]", msgspec.json.decode(body))

    async def query_json(
        self,
        session_pk: int,
        metrics: Sequence[str] | None = None,
        x: str = "episode",
        frm: float | None = None,
        to: float | None = None,
        max_points: int = 1000,
    ) -> bytes:
        """Series between two x, as JSON, with everything committed before the call.

        ``{x, last_seq, metrics: [every name], series: {name: {x, seq, min, max, mean, last, count,
        points, not_finite?}}}``: columns of one length, at most `max_points` long, in the order of
        seq. `x` and `seq` are those of a bucket's last point; min, max and mean are over finite
        points, and name what is there ("NaN", "Infinity", "-Infinity") where none is finite;
        `points` is how many points the range holds; `not_finite`, only there if any is, how many
        of each bucket are not. Up to `max_points` points come one by one.

        Args:
            session_pk: the session.
            metrics: which; None for all. One nobody has reported is an empty series.
            x: ``episode``, ``step``, ``time`` (seconds since 1970, UTC) or ``seq``. A step that
                was not told is the last one told before (0 at first).
            frm, to: the range on that axis, both included; None for no end. Where x goes back (a
                run that was rewound), every point inside is there, in the order reported.
            max_points: 1 to `MAX_POINTS`.

        Raises:
            ValidationFailed: names the field and its bound.
            NotFound: no such session.
        """
        chosen = Range.asked(x, frm, to)
        if not 1 <= max_points <= MAX_POINTS:
            raise ValidationFailed(
                f"max_points: must be from 1 to {MAX_POINTS}, not {max_points}",
                details={"field": "max_points", "value": max_points, "bound": [1, MAX_POINTS]},
            )
        session = self._session(session_pk)
        async with session.lock:
            view = await self._view(session)
        self._trim(session_pk)
        names = view.names if metrics is None else tuple(dict.fromkeys(metrics))

        def read(connection: Connection) -> bytes:
            shelf = Shelf(connection, view.pk, view.segments, x)
            found = {
                name: zoom(
                    shelf, view.numbers.get(name), view.points(name), chosen, max_points
                ).answer(x)
                for name in names
            }
            return msgspec.json.encode(
                {"x": x, "last_seq": view.last_seq, "metrics": view.names, "series": found}
            )

        return await self._database.read(read)

    # Keeping up.

    def _session(self, session_pk: int) -> _Session:
        session = self._sessions.get(session_pk)
        if session is None:
            session = self._sessions[session_pk] = _Session(session_pk)
        session.used_at = self._clock.monotonic()
        return session

    async def _work(self) -> None:
        try:
            while self._due and not self._closed:
                session_pk = next(iter(self._due))
                del self._due[session_pk]
                session = self._sessions.get(session_pk)
                if session is None:
                    continue
                try:
                    async with session.lock:
                        await self._catch_up(session)
                except NotFound:
                    self.forget(session_pk)
                except Exception:
                    # The records are safe in the log; the next news or question tries again.
                    logger.exception("series of session %d were not brought up to date", session_pk)
                self._trim()
        finally:
            self._worker = None

    async def _view(self, session: _Session) -> _View:
        there = await self._catch_up(session)
        return _View(
            session.pk,
            there.segments,
            there.names,
            tuple(session.tail),
            session.last_seq,
            tuple(session.names),
        )

    async def _catch_up(self, session: _Session) -> Sealed:
        """Work everything committed into blocks and tail; the session's lock is held."""
        try:
            return await self._fold_and_seal(session)
        except IntegrityError:
            # Another process sealed the same rows, or the session was deleted and its key given
            # to another: what is stored decides.
            session.forget()
            return await self._fold_and_seal(session)
        except BaseException:
            session.forget()
            raise

    async def _fold_and_seal(self, session: _Session) -> Sealed:
        while True:
            fold = partial(_fold, session=session, news=session.heard())
            behind = await self._database.read(fold)
            there = cast(Sealed, session.sealed)
            if session.rows >= SEGMENT:
                there = await self._seal(session, there)
            if not behind:
                return there

    async def _seal(self, session: _Session, before: Sealed) -> Sealed:
        whole = join(session.tail)
        cuts = len(whole) // SEGMENT * SEGMENT

        def build(connection: Connection) -> Sealing:
            sealing = Sealing(session.pk, before)
            for start in range(0, cuts, SEGMENT):
                sealing.add(connection, whole.cut(start, start + SEGMENT))
            return sealing

        sealing = await self._database.read(build)
        await self._database.write(sealing.store)
        session.sealed = sealing.after
        rest = whole.cut(cuts, len(whole))
        session.tail, session.rows = ([rest] if len(rest) else []), len(rest)
        return sealing.after

    def _trim(self, keep: int | None = None) -> None:
        """Let go of the tails used longest ago while all together hold too much."""
        sizes = {pk: session.size for pk, session in self._sessions.items()}
        total = sum(sizes.values())
        for session in sorted(self._sessions.values(), key=lambda s: s.used_at):
            if total <= self._memory_bytes:
                return
            if session.pk != keep and not session.lock.locked():
                total -= sizes[session.pk]
                session.forget()
                del self._sessions[session.pk]
                self._due.pop(session.pk, None)


def _fold(connection: Connection, session: _Session, news: Sequence[Committed]) -> bool:
    """Bring the tail up to what this connection sees and `news` tells; whether more is left."""
    row = connection.execute(
        select(sessions.c.created_at, sessions.c.last_seq).where(sessions.c.pk == session.pk)
    ).one_or_none()
    if row is None:
        raise NotFound(
            "there is no such session",
            code="session_not_found",
            detail="It was deleted meanwhile.",
        )
    if (
        session.sealed is None
        or session.created_at != row.created_at
        or session.last_seq > max([row.last_seq, *(item.last_seq for item in news)])
    ):
        session.begin(row.created_at, sealed(connection, session.pk))
        # These might still be of a deleted session that had the same key.
        news = ()
    gatherer = Gatherer(session.step, session.last_seq)
    last_seq = session.last_seq
    for item in news:
        if item.first_seq > last_seq + 1:
            break
        if item.last_seq > last_seq:
            gatherer.add(item.records, item.first_seq, item.at)
            last_seq = item.last_seq
    target = max(row.last_seq, last_seq)
    if target > last_seq:
        until = min(last_seq + SLICE, target)
        last_seq = _read_back(connection, session.pk, gatherer, last_seq, until)
    session.take(gatherer.take(), gatherer.step, last_seq)
    return bool(last_seq < target)


def _read_back(
    connection: Connection, session_pk: int, gatherer: Gatherer, after_seq: int, until_seq: int
) -> int:
    """Gather what the log holds after a seq; where it got to."""
    rows = connection.execute(
        select(log.c.first_seq, log.c.last_seq, log.c.kind, log.c.body, log.c.received_at)
        .where(
            log.c.session_pk == session_pk,
            log.c.last_seq > after_seq,
            log.c.first_seq <= until_seq,
            log.c.kind.in_((METRICS, "batch")),
        )
        .order_by(log.c.last_seq)
    )
    for row in rows:
        gatherer.add(unpack(row.kind, row.body), row.first_seq, row.received_at)
        until_seq = max(until_seq, row.last_seq)
    return until_seq
