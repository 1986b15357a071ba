"""A trained Stable-Baselines3 agent: its file, acting with it, and how well it plays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from grandstand.errors import ValidationFailed
from grandstand.model.scenarios import Scenario
from grandstand.train.household_numbers import spread_seed
from grandstand.train.sb3_agent import CLASSES, Draws, copied, policy_arguments
from grandstand.train.sb3_spaces import (
    NESTED,
    AnyEnv,
    AnySpace,
    make_environment,
    space_data,
    space_of,
)

FORMAT = 1
KIND = "sb3"
SIDE_BY_SIDE = 32
"""Environments that are played at once."""
LONGEST = 100_000
"""Steps after which an evaluation ends an episode that does not end by itself."""
SEEDS = 2**31


def agent_file(
    scenario: Scenario,
    agent: BaseAlgorithm,
    *,
    original: AnySpace,
    names: tuple[str, ...],
    policy: object,
    episodes: int,
) -> dict[str, Any]:
    """What an agent's `.pt` file holds: tensors and plain values, enough to act."""
    return {
        "format": FORMAT,
        "kind": KIND,
        "role": "agent",
        "scenario": scenario.to_mapping(),
        "algorithm": scenario.training.algorithm,
        "policy": str(policy),
        "policy_kwargs": copied(scenario.training.parameters.get("policy_kwargs") or {}),
        "use_sde": bool(agent.use_sde),
        "exploration_rate": float(getattr(agent, "exploration_rate", 0.0)),
        "seen_space": space_data(original),
        "observation_space": space_data(agent.observation_space),
        "action_space": space_data(agent.action_space),
        "action_names": list(names),
        "weights": copied(agent.policy.state_dict()),
        "episodes": episodes,
        "step": int(agent.num_timesteps),
    }


class Sb3Policy:
    """A trained agent of a Gymnasium environment.

    Attributes:
        scenario: what it was trained on.
        episodes: finished episodes it learned from.
        action_names: of the actions, or of a continuous or compound action's numbers.
    """

    def __init__(self, content: Mapping[str, Any], *, seed: int = 0) -> None:
        self.scenario = Scenario.from_mapping(content["scenario"], where="the model's scenario")
        self.episodes: int = content["episodes"]
        self.action_names: tuple[str, ...] = tuple(content["action_names"])
        self.action_space: AnySpace = space_of(content["action_space"])
        self._seen_space = space_of(content["seen_space"])
        self._space = space_of(content["observation_space"])
        cls = CLASSES[content["algorithm"]]
        self._rate: float = content["exploration_rate"] if cls is DQN else 0.0
        arguments = policy_arguments(content["policy_kwargs"])
        if content["use_sde"]:
            arguments["use_sde"] = True
        with torch.random.fork_rng(devices=[]):  # weights are drawn, and then replaced
            self._policy: BasePolicy = cls.policy_aliases[content["policy"]](
                self._space, self.action_space, lr_schedule=_still, **arguments
            )
        self._policy.load_state_dict(content["weights"])
        self._policy.set_training_mode(False)
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Begin the draws of acting without `greedy` anew."""
        spread = spread_seed(seed) % SEEDS
        self._draws = Draws(spread)
        self._random = np.random.default_rng(spread)

    def act(self, observation: Any, *, greedy: bool = True) -> NDArray[Any]:
        """The action for one observation, as `env.step` takes it.

        Args:
            observation: as the environment gives it, arrays or nested lists.
            greedy: the action it likes best; without, one as in training: drawn from the policy, or
                (for DQN) at random as often as it still explored. TD3's has no chance in it.

        Raises:
            ValidationFailed: it does not fit the environment's observations.
        """
        seen = self._read(observation)
        return np.asarray(self.act_many(seen[None], greedy=greedy)[0])

    def act_many(self, observations: NDArray[Any], *, greedy: bool) -> NDArray[Any]:
        """Actions (N, …) for N observations (N, …), flat as the networks see them."""
        with self._draws:
            actions, _ = self._policy.predict(observations, deterministic=greedy)
        if self._rate and not greedy and isinstance(self.action_space, spaces.Discrete):
            explores = self._random.random(len(actions)) < self._rate
            drawn = self._random.integers(int(self.action_space.n), size=len(actions))
            actions = np.where(explores, drawn + self.action_space.start, actions)
        return np.asarray(actions)

    def plays(self, env: AnyEnv) -> bool:
        """Whether it can act there: its observations and actions are like those it knows."""
        alike = (
            env.action_space.shape == self.action_space.shape
            and type(env.action_space) is type(self.action_space)
            and getattr(env.action_space, "n", None) == getattr(self.action_space, "n", None)
        )
        return alike and _flat_shape(env.observation_space) == _flat_shape(
            _flattened(self._seen_space)
        )

    def _read(self, observation: Any) -> NDArray[Any]:
        """One observation as the networks see it."""
        space = self._seen_space
        try:
            if isinstance(space, NESTED) and isinstance(observation, (Mapping, tuple)):
                observation = spaces.flatten(space, observation)
            flat = _flattened(space)
            seen = np.asarray(observation, dtype=flat.dtype)
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise self._unfit(observation) from error
        right = seen.shape == _flat_shape(flat) and bool(np.isfinite(seen).all())
        if right and isinstance(flat, spaces.Discrete):
            right = flat.contains(int(seen))
        if not right:
            raise self._unfit(observation)
        return seen

    def _unfit(self, observation: Any) -> ValidationFailed:
        space = _flattened(self._seen_space)
        shape = _flat_shape(space)
        words = (
            f"one number from {space.start} to {space.start + space.n - 1}"
            if isinstance(space, spaces.Discrete)
            else f"{' × '.join(str(size) for size in shape)} finite numbers"
        )
        return ValidationFailed(
            f"observation should be {words}, as {self.scenario.gymnasium.id} gives it",
            details={"errors": [{"field": "observation", "value": repr(observation)[:80]}]},
        )


def _still(_: float) -> float:
    return 0.0


def _flattened(space: AnySpace) -> AnySpace:
    """What a network sees of a nested space; any other as it is."""
    return spaces.flatten_space(space) if isinstance(space, NESTED) else space


def _flat_shape(space: AnySpace) -> tuple[int, ...]:
    return tuple(space.shape or ())


def play(
    policy: Sb3Policy,
    scenario: Scenario | None,
    *,
    episodes: int,
    seed: int,
    greedy: bool,
    trajectories: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[dict[str, Any]]]:
    """Let an agent play whole episodes.

    The same seed gives every agent the same beginnings, so that two are compared by their
    difference and not by their luck (as far as the environment draws only from its generator).

    Args:
        policy: what acts.
        scenario: where; None takes the one it was trained on.
        episodes: how many, at least 1.
        seed: of the environments and of draws.
        greedy: see `Sb3Policy.act`.
        trajectories: how many episodes to write down step by step.

    Returns:
        Returns and lengths of the episodes, and of the first ones lists by step of `reward` and
        `action`.

    Raises:
        ValidationFailed: the agent does not fit the environment.
    """
    told = (scenario or policy.scenario).gymnasium
    envs = [make_environment(told) for _ in range(min(episodes, SIDE_BY_SIDE))]
    try:
        if not policy.plays(envs[0]):
            raise ValidationFailed(
                f"a model of {policy.scenario.gymnasium.id} cannot act in {told.id}: "
                "observations or actions differ",
                code="model_unfit",
                detail="Evaluate it on a scenario with the environment it was trained on.",
            )
        return _play(policy, envs, episodes, seed, greedy, trajectories)
    finally:
        for env in envs:
            env.close()


def _play(
    policy: Sb3Policy,
    envs: list[AnyEnv],
    episodes: int,
    seed: int,
    greedy: bool,
    trajectories: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[dict[str, Any]]]:
    returns, lengths = np.zeros(episodes), np.zeros(episodes)
    book: list[dict[str, Any]] = [{"reward": [], "action": []} for _ in range(trajectories)]

    def begin(env: AnyEnv, episode: int) -> NDArray[Any]:
        start = np.random.SeedSequence([spread_seed(seed), episode]).generate_state(1)[0]
        return np.asarray(env.reset(seed=int(start))[0])

    playing = [(env, episode) for episode, env in enumerate(envs)]
    seen = [begin(env, episode) for env, episode in playing]
    following = len(envs)
    while playing:
        actions = policy.act_many(np.stack(seen), greedy=greedy)
        still, now = [], []
        for (env, episode), action in zip(playing, actions, strict=True):
            observation, reward, terminated, truncated, _ = env.step(action)
            returns[episode] += float(reward)
            lengths[episode] += 1
            if episode < trajectories:
                told = float(reward)
                book[episode]["reward"].append(told if math.isfinite(told) else None)
                book[episode]["action"].append(np.asarray(action).tolist())
            if not (terminated or truncated or lengths[episode] >= LONGEST):
                still.append((env, episode))
                now.append(np.asarray(observation))
            elif following < episodes:
                still.append((env, following))
                now.append(begin(env, following))
                following += 1
        playing, seen = still, now
    return returns, lengths, book[: min(trajectories, episodes)]
