"""One household as a Gymnasium environment: the Executor's view, the goal part of what it sees."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from grandstand.model.scenarios import Scenario
from grandstand.train.household_batch import HouseholdBatch, action_space, observation_space
from grandstand.train.household_kernels import Floats


class HouseholdEnv(gym.Env[Floats, Floats]):
    """Split each month's income between investing, saving and consuming.

    An observation holds eleven numbers, named in `household_numbers.OBSERVATION`: the income and
    fixed bills of the month to come, last month's variable bills, cash, portfolio (euros),
    inflation, risk tolerance, months left, and the goal. An action is a point of the simplex:
    (invest, save, consume).
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        scenario: Scenario,
        *,
        strict: bool = False,
        goal: tuple[float, float, float] = (0, 0, 0),
    ) -> None:
        """Make the environment.

        Args:
            scenario: the task.
            strict: raise for an action off the simplex instead of projecting it.
            goal: invest share (0..1), buffer (euros, >= 0), aggressiveness (0..1).
        """
        self.observation_space = observation_space()
        self.action_space = action_space()
        self.strict = strict
        self._one = HouseholdBatch(scenario, 1, goal=goal, restart=False)
        self._over = True

    def set_goal(self, share: float, buffer: float, aggressiveness: float) -> None:
        """Show this goal from the next observation on; units as in the constructor."""
        rules = self._one.household.rules[0]
        self._one.envs["goal_share"] = share / rules["share_unit"]
        self._one.envs["goal_buffer"] = buffer / rules["buffer_unit"]
        self._one.envs["goal_edge"] = aggressiveness

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Start an episode; the same seed gives the same one, here and in `HouseholdBatch`."""
        super().reset(seed=seed)
        if seed is None and self._np_random is None:
            seed = int(self.np_random.integers(1 << 62))  # never seeded: a start of its own
        observation, _ = self._one.reset(seed=seed)
        self._over = False
        return observation[0].copy(), {}

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Live one month.

        Returns:
            Observation, reward, terminated (cash below zero), truncated (month H is over), and
            info:
            `projected` (whether the action was off the simplex), `executed` (the shares lived by),
            `investment_return` and `bills` in euros.

        Raises:
            ValueError: the action is not finite, or `strict` and off the simplex.
            gymnasium.error.ResetNeeded: the episode is over.
        """
        if self._over:
            raise gym.error.ResetNeeded("the episode is over; call reset() first")
        actions = np.asarray(action, dtype=np.float64).reshape(1, 3)
        if self.strict and (actions.min() < 0 or abs(float(actions.sum()) - 1.0) > 1e-6):
            raise ValueError(
                f"the action {actions[0].tolist()} is off the simplex: "
                "shares should be at least 0 and sum to 1"
            )
        observation, rewards, terminated, truncated, infos = self._one.step(actions)
        self._over = bool(terminated[0] or truncated[0])
        info = {
            "projected": bool(infos["projected"][0]),
            "executed": infos["executed"][0].copy(),
            "investment_return": float(infos["investment_return"][0]),
            "bills": float(infos["bills"][0]),
        }
        return (
            observation[0].copy(),
            float(rewards[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            info,
        )


class FixedGoal(gym.Wrapper[Floats, Floats, Floats, Floats]):
    """Shows the same goal for ever; without one, hides the goal (a flat environment of 8
    numbers)."""

    def __init__(self, env: HouseholdEnv, goal: tuple[float, float, float] | None = None) -> None:
        super().__init__(env)
        self._flat = goal is None
        if goal is not None:
            env.set_goal(*goal)
        else:
            space = observation_space()
            self.observation_space = gym.spaces.Box(space.low[:8], space.high[:8], dtype=np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        return self._shown(observation), info

    def step(self, action: Floats) -> tuple[Floats, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._shown(observation), reward, terminated, truncated, info

    def _shown(self, observation: Floats) -> Floats:
        return observation[:8] if self._flat else observation
