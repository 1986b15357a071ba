"""One reporter's socket between its frames and their answers.

Nobody waits for a commit here: what arrives during one gathers and goes with the next, so that a
frame costs little more than reading it. What is not committed yet is bounded; beyond it nothing
more is read from the connection, and the reporter's own sends begin to wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grandstand.assembly import Assembly
from grandstand.errors import Conflict, Gone, GrandstandError, NotFound, TooLarge, ValidationFailed
from grandstand.live.frames import Parcel
from grandstand.live.outbox import SOFT_BYTES, TOO_SLOW, Outbox
from grandstand.model.bundle import Bundle, read_frame, read_usual, stays_alone
from grandstand.model.session import Wanted
from grandstand.model.telemetry import MAX_WARNINGS, Batch, encode
from grandstand.service.access import Grant
from grandstand.service.telemetry import Receipt
from grandstand.web.errors import error_body

logger = logging.getLogger("grandstand.web.ingest")

MOST_RECORDS = 20_000
MOST_BYTES = 4 * 1024 * 1024
"""What may wait for its commit on one connection, where there are few."""
ALL_BYTES = 64 * 1024 * 1024
"""What may wait on all of them together, so that many have a smaller share each."""
ROUND_BYTES = 1024 * 1024
ROUNDS = 2
"""What goes to the store together, and how often: one is being committed while one waits its turn,
and what arrives meanwhile makes the next."""
NOT_UTF8 = 1007


@dataclass(slots=True, eq=False)
class _Part:
    """What becomes one row of the log.

    Attributes:
        upto: the number of its last frame.
        alone: it is a single frame.
        last: a round ends with it.
    """

    batch: Batch
    upto: int
    count: int
    size: int
    alone: bool = False
    last: bool = False
    task: asyncio.Task[Receipt] | None = None


class Reporter:
    """One reporter's socket.

    Args:
        outbox: the way to the client.
        hold: called with True to have nothing more read from the client, with False to go on.
        share: what part of `ALL_BYTES` is this one's.
    """

    def __init__(
        self,
        house: Assembly,
        session_id: str,
        grant: Grant,
        outbox: Outbox,
        hold: Callable[[bool], None],
        share: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self.session_id = session_id
        self.taken_bytes = 0
        self._house = house
        self.grant = grant
        self._outbox = outbox
        self._hold = hold
        self._share = share
        self._loop = asyncio.get_running_loop()
        self._largest = house.settings.performance.max_body_bytes
        self._most_unread = house.settings.performance.send_queue_bytes
        self._open = True
        # From the frames to the store: gathering, cut into rows, given to the store.
        self._bundle = Bundle()
        self._ready: deque[_Part] = deque()
        self._flying: deque[_Part] = deque()
        self._rounds = 0
        self._records_waiting = 0
        self._bytes_waiting = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._turning = False
        self._held = False
        self._deaf: asyncio.Task[None] | None = None
        # What the client is told.
        self._read = 0
        self._frames = 0
        self._acked = 0
        self._last_seq = 0
        self._warnings: list[str] = []
        self._wanted = Wanted.RUNNING
        self._news = False

    def take(self, frames: Sequence[bytes]) -> None:
        """Take frames as they arrived; returns at once."""
        if not self._open:
            return
        self.taken_bytes += sum(map(len, frames))
        items = read_usual(frames)
        if items is not None and max(map(len, frames)) <= self._largest:
            self._read += len(frames)
            self._wait_for(len(frames), self._bundle.add_usual(frames, items))
        else:
            for frame in frames:
                self._take_with_care(frame)
        if self._bundle.full:
            self._cut(self._read)
        self._heed()
        self._turn_soon()

    async def finish(self) -> None:
        """Return when everything taken is committed, or will never be."""
        await self._idle.wait()

    async def left(self) -> None:
        """The client is gone: see what was taken committed; nobody is told."""
        self._open = False
        await self.finish()
        if self._deaf is not None:
            self._deaf.cancel()
            await asyncio.wait((self._deaf,))

    async def goodbye(self) -> None:
        """Take no more, answer what was taken, and ask the client to come back later."""
        self._open = False
        await self.finish()
        self._answer()
        self.close(1012, "the server is restarting")

    def close(self, code: int, reason: str) -> None:
        """Close the connection. What is with the store already is stored, and not answered."""
        self._open = False
        self._bundle = Bundle()
        self._ready.clear()
        if self._deaf is not None:
            self._deaf.cancel()
        self._outbox.close(code, reason)
        self._rest()

    # Frames.

    def _take_with_care(self, frame: bytes) -> None:
        if not self._open:
            return
        self._read += 1
        try:
            if len(frame) > self._largest:
                raise TooLarge(
                    f"a frame may have at most {self._largest:,} bytes",
                    code="body_too_large",
                    detail="Send fewer records at a time.",
                    details={"limit": self._largest},
                )
            batch = read_frame(frame)
        except GrandstandError as error:
            if _is_utf8(frame):
                self._refuse(error, self._read)
            else:
                self.close(NOT_UTF8, f"frame {self._read} is not UTF-8")
            return
        if stays_alone(batch):
            self._cut(self._read - 1)
            part = _Part(batch, self._read, batch.count, len(frame), alone=True)
            self._ready.append(part)
        elif batch.records:
            self._bundle.add(batch, len(frame))
            if self._bundle.full:
                self._cut(self._read)
        else:
            self._news = True
            return
        self._wait_for(batch.count, len(frame))

    def _wait_for(self, records: int, size: int) -> None:
        self._records_waiting += records
        self._bytes_waiting += size
        self._idle.clear()

    def _cut(self, upto: int) -> None:
        if (bundle := self._bundle).count:
            self._ready.append(_Part(bundle.batch(), upto, bundle.count, bundle.size))
            self._bundle = Bundle()

    def _heed(self) -> None:
        """Have the connection read, or not, as much as waits."""
        most_bytes = min(MOST_BYTES, ALL_BYTES * self._share())
        most = max(self._records_waiting / MOST_RECORDS, self._bytes_waiting / most_bytes)
        held = self._open and (self._deaf is not None or most > (0.5 if self._held else 1.0))
        if held is not self._held:
            self._held = held
            self._hold(held)

    # The store.

    def _turn_soon(self) -> None:
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Once for whatever came in this turn of the loop: send it on, answer, read on."""
        self._turning = False
        if self._rounds < ROUNDS:
            self._cut(self._read)
        while self._ready and self._rounds < ROUNDS:
            self._send_round()
        self._answer()
        self._heed()
        self._rest()

    def _send_round(self) -> None:
        record = self._house.telemetry.record
        size = 0
        while self._ready and size < ROUND_BYTES:
            part = self._ready.popleft()
            size += part.size
            # Tasks begin in the order in which they are made, and each gives its batch to the
            # writer before it waits for anything: the store sees them in the order of the frames.
            part.task = self._loop.create_task(record(self.session_id, part.batch, self.grant))
            part.task.add_done_callback(self._landed)
            self._flying.append(part)
        self._flying[-1].last = True
        self._rounds += 1

    def _landed(self, _: object) -> None:
        while self._flying and (task := self._flying[0].task) is not None and task.done():
            part = self._flying.popleft()
            self._rounds -= part.last
            self._records_waiting -= part.count
            self._bytes_waiting -= part.size
            problem = asyncio.CancelledError() if task.cancelled() else task.exception()
            if problem is None:
                self._safe(part, task.result())
            elif self._open or self._outbox.closed is False:
                self._failed(part, problem)
        self._turn_soon()

    def _safe(self, part: _Part, receipt: Receipt) -> None:
        self._frames = part.upto
        self._acked += part.count
        self._last_seq = max(self._last_seq, receipt.last_seq)
        self._warnings += receipt.warnings[: MAX_WARNINGS - len(self._warnings)]
        self._wanted = receipt.wanted
        self._news = True

    def _failed(self, part: _Part, problem: BaseException) -> None:
        harmless = isinstance(problem, ValidationFailed) or (
            isinstance(problem, Conflict) and problem.code == "status_conflict"
        )
        if part.alone and harmless and isinstance(problem, GrandstandError):
            self._frames = part.upto
            self._refuse(problem, part.upto)
            return
        if isinstance(problem, NotFound):
            problem = Gone("the session was deleted", code="session_deleted")
        if not isinstance(problem, GrandstandError):
            logger.error("session %s: a batch failed", self.session_id, exc_info=problem)
            problem = GrandstandError("something went wrong on the server")
        self._answer()
        self._refuse(problem, self._frames + 1)
        self.close(problem.close_code, problem.message)

    def _rest(self) -> None:
        if not (self._flying or self._ready or self._bundle.count):
            self._idle.set()

    # Answers.

    def _answer(self) -> None:
        """Say how far everything is committed, if there is something new to say."""
        if not (self._flying or self._ready or self._bundle.count):
            self._frames = self._read
        if not self._news or self._deaf is not None:
            return
        told: dict[str, Any] = {
            "acked": self._acked,
            "frames": self._frames,
            "last_seq": self._last_seq,
        }
        if self._warnings:
            told["warnings"] = self._warnings
        if self._wanted is not Wanted.RUNNING:
            told["wanted"] = self._wanted
        if self._say(told, SOFT_BYTES):
            self._news, self._warnings = False, []

    def _refuse(self, error: GrandstandError, at: int) -> None:
        body = error_body(error, self._house.clock)
        if not self._say({**body, "at": at}, self._most_unread):
            self._too_slow()
        elif self._outbox.waiting() > SOFT_BYTES:
            self._wait_for_reader()

    def _say(self, told: dict[str, Any], limit: int) -> bool:
        if self._outbox.put(Parcel([encode(told)]), limit):
            return True
        if not self._outbox.closed:
            self._wait_for_reader()
        return False

    def _wait_for_reader(self) -> None:
        if self._deaf is None and self._open:
            self._deaf = self._loop.create_task(self._until_read())
            self._heed()

    async def _until_read(self) -> None:
        drained = asyncio.ensure_future(self._outbox.drained())
        bound = asyncio.ensure_future(self._house.clock.sleep(self._house.hub.stale_seconds))
        try:
            await asyncio.wait((drained, bound), return_when=asyncio.FIRST_COMPLETED)
            read = drained.done()
        finally:
            drained.cancel()
            bound.cancel()
        self._deaf = None
        if read:
            self._turn_soon()
        else:
            self._too_slow()

    def _too_slow(self) -> None:
        self.close(TOO_SLOW, "too slow: read what you are told")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
