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
from functools import partial
from typing import Any, Final, cast

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from grandstand.clock import Clock, SystemClock
from grandstand.errors import NotFound, ValidationFailed
from grandstand.store.blocks import USUAL, Sealing, Shape, Shelf
from grandstand.store.database import Database
from grandstand.store.points import Stretch
from grandstand.store.tails import Committed, Tail, View
from grandstand.store.zoom import Range, zoom

logger = logging.getLogger("grandstand.store")

MAX_POINTS: Final = 1_000_000
"""Most buckets of one metric in one answer."""
FEWEST_POINTS: Final = 100
"""Buckets that a metric has in any case, however many metrics share a number of them."""
WAITING: Final = 256
"""Rows that wait as records before they are turned into columns."""


@dataclass(slots=True)
class _Session:
    """What is in memory of one session."""

    pk: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever works on the tail."""
    tail: Tail = field(default_factory=Tail)
    waiting: list[Committed] = field(default_factory=list)
    waiting_rows: int = 0
    waiting_bytes: int = 0
    used_at: float = 0.0

    @property
    def size(self) -> int:
        """Bytes held, roughly."""
        return self.waiting_bytes + self.tail.size

    def hear(self, news: Committed) -> None:
        """Keep news until they are worked into the tail."""
        self.waiting.append(news)
        self.waiting_rows += news.last_seq - news.first_seq + 1
        # A record costs its bytes, about as much again decoded, and a few objects.
        self.waiting_bytes += sum(2 * record.size + 600 for record in news.records)

    def heard(self) -> list[Committed]:
        """Give up the news kept so far."""
        news, self.waiting, self.waiting_rows, self.waiting_bytes = self.waiting, [], 0, 0
        return news


class SeriesStore:
    """Builds series behind what is committed, and answers for them.

    Args:
        database: where log and blocks are.
        clock: tells which session was used last.
        memory_bytes: how much the tails of all sessions may hold; past it those used longest ago
            are let go, and read from the log again when they are wanted.
        shape: how blocks are cut; always the same for one database.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock | None = None,
        *,
        memory_bytes: int = 64 * 1024 * 1024,
        shape: Shape = USUAL,
    ) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        self._memory_bytes = memory_bytes
        self._shape = shape
        self._sessions: dict[int, _Session] = {}
        self._due: dict[int, None] = {}
        self._worker: asyncio.Task[None] | None = None
        self._open = False
        self._offers = 0

    async def open(self) -> None:
        """Begin to take news; questions are answered without it too."""
        self._open = True

    def hear(self, news: object) -> None:
        """A listener for the bus: takes what was committed, lets everything else pass."""
        if getattr(news, "records", None):
            self.offer(cast(Committed, news))

    def offer(self, news: Committed) -> None:
        """Hear of records just committed, on the event loop; returns at once.

        A hint that saves reading them back: one that never comes, comes twice or comes late
        changes no answer.
        """
        if not self._open:
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

    @property
    def shape(self) -> Shape:
        """How blocks are cut."""
        return self._shape

    @property
    def held_bytes(self) -> int:
        """What is in memory, roughly."""
        return sum(session.size for session in self._sessions.values())

    async def finish(self, session_pk: int) -> None:
        """Put everything committed into blocks, however little is left; for sessions that rest.

        Raises:
            NotFound: no such session.
        """
        session = self._session(session_pk)
        async with session.lock:
            await self._catch_up(session, whole=True)
        self._trim(session_pk)

    async def view(self, session_pk: int) -> View:
        """A session's series as they are now, everything committed before the call included.

        Raises:
            NotFound: no such session.
        """
        session = self._session(session_pk)
        async with session.lock:
            view = await self._catch_up(session)
        self._trim(session_pk)
        return view

    async def settle(self) -> None:
        """Wait until nothing is under way in the background."""
        while (worker := self._worker) is not None:
            await asyncio.wait([worker])

    async def aclose(self) -> None:
        """Finish what is under way; the rest is in the log."""
        self._open = False
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
        *,
        max_total: int | None = None,
        session_id: str | None = None,
    ) -> dict[str, Any]:
        """The same as `query_json`, decoded."""
        body = await self.query_json(
            session_pk,
            metrics,
            x,
            frm,
            to,
            max_points,
            max_total=max_total,
            session_id=session_id,
        )
        return cast("dict[str, Any]", msgspec.json.decode(body))

    async def query_json(
        self,
        session_pk: int,
        metrics: Sequence[str] | None = None,
        x: str = "episode",
        frm: float | None = None,
        to: float | None = None,
        max_points: int = 1000,
        *,
        max_total: int | None = None,
        session_id: str | None = None,
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
            max_total: buckets that all metrics share, for whoever does not know how many metrics
                there are: each has then at most its even part, but not fewer than `FEWEST_POINTS`
                (or `max_points`, where that is less).
            session_id: to be told in the answer.

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
        view = await self.view(session_pk)
        names = view.names if metrics is None else tuple(dict.fromkeys(metrics))
        if max_total is not None:
            part = max(FEWEST_POINTS, max_total // max(1, len(names)))
            max_points = min(max_points, part)

        def read(connection: Connection) -> bytes:
            numbers = view.sealed.names
            asked = [numbers[name] for name in names if name in numbers]
            shelf = Shelf(connection, session_pk, view.sealed.segments, x, self._shape, asked)
            found = {
                name: zoom(shelf, numbers.get(name), view.points(name), chosen, max_points).answer(
                    x
                )
                for name in names
            }
            told = {"session_id": session_id} if session_id is not None else {}
            return msgspec.json.encode(
                {**told, "x": x, "last_seq": view.last_seq, "metrics": view.names, "series": found}
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
            while self._due and self._open:
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

    async def _catch_up(self, session: _Session, *, whole: bool = False) -> View:
        """Work everything committed into blocks and tail; the session's lock is held.

        Args:
            whole: leave nothing in the tail.
        """
        try:
            try:
                return await self._fold_and_seal(session, whole)
            except IntegrityError:
                # Another process sealed the same rows, or the session was deleted and its key
                # given to another: what is stored decides.
                session.tail = Tail()
                return await self._fold_and_seal(session, whole)
        except BaseException:
            # A thread may still be at work on this one: it is left to it, the log has it all.
            session.tail = Tail()
            raise

    async def _fold_and_seal(self, session: _Session, whole: bool) -> View:
        tail = session.tail
        while True:
            take = partial(tail.catch_up, session_pk=session.pk, news=session.heard())
            behind = await self._database.read(take)
            if tail.rows >= self._shape.segment or (whole and not behind and tail.rows):
                await self._seal(session.pk, tail, rest=whole and not behind)
            if not behind:
                return tail.view

    async def _seal(self, session_pk: int, tail: Tail, *, rest: bool) -> None:
        def build(connection: Connection) -> tuple[Sealing, Stretch]:
            stretch = tail.whole()
            rows = self._shape.segment
            end = len(stretch) if rest else len(stretch) // rows * rows
            sealing = Sealing(session_pk, tail.sealed, self._shape)
            for start in range(0, end, rows):
                sealing.add(connection, stretch.cut(start, min(start + rows, end)))
            return sealing, stretch.cut(end, len(stretch))

        sealing, left = await self._database.read(build)
        await self._database.write(sealing.store)
        tail.cut(sealing.after, left)

    def _trim(self, keep: int | None = None) -> None:
        """Let go of the tails used longest ago while all together hold too much."""
        sizes = {pk: session.size for pk, session in self._sessions.items()}
        total = sum(sizes.values())
        for session in sorted(self._sessions.values(), key=lambda s: s.used_at):
            if total <= self._memory_bytes:
                return
            if session.pk != keep and not session.lock.locked():
                total -= sizes[session.pk]
                del self._sessions[session.pk]
                self._due.pop(session.pk, None)
