"""Stable-Baselines3's PPO on the household: on our batch environment, or on Python environments.

Prints environment steps a second, measured after the first iteration. The networks, rollout and
epochs are those of our recipe; the reward is the task's own, as a user would begin.
"""

from __future__ import annotations

import argparse
import sys
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from grandstand.model.scenarios import load_scenario
from grandstand.train.household import HouseholdEnv
from grandstand.train.household_batch import HouseholdBatch


class Batch(VecEnv):
    """Our vector environment under Stable-Baselines3's interface."""

    def __init__(self, inner: HouseholdBatch) -> None:
        self.inner = inner
        box = inner.single_observation_space
        super().__init__(
            inner.num_envs,
            gym.spaces.Box(box.low.astype(np.float32), box.high.astype(np.float32)),
            gym.spaces.Box(0.0, 1.0, (3,), np.float32),
        )

    def reset(self) -> Any:
        seen, _ = self.inner.reset(seed=0)
        return seen.astype(np.float32)

    def step_async(self, actions: Any) -> None:
        self._actions = actions

    def step_wait(self) -> Any:
        shares = np.maximum(self._actions, 1e-6)
        seen, rewards, ended, late, _ = self.inner.step(shares / shares.sum(1, keepdims=True))
        done = ended | late
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        return seen.astype(np.float32), rewards.astype(np.float32), done.copy(), infos

    def close(self) -> None: ...

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **more: Any) -> Any:
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class Watch(BaseCallback):
    """Notes when the first iteration is over."""

    def __init__(self) -> None:
        super().__init__()
        self.began: tuple[float, int] | None = None
        self.iterations = 0

    def _on_rollout_start(self) -> None:
        self.iterations += 1
        if self.iterations == 2:
            self.began = perf_counter(), self.num_timesteps

    def _on_step(self) -> bool:
        return True


def main() -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("batch", "python"))
    parser.add_argument("--scenario", default="bologna_coppia")
    parser.add_argument("--steps", type=int, default=500_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    scenario = load_scenario(given.scenario)
    envs: Any
    if given.kind == "batch":
        envs, months, rows = Batch(HouseholdBatch(scenario, 512)), 60, 7680
    else:
        envs, months, rows = DummyVecEnv([lambda: HouseholdEnv(scenario)] * 8), 512, 1024
    model = PPO(
        "MlpPolicy",
        envs,
        n_steps=months,
        batch_size=rows,
        n_epochs=2,
        learning_rate=3e-3,
        gamma=0.99,
        device="cpu",
        policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}},
    )
    watch = Watch()
    model.learn(given.steps, callback=watch)
    assert watch.began is not None
    at, steps = watch.began
    sys.stdout.write(f"{(model.num_timesteps - steps) / (perf_counter() - at)}\n")


if __name__ == "__main__":
    main()
