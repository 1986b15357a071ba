"""Frames of the agent at play, sent beside the records: the newest wins, and none is waited for."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from urllib.parse import urlencode

from grandstand.client.transport import Transport
from grandstand.clock import Clock
from grandstand.errors import GrandstandError
from grandstand.model.frames import FRAMES_PER_SECOND, MAX_FRAME_BYTES, media_type_of

SEND_SECONDS = 5.0
AWAY_SECONDS = 1.0
"""After one that did not arrive, so long none is sent."""
FOR_GOOD = frozenset({"attempt_superseded", "session_ended", "gone"})


class FrameSender:
    """One place for the frame that is sent next, and the thread that sends it.

    Args:
        transport: where to; the thread has a twin of it.
        path: the session's.
        clock: for the rate.
        complain: is told once for each topic what is wrong with frames.
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        clock: Clock,
        complain: Callable[[str, str], None],
    ) -> None:
        self._transport = transport
        self._path = f"{path}/frame"
        self._clock = clock
        self._complain = complain
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._news = threading.Condition()
        self._next: tuple[bytes, str, str] | None = None
        self._process = os.getpid()
        self._thread: threading.Thread | None = None

    def put(
        self, image: bytes, *, episode: int | None, step: int | None, value: float | None
    ) -> None:
        """Send `image` next, in place of one that still waits. Returns at once."""
        media_type = media_type_of(image)
        if media_type is None or len(image) > MAX_FRAME_BYTES:
            self._complain(
                "frame",
                f"a frame is a JPEG or WebP image of at most {MAX_FRAME_BYTES:,} bytes; "
                "others are not sent",
            )
            return
        told = {"episode": episode, "step": step, "return": value}
        query = urlencode({name: v for name, v in told.items() if v is not None})
        if self._process != os.getpid():  # forked: the thread is the parent's
            self._reset()
        with self._news:
            if self._closed:
                return
            self._next = image, media_type, f"{self._path}?{query}"
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="grandstand-frames", daemon=True
                )
                self._thread.start()
            self._news.notify_all()

    def close(self) -> None:
        """Send nothing any more."""
        with self._news:
            self._closed = True
            self._next = None
            self._news.notify_all()

    def _run(self) -> None:
        transport = self._transport.twin()
        pause = 0.0
        while (frame := self._take(pause)) is not None:
            began = self._clock.monotonic()
            pause = AWAY_SECONDS
            if self._send(transport, *frame):
                pause = 1.0 / FRAMES_PER_SECOND - (self._clock.monotonic() - began)
        transport.close()

    def _take(self, pause: float) -> tuple[bytes, str, str] | None:
        """The frame to send, after `pause` seconds; None when there will be none."""
        with self._news:
            if pause > 0:
                self._news.wait_for(lambda: self._closed, pause)
            self._news.wait_for(lambda: self._closed or self._next is not None)
            frame, self._next = self._next, None
            return frame

    def _send(self, transport: Transport, image: bytes, media_type: str, path: str) -> bool:
        try:
            reply = transport.request(
                "PUT", path, image, timeout=SEND_SECONDS, media_type=media_type
            )
            if reply.status < 300:
                return True
            error = reply.error()
        except GrandstandError as failure:
            error = failure
        if error.code in FOR_GOOD:
            self.close()
        elif not error.retryable:
            self._complain(f"frame {error.code}", f"a frame was not taken: {error.message}")
        return False
