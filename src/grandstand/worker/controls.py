"""What is wanted of this worker, as the server says and as the system's signals say.

A thread of its own keeps the heartbeat: each request is held by the server until the wish changes,
so an order arrives at once, and says at the same time that the worker is alive. Learning happens in
NumPy and torch, which let other threads run.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from grandstand.client.session import Session
from grandstand.client.transport import Transport, call
from grandstand.clock import Clock
from grandstand.errors import Conflict, Forbidden, Gone, GrandstandError, NotFound
from grandstand.model.session import ENDED

log = logging.getLogger("grandstand.worker")

GONE_SECONDS = 600.0
"""A server that stays away for longer is not coming back for this worker."""
LEAVE_SECONDS = 6.0
"""After SIGTERM the server is waited for no longer than this."""
RETRY_SECONDS = 1.0
TICK_SECONDS = 0.1


class Controls:
    """The wish, and the heartbeat that fetches it.

    Args:
        transport: the heartbeat's own.
        session: whose records are given up when the server is gone for good.
        wanted: the wish the order came with.
        heartbeat_seconds: between two signs of life, above 0.
        clock: for the spans.

    Attributes:
        wanted: "running", "paused" or "stopped".
        checkpoint_requested: people asked for a checkpoint; `checkpoint_taken` answers it.
        superseded: another worker has this session, or it is over; nothing may be reported.
        leaving: the machine (or the server) wants this process to end.
        gone: the server was away for too long.
    """

    def __init__(
        self,
        transport: Transport,
        session: Session,
        *,
        wanted: str,
        heartbeat_seconds: float,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._session = session
        self._path = f"/api/training/sessions/{session.session_id}/heartbeat"
        self._period = heartbeat_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._away_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.wanted = wanted
        self.status: str = "starting"
        self.checkpoint_requested = False
        self.superseded = False
        self.leaving = False
        self.gone = False

    def start(self) -> None:
        """Begin the heartbeat."""
        self._thread.start()

    def close(self) -> None:
        """Stop it; the request under way is not waited for."""
        self._closed.set()

    def leave(self) -> None:
        """Have the worker leave soon. Safe in a signal handler: it takes no lock."""
        if not self.leaving:
            self.leaving = True
            late = threading.Timer(LEAVE_SECONDS, self._session.abandon)
            late.daemon = True
            late.start()

    @property
    def must_go(self) -> bool:
        """Whether the training cannot go on in this process."""
        over = self._session.ended is not None
        return self.leaving or self.superseded or self.gone or over

    @property
    def interrupted(self) -> bool:
        """Whether anything but simply going on is wanted."""
        return self.must_go or self.wanted != "running" or self.checkpoint_requested

    def wait(self, seconds: float) -> bool:
        """Let time pass, but no longer than until something other than going on is wanted.

        Returns:
            Whether that is the case.
        """
        until = self._clock.monotonic() + seconds
        while not self.interrupted and (left := until - self._clock.monotonic()) > 0:
            self._tick(left)
        return self.interrupted

    def wait_while_paused(self) -> None:
        """Return when the pause is over, or a checkpoint is asked for, or the worker must go."""
        while self.wanted == "paused" and not (self.must_go or self.checkpoint_requested):
            self._tick(TICK_SECONDS)

    def checkpoint_taken(self) -> None:
        """The request is answered: call it once the server has stored the event that says so."""
        self.checkpoint_requested = False

    def _tick(self, left: float) -> None:
        # Short waits: a signal handler cannot notify, and 0.1 s is soon enough.
        with self._changed:
            self._changed.wait(min(left, TICK_SECONDS))

    def _run(self) -> None:
        while not (self._closed.is_set() or self.superseded):
            began = self._clock.monotonic()
            known = self.wanted
            try:
                answer = self._beat()
            except (Conflict, NotFound, Gone, Forbidden) as error:
                log.warning("the server wants no more of this worker: %s", error.message)
                self.superseded = True
            except GrandstandError as error:
                self._away(error)
                self._closed.wait(RETRY_SECONDS)
                continue
            else:
                self._hear(answer)
            with self._changed:
                self._changed.notify_all()
            if self.wanted == known and self._clock.monotonic() - began < RETRY_SECONDS:
                self._closed.wait(RETRY_SECONDS)  # it did not hold the request
        self._transport.close()

    def _beat(self) -> dict[str, Any]:
        told = {
            "status": self.status,
            "wanted": self.wanted,
            "wait_seconds": min(self._period, 20.0),
        }
        answer = call(
            self._transport, "POST", self._path, told, timeout=self._period + 25, repeatable=True
        )
        return dict(answer)

    def _hear(self, answer: dict[str, Any]) -> None:
        if self._away_since is not None:
            log.info("the server answers again")
            self._away_since = None
        if answer["status"] in ENDED and not self._closed.is_set():
            log.warning("the session is %s already; leaving", answer["status"])
            self.superseded = True
        if answer["wanted"] != self.wanted:
            log.info("wanted: %s", answer["wanted"])
            self.wanted = answer["wanted"]
        self.checkpoint_requested = bool(answer.get("checkpoint_requested"))

    def _away(self, error: GrandstandError) -> None:
        now = self._clock.monotonic()
        if self._away_since is None:
            self._away_since = now
            log.warning("%s; training goes on", error.message)
        elif now - self._away_since > GONE_SECONDS and not self.gone:
            log.error("the server has been away for %.0f s; leaving", now - self._away_since)
            self.gone = True
            self._session.abandon()
