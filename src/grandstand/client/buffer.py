"""What waits to be sent, and the thread that sends it.

`put()` only appends to a deque, so a training is never held up by the network. The sender sends at
once when it has been quiet, and otherwise gathers for 0.2 s or 500 records. A batch carries an id
and is repeated with the same bytes until the server has stored it; a batch the server refuses is
halved until the culprit is alone, and only that one is dropped.

While the server is away, batches go to disk (`spool.py`) as they are made, and are sent in order
when it answers again. Without a spool, or where the disk takes nothing, they wait in memory.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import secrets
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec import Struct

from grandstand.client.encoding import Item, Ready, batch_body, halves, sentence
from grandstand.client.spool import Kind, Spool
from grandstand.client.transport import Reply, Transport, about_content
from grandstand.clock import Clock, SystemClock
from grandstand.errors import Conflict, GrandstandError, Unavailable

log = logging.getLogger("grandstand.client")

GATHER_SECONDS = 0.2
GATHER_RECORDS = 500
BATCH_ROWS = 5_000
BATCH_BYTES = 7 * 2**20
"""A margin below the 10,000 rows and 8 MiB a server takes."""
DEFAULT_LIMIT = 100_000
"""Most rows kept while the server is away, about 50 MB of ten metrics each."""
BACKOFF_SECONDS = (0.2, 10.0)
BEAT_SECONDS = 5.0
SHELVE_SECONDS = 0.5
EXIT_SECONDS = 5.0
"""How long the end of the process may be held up to send what is left."""
LONGEST_REST = 3600.0
_NEVER = 2**62


class Outcome(Struct):
    """What became of the records so far.

    Attributes:
        sent: rows the server has acknowledged.
        spooled: rows that wait on disk for the server.
        dropped: rows given up: the oldest when the buffer was full, or refused by the server.
        away_since: `Clock.monotonic` of the first failure in a row, None while it answers.
        ended: why nothing is sent any more, None while it is.
    """

    sent: int = 0
    spooled: int = 0
    dropped: int = 0
    away_since: float | None = None
    ended: GrandstandError | None = None


class Mark(threading.Event):
    """Set when everything put before it is stored.

    Attributes:
        on_disk: lying on disk is enough, if the server is still away when asked once more.
    """

    def __init__(self, *, on_disk: bool = False) -> None:
        super().__init__()
        self.on_disk = on_disk


class Last(NamedTuple):
    """How the session ended: the body for ``POST …/finish``."""

    body: bytes


class Request(NamedTuple):
    """A body to post, and the rows it holds."""

    kind: Kind
    rows: int
    body: bytes


class Away(NamedTuple):
    """No answer, or one that says to come back; with the seconds to wait, if it says so."""

    wait: float | None


class Buffer:
    """A bounded queue of records and its sender thread.

    Args:
        transport: the sender's own.
        session_id: whose records these are.
        clock: for the spans between attempts.
        limit: most rows that may wait; then the oldest are dropped, with one warning and a count.
        lossless: hold the caller back instead when full.
        opening: sent before anything else, until it succeeds: creates the session when the server
            was away at the start. It raises what `Transport.request` raises, or a refusal.
        beat: called in the sender thread after each 5 s without a record, to stay alive; None for
            a session whose heartbeat somebody else keeps.
        heard: told what people want, as the answers to records say it.
        spool: where batches wait while the server is away; None keeps them in memory.
        offline: send nothing at all; everything goes to the spool.
    """

    def __init__(
        self,
        transport: Transport,
        session_id: str,
        *,
        clock: Clock | None = None,
        limit: int = DEFAULT_LIMIT,
        lossless: bool = False,
        opening: Callable[[], None] | None = None,
        beat: Callable[[], None] | None = None,
        heard: Callable[[str], None] = lambda wanted: None,
        spool: Spool | None = None,
        offline: bool = False,
    ) -> None:
        self._transport = transport
        self._path = f"/api/training/sessions/{session_id}"
        self._session_id = session_id
        self._clock = clock or SystemClock()
        self._limit = limit
        self._lossless = lossless
        self._opening = opening
        self._beat = beat
        self._heard = heard
        self._spool = spool
        self._offline = offline
        self.outcome = Outcome()
        self._said: set[str] = set()
        self._reset()
        _living.add(self)

    def _reset(self) -> None:
        self._queue: deque[Item | Mark | Last] = deque()
        self._surplus = 0  # weight of the queue beyond one for each item
        self._counting = threading.Lock()
        self._room = threading.Condition()
        self._wake = threading.Event()
        self._wake_at = 0
        self._hurry = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._last = self._told_end = False
        self._beat_due = False
        self._shelving = False
        self._flight: Request | None = None
        self._disk = threading.Lock()
        self._marks: deque[tuple[int, Mark]] = deque()  # by where in the spool they stand
        self._pause = BACKOFF_SECONDS[0]
        self._probe_at = 0.0

    # ---- the caller's side -------------------------------------------------------------------

    def put(self, item: Item) -> None:
        """Leave a record to the sender. Returns at once, unless lossless and full."""
        queue = self._queue
        if len(queue) + self._surplus >= self._limit and not self._make_room():
            return
        queue.append(item)
        if type(item) is Ready and item.weight > 1:
            with self._counting:
                self._surplus += item.weight - 1
        if len(queue) >= self._wake_at:
            self._awaken()

    def complain(self, topic: str, message: str) -> None:
        """Say something odd about the records, once for each topic."""
        if topic not in self._said:
            self._said.add(topic)
            log.warning("session %s: %s", self._session_id, message)

    def flush(self, timeout: float | None = None, *, on_disk: bool = False) -> bool:
        """Wait until the server has acknowledged everything put so far.

        Args:
            timeout: most seconds to wait; None waits as long as it takes.
            on_disk: be content when it lies on disk and the server, asked once more, is away.

        Returns:
            False when the time ran out or the session has ended meanwhile.
        """
        if self.outcome.ended is not None:
            return False
        reached = self.mark(on_disk=on_disk)
        self._hurry = True
        self._awaken()
        return reached.wait(timeout) and self.outcome.ended is None

    def mark(self, *, on_disk: bool = False) -> Mark:
        """An event that is set when everything put so far is stored, or the session has ended."""
        reached = Mark(on_disk=on_disk)
        self._queue.append(reached)
        if self.outcome.ended is not None:
            self._discard()
        elif len(self._queue) >= self._wake_at:
            self._awaken()
        return reached

    def finish(self, body: bytes) -> None:
        """Have the session ended by this body for ``POST …/finish``, after all that was put before
        it, whenever that may be; nothing is taken after it."""
        self._last = True
        self._limit = -1
        self._queue.append(Last(body))
        self._hurry = True
        self._awaken()

    def beat_soon(self) -> None:
        """Have a heartbeat sent now: it has something to tell."""
        self._beat_due = True
        self._awaken()

    def quiet(self) -> None:
        """Keep the session alive no longer."""
        self._beat = None

    @property
    def keeps(self) -> bool:
        """Whether there is a place on disk for what the server does not take now."""
        return self._spool is not None

    @property
    def waiting_on_disk(self) -> bool:
        """Whether the server still has to be told of what lies on disk."""
        return self._spool is not None and self._spool.waiting

    def shelve(self) -> int:
        """At the end of the process: leave on disk what the sender will not get to send any more.

        Returns:
            Rows that are on disk now; 0 without a spool.
        """
        self._shelving = self._closing = True
        self._wake.set()
        if self._spool is None:
            return 0
        if self._thread is not None:
            self._thread.join(SHELVE_SECONDS)  # it may be waiting for an answer
        try:
            if self._flight is not None:  # perhaps stored, but then it is known by its id
                self._keep(self._flight)
            while self._queue:
                items, mark = self._take()
                for request in self._bodies(items):
                    self._keep(request)
                if isinstance(mark, Last):
                    self._keep(Request("finish", 0, mark.body))
        except OSError as error:
            log.warning("session %s: %s", self._session_id, _not_kept(error))
        return self.outcome.spooled

    def close(self, timeout: float = EXIT_SECONDS) -> bool:
        """Flush for at most `timeout` seconds, then stop the sender."""
        done = self.flush(timeout)
        self.end(Conflict("the session object is finished", code="session_finished"))
        return done

    def end(self, reason: GrandstandError) -> None:
        """Send nothing any more; whoever waits is let go."""
        if self.outcome.ended is None:
            self.outcome.ended = reason
        self._closing = True
        while self._marks:
            self._marks.popleft()[1].set()
        self._limit = -1  # every further put() takes the slow way and is turned away there
        self._wake_at = _NEVER
        self._wake.set()
        with self._room:
            self._room.notify_all()
        self._discard()

    def _make_room(self) -> bool:
        """Called by put() when full: whether the record may be appended after all."""
        if self._last or self.outcome.ended is not None:
            why = self.outcome.ended.message if self.outcome.ended else "it is finished"
            self.outcome.dropped += 1
            self.complain(
                "after the end",
                f"it takes no more records ({why}); what is still logged goes nowhere",
            )
            return False
        if self._lossless:
            with self._room:
                while self.outcome.ended is None and self._rows() >= self._limit:
                    self._room.wait(1.0)
            return self.outcome.ended is None
        while self._rows() >= self._limit:
            try:
                oldest = self._queue.popleft()
            except IndexError:
                break
            self._lost(oldest)
        self.complain(
            "full",
            f"the server is away or too slow, and more than {self._limit} records are waiting: "
            "the oldest are dropped and counted in session.dropped",
        )
        return True

    def _lost(self, item: Item | Mark | Last) -> None:
        if isinstance(item, Mark):
            item.set()
            return
        if isinstance(item, Last):
            return
        rows = self._leave(item)
        self.outcome.dropped += rows

    def _leave(self, item: Item) -> int:
        if not isinstance(item, Ready):
            return 1
        if item.weight > 1:
            with self._counting:
                self._surplus -= item.weight - 1
        return item.rows

    def _rows(self) -> int:
        return len(self._queue) + self._surplus

    def _discard(self) -> None:
        while self._queue:
            try:
                self._lost(self._queue.popleft())
            except IndexError:
                return

    def _awaken(self) -> None:
        self._wake_at = _NEVER
        if self._thread is None:
            with self._counting:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._run, name=f"grandstand-{self._session_id}", daemon=True
                    )
                    self._thread.start()
        self._wake.set()

    # ---- the sender's side -------------------------------------------------------------------

    def _run(self) -> None:
        quiet_since = -GATHER_SECONDS
        while True:
            self._await_work(quiet_since)
            if self._closing:
                break
            if self._beat_due and not self.waiting_on_disk:
                self._beat_now()
            items, mark = self._take()
            if items:
                self._deliver(items)
                quiet_since = self._clock.monotonic()
                with self._room:
                    self._room.notify_all()
            if isinstance(mark, Mark):
                self._pass(mark)
            elif mark is not None:
                self._settle(Request("finish", 0, mark.body))
            if self.waiting_on_disk and self._clock.monotonic() >= self._probe_at:
                self._drain()
        if self._spool is not None and not self._shelving:
            self._let_go(self._spool)
        self._transport.close()

    def _let_go(self, spool: Spool) -> None:
        """The session is over, and what the server refused for good stays where it is."""
        if not spool.waiting:
            spool.remove()
            return
        log.warning("session %s: what was not sent stays in %s", self._session_id, spool.folder)
        spool.leave()

    def _await_work(self, quiet_since: float) -> None:
        """Return when there is something to send: at once after a quiet spell, else gathered."""
        while not self._closing:
            self._wake.clear()
            self._wake_at = 1
            if self._queue or self._closing or self._wake.wait(self._idle_seconds()):
                break
            if not self.waiting_on_disk:
                self._beat_now()
            elif self._clock.monotonic() >= self._probe_at:
                break
        while not (self._closing or self._hurry or len(self._queue) >= GATHER_RECORDS):
            left = quiet_since + GATHER_SECONDS - self._clock.monotonic()
            if left <= 0:
                break
            self._wake.clear()
            self._wake_at = GATHER_RECORDS
            if not (self._hurry or len(self._queue) >= GATHER_RECORDS):
                self._wake.wait(left)
        self._wake_at = _NEVER

    def _idle_seconds(self) -> float:
        if not self.waiting_on_disk:
            return BEAT_SECONDS
        return min(max(self._probe_at - self._clock.monotonic(), 0.0), LONGEST_REST)

    def _beat_now(self) -> None:
        if self._beat is None or self._offline:
            return
        try:
            self._beat()
            self._beat_due = False
        except Unavailable:
            log.debug("session %s: no answer to a heartbeat", self._session_id)
        except GrandstandError as error:
            self._refused_for_good(error)

    def _take(self) -> tuple[list[Item], Mark | Last | None]:
        items: list[Item] = []
        rows = 0
        while rows < BATCH_ROWS:
            try:
                item = self._queue.popleft()
            except IndexError:
                self._hurry = False
                break
            if isinstance(item, (Mark, Last)):
                return items, item
            more = item.weight if isinstance(item, Ready) else 1
            if items and rows + more > BATCH_ROWS:
                self._queue.appendleft(item)
                break
            self._leave(item)
            items.append(item)
            rows += more
        return items, None

    def _bodies(self, items: list[Item]) -> list[Request]:
        """Batches of `items`, usually one. What no JSON can hold is dropped."""
        bodies: list[Request] = []
        parts = [items] if items else []
        while parts:
            part = parts.pop()
            try:
                body = batch_body(part, secrets.token_hex(8), self.complain)
                why = "larger than 7 MiB" if len(body) > BATCH_BYTES else None
            except (TypeError, ValueError, OverflowError) as error:
                why = sentence(error)
            rows = sum(item.rows if isinstance(item, Ready) else 1 for item in part)
            if why is None:
                bodies.append(Request("records", rows, body))
            elif len(part) > 1:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            else:
                self.outcome.dropped += rows
                self._refuse(why)
        return bodies

    def _deliver(self, items: list[Item]) -> None:
        for request in self._bodies(items):
            self._settle(request)

    def _settle(self, request: Request) -> None:
        """Have a request answered, or keep it on disk while the server is away."""
        self._flight = request
        # What comes after something on disk waits there too.
        while self.waiting_on_disk and not self._closing:
            if self._spooled(request):
                return
            self._rest(Away(None))  # the disk takes no more: first those before it
            self._drain(taking=False)
        while not self._closing:
            away = self._offer(request)
            if away is None:
                break
            if self._spooled(request):
                self._schedule(away)
                return
            self._rest(away)
        if self._shelving and self._flight is not None:
            self._spooled(request)
        self._flight = None

    def _offer(self, request: Request) -> Away | None:
        """Send it; None when it is settled in one way or the other."""
        if request.kind == "finish":
            return self._tell_end(request.body)
        return self._store(request.body, request.rows)

    def _spooled(self, request: Request) -> bool:
        """Put it on disk; False where that cannot be."""
        if self._spool is None:
            return False
        try:
            self._keep(request)
        except OSError as error:
            self.complain("spool", _not_kept(error))
            return False
        return True

    def _keep(self, request: Request) -> None:
        """Put it on disk, unless the other thread has done so; at the end there are two."""
        assert self._spool is not None
        with self._disk:
            mine = self._flight is request
            if threading.current_thread() is self._thread and not mine:
                return
            self._spool.append(*request)
            self.outcome.spooled += request.rows
            if mine:
                self._flight = None

    def _pass(self, mark: Mark) -> None:
        if self._spool is None or not self._spool.waiting:
            mark.set()
        else:
            self._marks.append((self._spool.end, mark))
            self._probe_at = 0.0  # somebody waits

    def _content_with_disk(self) -> None:
        """The server is still away: let those go on for whom the disk is enough."""
        for _, mark in self._marks:
            if mark.on_disk:
                mark.set()
        self._marks = deque(pair for pair in self._marks if not pair[1].on_disk)

    def _drain(self, *, taking: bool = True) -> None:
        """Send what lies on disk, oldest first, until it is empty or the server is away.

        Args:
            taking: put what is reported meanwhile behind it, so that it does not grow in memory.
        """
        spool = self._spool
        assert spool is not None
        while (frame := spool.first()) is not None and not self._closing:
            away = self._offer(Request(frame.kind, frame.rows, frame.body))
            if away is not None:
                self._schedule(away)
                self._content_with_disk()
                return
            if self._closing and not self._told_end:
                return  # it was left in the middle, or refused for good
            spool.done(frame)
            self.outcome.spooled -= frame.rows
            while self._marks and self._marks[0][0] <= frame.end:
                self._marks.popleft()[1].set()
            if taking and len(self._queue) >= GATHER_RECORDS:
                items, mark = self._take()
                self._deliver(items)
                if isinstance(mark, Mark):
                    self._pass(mark)
                elif mark is not None:
                    self._settle(Request("finish", 0, mark.body))
        if not spool.waiting:
            spool.remove()

    def _schedule(self, away: Away) -> None:
        self._probe_at = self._clock.monotonic() + self._next_pause(away)

    def _rest(self, away: Away) -> None:
        """Wait before the next attempt, unless the end comes first."""
        self._wake.clear()
        self._wake_at = _NEVER
        if not self._closing:
            self._wake.wait(min(self._next_pause(away), LONGEST_REST))

    def _next_pause(self, away: Away) -> float:
        pause = self._pause
        self._pause = min(pause * 2, BACKOFF_SECONDS[1])
        return away.wait or pause * random.uniform(0.8, 1.2)  # noqa: S311

    def _store(self, body: bytes, rows: int) -> Away | None:
        """Have a batch stored, halving what the server refuses.

        Returns:
            `Away` where nobody took it; it is then to be offered again as a whole.
        """
        parts = [(body, rows)]
        sent, refused = 0, 0
        while parts:
            part, count = parts.pop()
            answer = self._attempt("records", part)
            if isinstance(answer, Away):
                return answer
            if self.outcome.ended is not None:
                refused += count + sum(left for _, left in parts)
                break
            if answer is None:
                sent += count
            elif (two := halves(part)) is not None:
                parts += reversed(two)
            else:
                refused += count
                self._refuse(answer)
        self.outcome.sent += sent
        self.outcome.dropped += refused
        return None

    def _tell_end(self, body: bytes) -> Away | None:
        answer = self._attempt("finish", body)
        if isinstance(answer, Away):
            return answer
        if answer is not None:
            log.warning("session %s: could not finish it: %s", self._session_id, answer)
        self._told_end = self.outcome.ended is None
        self.end(GrandstandError("it is finished", code="session_finished"))
        return None

    def _refuse(self, why: str) -> None:
        self.complain(f"refused {why}", f"a record could not be stored and is dropped: {why}")

    def _attempt(self, what: Kind, body: bytes) -> Away | str | None:
        """One request: None when it was taken (or the session is over), why the content was
        refused, or `Away`."""
        if self._offline:
            return Away(_NEVER)
        try:
            if self._opening is not None:
                self._opening()
                self._opening = None
                if self._spool is not None:
                    self._spool.note_opened()
            reply = self._transport.request("POST", f"{self._path}/{what}", body, repeatable=True)
            if reply.status < 300:
                self._reached(reply)
                return None
            error = reply.error()
        except GrandstandError as failure:
            error = failure
        if about_content(error) and self._opening is None:
            return error.message
        if not (error.retryable or error.http_status >= 500 or error.http_status == 401):
            self._refused_for_good(error)
            return None
        if self.outcome.away_since is None:
            self.outcome.away_since = self._clock.monotonic()
            log.warning(
                "session %s: %s; records are kept and sent when it answers again",
                self._session_id,
                error.message,
            )
        return Away(error.retry_after_seconds)

    def _reached(self, reply: Reply) -> None:
        if self.outcome.away_since is not None:
            away = self._clock.monotonic() - self.outcome.away_since
            log.info("session %s: the server answers again after %.1f s", self._session_id, away)
            self.outcome.away_since = None
        self._pause = BACKOFF_SECONDS[0]
        answer: Any = reply.json() or {}
        for warning in answer.get("warnings") or ():
            self.complain(str(warning), str(warning))
        self._heard(str(answer.get("wanted", "running")))

    def _refused_for_good(self, error: GrandstandError) -> None:
        """Gone, not allowed, or somebody else's turn: what waits has nowhere to go."""
        if self.outcome.ended is None:
            log.warning("session %s takes no more records: %s", self._session_id, error.message)
        self.end(error)


_living: weakref.WeakSet[Buffer] = weakref.WeakSet()


def _not_kept(error: OSError) -> str:
    return (
        f"records cannot be kept on disk ({error.strerror or error}); while the server is away "
        "they wait in memory"
    )


def leave_all(seconds: float = EXIT_SECONDS) -> None:
    """Send what waits in this process, for so long at most; what is left stays on disk."""
    open_ones = [b for b in _living if b.outcome.ended is None and b._thread is not None]
    clock = SystemClock()
    until = clock.monotonic() + seconds
    for buffer in open_ones:
        done = buffer.flush(max(until - clock.monotonic(), 0.1), on_disk=True)
        kept = buffer.shelve()
        folder = buffer._spool.folder if buffer._spool is not None else None
        if folder is not None and (kept or buffer.waiting_on_disk):
            log.warning(
                "session %s: %d records are kept in %s; `grandstand sync` sends them",
                buffer._session_id,
                kept,
                folder,
            )
        elif not done:
            log.warning(
                "session %s: %d records were not sent before the end",
                buffer._session_id,
                buffer._rows(),
            )


def _after_fork_in_child() -> None:
    # The child has no sender thread, and what waits is the parent's to send.
    for buffer in list(_living):
        buffer._transport = buffer._transport.twin()
        if buffer._spool is not None:
            buffer._spool = buffer._spool.twin()
        ended = buffer.outcome.ended is not None
        buffer.outcome.spooled = 0
        buffer._reset()
        if ended:
            buffer._wake_at = _NEVER


atexit.register(leave_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
