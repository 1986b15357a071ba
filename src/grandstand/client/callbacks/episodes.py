"""Finished episodes of a foreign training: numbered, looked back over, reported."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import inf
from time import perf_counter
from typing import Any

from grandstand.client.session import Session

WINDOW = 100
"""Episodes that averages and the win rate look back over."""


class Episodes:
    """Reports each finished episode once.

    Args:
        session: where to.
        count: episodes it had before.

    Attributes:
        count: episodes so far.
        best: best return so far, -inf before the first.
    """

    def __init__(self, session: Session, *, count: int = 0) -> None:
        self.session = session
        self.count = count
        self.best = -inf
        self._returns: deque[float] = deque(maxlen=WINDOW)
        self._lengths: deque[int] = deque(maxlen=WINDOW)
        self._successes: deque[bool] = deque(maxlen=WINDOW)
        self._begun = perf_counter()

    @property
    def running(self) -> int:
        """The number the running episode would get if it ended now."""
        return self.count + 1

    def pause(self, seconds: float) -> None:
        """Leave so many seconds out of the training's time."""
        self._begun += seconds

    def add(
        self,
        ret: float,
        length: int,
        *,
        step: int,
        success: bool | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Count an episode that has just finished, and report it.

        Args:
            ret: its return, the undiscounted sum of rewards.
            length: its steps.
            step: environment steps so far, of all environments together.
            success: whether it reached its goal, where the environment says so.
            more: further scalars, by name.
        """
        self.count += 1
        if ret > self.best:
            self.best = ret
        self._returns.append(ret)
        self._lengths.append(length)
        row: dict[str, Any] = {
            "current_reward": ret,
            "average_reward": sum(self._returns) / len(self._returns),
            "best_reward": self.best if self.best > -inf else None,
            "episode_length": length,
            "average_length": sum(self._lengths) / len(self._lengths),
            "training_time_elapsed": perf_counter() - self._begun,
        }
        if success is not None:
            self._successes.append(success)
            row["success"] = success
            row["win_rate"] = 100.0 * sum(self._successes) / len(self._successes)
        if more:
            row.update(more)
        self.session.log(row, episode=self.count, step=step)

    def summary(self) -> dict[str, Any]:
        """What it came to so far, for the session's end."""
        if not self._returns:
            return {"episodes": self.count}
        return {
            "episodes": self.count,
            "best_reward": self.best,
            "average_reward": sum(self._returns) / len(self._returns),
        }
