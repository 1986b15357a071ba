"""What is seen of a Stable-Baselines3 run: its finished episodes, what env 0's agent decides, and
how that looks."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from grandstand.insight.decision import Decision
from grandstand.insight.picture import jpeg
from grandstand.insight.sb3 import Moment, decided
from grandstand.model.frames import FRAMES_PER_SECOND
from grandstand.train.sb3_spaces import AnyEnv
from grandstand.train.trainer import INSTALL_SB3, EpisodeColumns, Frame

log = logging.getLogger("grandstand.train")

WINDOW = 10
DECISIONS_PER_UPDATE = 32


class EpisodeLog:
    """Numbers finished episodes and looks back over the last ten.

    Attributes:
        count: episodes so far, at most `limit`.
        best: best return so far, -inf before the first.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0
        self.best = -np.inf
        self._returns: deque[float] = deque(maxlen=WINDOW)
        self._lengths: deque[int] = deque(maxlen=WINDOW)
        self._rows: list[tuple[float, ...]] = []

    @property
    def full(self) -> bool:
        """Whether no more are counted."""
        return self.count >= self.limit

    def add(self, ret: float, length: int, elapsed_seconds: float) -> None:
        """Count an episode that has just finished, unless all have been."""
        if self.full:
            return
        self.count += 1
        self.best = max(self.best, ret)
        self._returns.append(ret)
        self._lengths.append(length)
        mean, steps = float(np.mean(self._returns)), float(np.mean(self._lengths))
        self._rows.append((self.count, ret, mean, self.best, length, elapsed_seconds, steps))

    def take(self) -> EpisodeColumns:
        """The episodes since the last time."""
        rows = np.array(self._rows, np.float64).reshape(-1, 7)
        self._rows = []
        return EpisodeColumns(
            episode=rows[:, 0].astype(np.int64),
            current_reward=rows[:, 1],
            average_reward=rows[:, 2],
            best_reward=rows[:, 3],
            episode_length=rows[:, 4].astype(np.int64),
            training_time_elapsed=rows[:, 5],
            extra={"average_length": rows[:, 6]},
        )

    def state_dict(self) -> dict[str, Any]:
        """Counters and windows; between two updates."""
        return {
            "count": self.count,
            "best": float(self.best),
            "returns": list(self._returns),
            "lengths": list(self._lengths),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""
        self.count, self.best = state["count"], state["best"]
        self._returns = deque(state["returns"], maxlen=WINDOW)
        self._lengths = deque(state["lengths"], maxlen=WINDOW)
        self._rows = []


class Account(BaseCallback):
    """Sits in the agent's loop and notes what happens.

    Args:
        episodes: where finished ones are counted; when it is full the loop is ended.
        names: of the actions.
        total: the steps over which schedules run; None lets them follow the share of episodes.

    Attributes:
        ret, length: of the episode that is running in environment 0.
    """

    def __init__(self, episodes: EpisodeLog, names: tuple[str, ...], total: int | None) -> None:
        super().__init__()
        self.episodes = episodes
        self.ret = 0.0
        self.length = 0
        self._names = names
        self._total = total
        self._elapsed: Callable[[], float] = float
        self._every, self._next = 1, 0
        self._decisions: list[Decision] = []

    def open(self, steps: int, elapsed: Callable[[], float]) -> None:
        """Begin an update of about so many steps; `elapsed` gives the seconds of training so
        far."""
        self._every = max(1, steps // DECISIONS_PER_UPDATE)
        self._next = 0
        self._decisions = []
        self._elapsed = elapsed

    def take_decisions(self) -> list[Decision]:
        """Those of this update, evenly spread over it."""
        return self._decisions

    def _on_step(self) -> bool:
        agent, told = self.model, self.locals
        self._next -= agent.n_envs
        if self._next <= 0:
            self._next += self._every
            at = Moment(
                episode=min(self.episodes.count + 1, self.episodes.limit),
                step=agent.num_timesteps,
                episode_step=self.length + 1,
            )
            self._decisions.append(decided(agent, told, self._names, at))
        self.ret += float(told["rewards"][0])
        self.length += 1
        if told["dones"][0]:
            self.ret, self.length = 0.0, 0
        for info in told["infos"]:
            if (ended := info.get("episode")) is not None:
                self.episodes.add(float(ended["r"]), int(ended["l"]), self._elapsed())
        self._plan(agent)
        return not self.episodes.full

    def _plan(self, agent: BaseAlgorithm) -> None:
        """Tell the agent how many steps it will be in all; its schedules run along their share."""
        share = self.episodes.count / self.episodes.limit
        if self._total is not None:
            agent._total_timesteps = max(self._total, agent.num_timesteps)
        elif share:
            agent._total_timesteps = agent.num_timesteps / share  # type: ignore[assignment]
        else:
            agent._total_timesteps = np.inf  # type: ignore[assignment]


class Camera:
    """Pictures of an environment, at most ten a second of wall time.

    Args:
        env: made with `render_mode="rgb_array"`; of any other nothing is taken.
    """

    def __init__(self, env: AnyEnv) -> None:
        self._env = env
        self._works = env.render_mode == "rgb_array"
        self._last = -np.inf

    def take(self, *, episode: int, step: int, ret: float) -> Frame | None:
        """The environment as it is now; None when it is too soon, or cannot be."""
        now = perf_counter()
        if not self._works or now - self._last < 1.0 / FRAMES_PER_SECOND:
            return None
        self._last = now
        try:
            picture = self._env.render()
            image, width, height = jpeg(np.asarray(picture))
        except (ImportError, gym.error.Error, TypeError, ValueError, OSError) as error:
            # Seeing it is a pleasure, not the task.
            self._works = False
            log.warning("no frames of %s: %s (%s)", self._env, error, INSTALL_SB3)
            return None
        if not image:
            return None
        return Frame(image, "image/jpeg", width, height, episode, step, ret)
