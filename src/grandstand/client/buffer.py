"""What waits to be sent, and the thread that sends it.

`put()` only appends to a deque, so a training is never held up by the network. The sender sends at
once when it has been quiet, and otherwise gathers for 0.2 s or 500 records. A batch carries an id
and is repeated with the same bytes until the server has stored it; a batch the server refuses is
halved until the culprit is alone, and only that one is dropped.
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
from typing import Any

from msgspec import Struct

from grandstand.client.encoding import Item, Ready, batch_body, sentence
from grandstand.client.transport import Reply, Transport
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
EXIT_SECONDS = 5.0
"""How long the end of the process may be held up to send what is left."""
_NEVER = 2**62


class Outcome(Struct):
    """What became of the records so far.

    Attributes:
        sent: rows the server has acknowledged.
        dropped: rows given up: the oldest when the buffer was full, or refused by the server.
        away_since: `Clock.monotonic` of the first failure in a row, None while it answers.
        ended: why nothing is sent any more, None while it is.
    """

    sent: int = 0
    dropped: int = 0
    away_since: float | None = None
    ended: GrandstandError | None = None


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
    ) -> None:
        self._transport = transport
        self._path = f"/api/training/sessions/{session_id}/records"
        self._session_id = session_id
        self._clock = clock or SystemClock()
        self._limit = limit
        self._lossless = lossless
        self._opening = opening
        self._beat = beat
        self.outcome = Outcome()
        self._said: set[str] = set()
        self._reset()
        _living.add(self)

    def _reset(self) -> None:
        self._queue: deque[Item | threading.Event] = deque()
        self._surplus = 0  # rows in the queue beyond one for each item
        self._counting = threading.Lock()
        self._room = threading.Condition()
        self._wake = threading.Event()
        self._wake_at = 0
        self._hurry = False
        self._closing = False
        self._thread: threading.Thread | None = None

    # ---- the caller's side -------------------------------------------------------------------

    def put(self, item: Item) -> None:
        """Leave a record to the sender. Returns at once, unless lossless and full."""
        queue = self._queue
        if len(queue) + self._surplus >= self._limit and not self._make_room():
            return
        queue.append(item)
        if type(item) is Ready and item.rows > 1:
            with self._counting:
                self._surplus += item.rows - 1
        if len(queue) >= self._wake_at:
            self._awaken()

    def complain(self, topic: str, message: str) -> None:
        """Say something odd about the records, once for each topic."""
        if topic not in self._said:
            self._said.add(topic)
            log.warning("session %s: %s", self._session_id, message)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the server has acknowledged everything put so far.

        Args:
            timeout: most seconds to wait; None waits as long as it takes.

        Returns:
            False when the time ran out or the session has ended meanwhile.
        """
        if self.outcome.ended is not None:
            return False
        reached = self.mark()
        self._hurry = True
        self._awaken()
        return reached.wait(timeout) and self.outcome.ended is None

    def mark(self) -> threading.Event:
        """An event that is set when everything put so far is stored, or the session has ended."""
        reached = threading.Event()
        self._queue.append(reached)
        if self.outcome.ended is not None:
            self._discard()
        elif len(self._queue) >= self._wake_at:
            self._awaken()
        return reached

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
        self._limit = -1  # every further put() takes the slow way and is turned away there
        self._wake_at = _NEVER
        self._wake.set()
        with self._room:
            self._room.notify_all()
        self._discard()

    def _make_room(self) -> bool:
        """Called by put() when full: whether the record may be appended after all."""
        if self.outcome.ended is not None:
            self.outcome.dropped += 1
            self.complain(
                "after the end",
                f"it takes no more records ({self.outcome.ended.message}); what is still logged "
                "goes nowhere",
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

    def _lost(self, item: Item | threading.Event) -> None:
        if isinstance(item, threading.Event):
            item.set()
            return
        rows = self._leave(item)
        self.outcome.dropped += rows

    def _leave(self, item: Item) -> int:
        rows = item.rows if isinstance(item, Ready) else 1
        if rows > 1:
            with self._counting:
                self._surplus -= rows - 1
        return rows

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
            items, marker = self._take()
            if items:
                self._deliver(items)
                quiet_since = self._clock.monotonic()
                with self._room:
                    self._room.notify_all()
            if marker is not None:
                marker.set()
        self._transport.close()

    def _await_work(self, quiet_since: float) -> None:
        """Return when there is something to send: at once after a quiet spell, else gathered."""
        while not self._closing:
            self._wake.clear()
            self._wake_at = 1
            if self._queue or self._closing or self._wake.wait(BEAT_SECONDS):
                break
            if self._beat is not None:
                self._guarded(self._beat)
        while not (self._closing or self._hurry or len(self._queue) >= GATHER_RECORDS):
            left = quiet_since + GATHER_SECONDS - self._clock.monotonic()
            if left <= 0:
                break
            self._wake.clear()
            self._wake_at = GATHER_RECORDS
            if not (self._hurry or len(self._queue) >= GATHER_RECORDS):
                self._wake.wait(left)
        self._wake_at = _NEVER

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Unavailable:
            log.debug("session %s: no answer to a heartbeat", self._session_id)
        except GrandstandError as error:
            self._refused_for_good(error)

    def _take(self) -> tuple[list[Item], threading.Event | None]:
        items: list[Item] = []
        rows = 0
        while rows < BATCH_ROWS:
            try:
                item = self._queue.popleft()
            except IndexError:
                self._hurry = False
                break
            if isinstance(item, threading.Event):
                return items, item
            more = item.rows if isinstance(item, Ready) else 1
            if items and rows + more > BATCH_ROWS:
                self._queue.appendleft(item)
                break
            self._leave(item)
            items.append(item)
            rows += more
        return items, None

    def _deliver(self, items: list[Item]) -> None:
        """Send `items`, halving what the server refuses."""
        parts = [items]
        while parts and not self._closing:
            part = parts.pop()
            rows = sum(item.rows if isinstance(item, Ready) else 1 for item in part)
            try:
                body = batch_body(part, secrets.token_hex(8), self.complain)
                refusal = self._send(body) if len(body) <= BATCH_BYTES else "larger than 7 MiB"
            except (TypeError, ValueError, OverflowError) as error:
                refusal = sentence(error)
            if refusal is None:
                self.outcome.sent += rows
            elif len(part) > 1:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            else:
                self.outcome.dropped += rows
                self.complain(
                    f"refused {refusal}", f"a record could not be stored and is dropped: {refusal}"
                )

    def _send(self, body: bytes) -> str | None:
        """Repeat until the server has stored the batch (None) or refused its content (why)."""
        pause, longest = BACKOFF_SECONDS
        while not self._closing:
            wait = None
            try:
                if self._opening is not None:
                    self._opening()
                    self._opening = None
                reply = self._transport.request("POST", self._path, body, repeatable=True)
                if reply.status < 300:
                    self._reached(reply)
                    return None
                error = reply.error()
            except GrandstandError as failure:
                error = failure
            # An event that no longer fits the session's status is refused like a bad value: alone.
            content = error.http_status in (400, 413, 415, 422) or error.code == "status_conflict"
            if content and self._opening is None:
                return error.message
            if not (error.retryable or error.http_status >= 500 or error.http_status == 401):
                self._refused_for_good(error)
                return None
            wait = error.retry_after_seconds
            if self.outcome.away_since is None:
                self.outcome.away_since = self._clock.monotonic()
                log.warning(
                    "session %s: %s; records are kept and sent when it answers again",
                    self._session_id,
                    error.message,
                )
            self._wake.clear()
            self._wake_at = _NEVER
            if not self._closing:
                self._wake.wait(wait or pause * random.uniform(0.8, 1.2))  # noqa: S311
            pause = min(pause * 2, longest)
        return None

    def _reached(self, reply: Reply) -> None:
        if self.outcome.away_since is not None:
            away = self._clock.monotonic() - self.outcome.away_since
            log.info("session %s: the server answers again after %.1f s", self._session_id, away)
            self.outcome.away_since = None
        answer: Any = reply.json()
        for warning in (answer or {}).get("warnings") or ():
            self.complain(str(warning), str(warning))

    def _refused_for_good(self, error: GrandstandError) -> None:
        """Gone, not allowed, or somebody else's turn: what waits has nowhere to go."""
        if self.outcome.ended is None:
            log.warning("session %s takes no more records: %s", self._session_id, error.message)
        self.end(error)


_living: weakref.WeakSet[Buffer] = weakref.WeakSet()


def _at_exit() -> None:
    open_ones = [b for b in _living if b.outcome.ended is None and b._thread is not None]
    clock = SystemClock()
    until = clock.monotonic() + EXIT_SECONDS
    for buffer in open_ones:
        if not buffer.flush(max(until - clock.monotonic(), 0.1)):
            log.warning(
                "session %s: %d records were not sent before the end",
                buffer._session_id,
                buffer._rows(),
            )


def _after_fork_in_child() -> None:
    # The child has no sender thread, and what waits is the parent's to send.
    for buffer in list(_living):
        buffer._transport = buffer._transport.twin()
        ended = buffer.outcome.ended is not None
        buffer._reset()
        if ended:
            buffer._wake_at = _NEVER


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
