"""The gallery: of each session the newest frame of the agent at play, and the best episode's last.

It is kept in memory and ends with the server: frames are there to be looked at, the numbers behind
them are in the log.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque

from grandstand.clock import Clock
from grandstand.model.frames import FRAMES_PER_SECOND, Frame

MOST_SESSIONS = 32
"""Sessions whose frames are kept: those with the newest ones, at most 16 MiB altogether."""


class _Wall:
    """One session's frames."""

    def __init__(self) -> None:
        self.newest: Frame | None = None
        self.best: Frame | None = None
        self._best_return = -math.inf
        self._return: float | None = None  # of the newest one's episode, as told last
        self._taken: deque[float] = deque(maxlen=FRAMES_PER_SECOND)

    def offer(self, frame: Frame, now: float) -> bool:
        self._note(frame)
        if len(self._taken) == FRAMES_PER_SECOND and now - self._taken[0] < 1.0:
            return False
        self._taken.append(now)
        self.newest, self._return = frame, frame.value
        return True

    def _note(self, frame: Frame) -> None:
        """Look what the coming of `frame` says of the one before, whether it is taken or not."""
        last = self.newest
        if last is None or last.episode is None or frame.episode is None:
            return
        if frame.episode == last.episode:
            self._return = frame.value if frame.value is not None else self._return
        elif frame.episode > last.episode and self._return is not None:
            # One that goes back to a checkpoint leaves an episode unfinished: that counts for none.
            if self._return > self._best_return:
                self.best, self._best_return = last, self._return
            self._return = None


class Gallery:
    """Every session's frames, of a bounded number of sessions."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._walls: OrderedDict[str, _Wall] = OrderedDict()

    def offer(self, session_id: str, frame: Frame) -> bool:
        """Keep a frame as the session's newest.

        Returns:
            False when the session has had ten within a second; this one is dropped.
        """
        wall = self._walls.setdefault(session_id, _Wall())
        self._walls.move_to_end(session_id)
        if len(self._walls) > MOST_SESSIONS:
            self._walls.popitem(last=False)
        return wall.offer(frame, self._clock.monotonic())

    def newest(self, session_id: str) -> Frame | None:
        """The frame that came last."""
        wall = self._walls.get(session_id)
        return wall.newest if wall is not None else None

    def best(self, session_id: str) -> Frame | None:
        """The last frame of the finished episode with the highest return, as frames told it.

        An episode is finished once a frame of a later one has come.
        """
        wall = self._walls.get(session_id)
        return wall.best if wall is not None else None

    def forget(self, session_id: str) -> None:
        """Let go of a session's frames."""
        self._walls.pop(session_id, None)
