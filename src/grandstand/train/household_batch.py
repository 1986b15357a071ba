"""Many households at once: a Gymnasium vector environment around one compiled loop."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from grandstand.model.scenarios import Scenario
from grandstand.train.household_kernels import (
    BANKRUPT,
    OVER,
    Floats,
    begin_all,
    describe_all,
    step_all,
)
from grandstand.train.household_numbers import Household, household_key


def observation_space() -> gym.spaces.Box[Any]:
    """Eleven numbers as in `household_numbers.OBSERVATION`; money may be negative or large."""
    low = np.full(11, -np.inf)
    high = np.full(11, np.inf)
    low[[6, 7, 8, 9, 10]] = 0.0
    high[[6, 8, 10]] = 1.0
    return gym.spaces.Box(low, high, dtype=np.float64)


def action_space() -> gym.spaces.Box[Any]:
    """Shares of the month's income: invest, save, consume. They should sum to 1."""
    return gym.spaces.Box(0.0, 1.0, (3,), dtype=np.float64)


class HouseholdBatch(VectorEnv[Floats, Floats, NDArray[Any]]):
    """N households side by side, equal number for number to N single ones.

    Observations (N, 11) and actions (N, 3) as in `HouseholdEnv`. A household that ends starts anew
    in the same step (Gymnasium's SAME_STEP): `infos["final_obs"]` holds its last observation.
    The arrays returned are the batch's own and are overwritten by the next step.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        scenario: Scenario,
        num_envs: int,
        *,
        goal: tuple[float, float, float] = (0, 0, 0),
        restart: bool = True,
    ) -> None:
        """Make the batch.

        Args:
            scenario: the task.
            num_envs: how many households, at least 1.
            goal: shown to all: invest share (0..1), buffer (euros), aggressiveness (0..1).
            restart: whether a household that ends starts anew in the same step.
        """
        self.household = Household(scenario)
        self.num_envs = num_envs
        self.single_observation_space = observation_space()
        self.single_action_space = action_space()
        self.observation_space = gym.vector.utils.batch_space(observation_space(), num_envs)
        self.action_space = gym.vector.utils.batch_space(action_space(), num_envs)
        self.envs = self.household.envs(num_envs, 0)
        rules = self.household.rules[0]
        self.envs["goal_share"] = goal[0] / rules["share_unit"]
        self.envs["goal_buffer"] = goal[1] / rules["buffer_unit"]
        self.envs["goal_edge"] = goal[2]
        self._observations = np.zeros((num_envs, 11))
        self._finals = np.zeros((num_envs, 11))
        self._rewards = np.zeros(num_envs)
        self._ended = np.zeros(num_envs, np.int64)
        self._moved = np.zeros(num_envs, np.bool_)
        self._books = np.zeros((num_envs, 5))
        self._restart = restart

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Start every household anew.

        Args:
            seed: household i gets `seed + i` (or `seed[i]`); None lets the generators go on.
            options: none are known.
        """
        if seed is not None:
            seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed
            for i, one in enumerate(seeds):
                if one is not None:
                    self.envs["key"][i] = household_key(one)
                    self.envs["counter"][i] = 0
        begin_all(self.household.rules, self.envs)
        describe_all(self.household.rules, self.household.months, self.envs, self._observations)
        return self._observations, {}

    def step(
        self, actions: Floats
    ) -> tuple[Floats, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Live one month.

        Args:
            actions: (N, 3); a row off the simplex is projected and flagged in
                `infos["projected"]`.

        Returns:
            Observations (N, 11), rewards (N,), terminated (cash below zero), truncated (month H is
            over), infos with the arrays `projected`, `executed` (N, 3), `investment_return` and
            `bills` (euros), and `final_obs` where some ended.

        Raises:
            ValueError: an action is not finite.
        """
        actions = np.asarray(actions, dtype=np.float64)
        if not np.isfinite(actions).all():
            raise ValueError("an action holds NaN or infinity; shares are numbers from 0 to 1")
        step_all(
            self.household.rules,
            self.household.months,
            self.envs,
            actions,
            self._observations,
            self._finals,
            self._rewards,
            self._ended,
            self._moved,
            self._books,
            self._restart,
        )
        terminated, truncated = self._ended == BANKRUPT, self._ended == OVER
        infos: dict[str, Any] = {
            "projected": self._moved,
            "executed": self._books[:, :3],
            "investment_return": self._books[:, 3],
            "bills": self._books[:, 4],
        }
        over = terminated | truncated
        if self._restart and over.any():
            infos["final_obs"] = self._finals
            infos["_final_obs"] = over
        return self._observations, self._rewards, terminated, truncated, infos
