"""Any Gymnasium environment, trained with Stable-Baselines3.

The library's own two halves of a turn, `collect_rollouts` and `train`, are called as its `learn`
calls them, so what is learned is what it would learn; docs/design/gymnasium.md has the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from time import perf_counter
from typing import Any

import numpy as np
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from grandstand.errors import Conflict, ValidationFailed
from grandstand.model.scenarios import Scenario
from grandstand.train.household_numbers import spread_seed
from grandstand.train.sb3_account import Account, Camera, EpisodeLog
from grandstand.train.sb3_agent import (
    Draws,
    agent_state,
    default_policy,
    finite,
    load_agent_state,
    make_agent,
)
from grandstand.train.sb3_policy import agent_file
from grandstand.train.sb3_spaces import AnyEnv, make_environment, names_of, original_space
from grandstand.train.trainer import Diverged, Update

SEEDS = 2**31
"""Seeds the library takes are below this."""
DEVICES = ("auto", "cpu", "cuda")


class Sb3Trainer:
    """A Stable-Baselines3 agent in a Gymnasium environment, update by update.

    What goes on from a state goes on with the same networks, optimisers, replay buffer, schedules,
    counters and generators, but not number for number: what an environment holds inside cannot be
    saved in general, so the episode that was running begins anew.

    Attributes:
        num_episodes: episodes to count before the iteration ends.
        step, updates: environment steps and updates so far.
    """

    exact = False

    def __init__(self, scenario: Scenario, *, seed: int = 0, device: str = "auto") -> None:
        """Make the environments and the agent.

        Raises:
            ValidationFailed: names what is unknown or does not fit.
            Unavailable: the environment needs a package that is not installed.
        """
        torch.set_num_threads(1)  # as for households: the server wants the rest
        training, told = scenario.training, scenario.gymnasium
        self.scenario = scenario
        self.num_episodes = training.num_episodes
        self._seed = spread_seed(seed) % SEEDS
        self._draws = Draws(self._seed)
        # Alike in all, as the library wants it; pictures are taken of the first.
        envs = [make_environment(told, seen=True) for _ in range(training.environments or 1)]
        self._names = names_of(envs[0].action_space, told.actions)
        self._original = original_space(envs[0])
        with self._draws:
            vector = _side_by_side(envs)
            self._agent: BaseAlgorithm = make_agent(
                training, vector, seed=self._seed, device=_device(device, vector)
            )
        self._episodes = EpisodeLog(self.num_episodes)
        self._account = Account(self._episodes, self._names, training.total_timesteps)
        self._camera = Camera(envs[0])
        self._steps_per_update = training.steps_per_update or _usual_steps(self._agent)
        self._begun = False
        self.updates = 0
        self.elapsed_seconds = 0.0

    @property
    def step(self) -> int:
        """Environment steps so far, all environments together."""
        return int(self._agent.num_timesteps)

    @property
    def episodes_done(self) -> int:
        """Episodes counted so far."""
        return self._episodes.count

    # --- The loop ---------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Update]:
        return self

    def __next__(self) -> Update:
        """Act, learn, report.

        Raises:
            Diverged: the networks' weights are no numbers any more.
        """
        if self._episodes.full:
            raise StopIteration
        with self._draws:
            return self._turn()

    def _turn(self) -> Update:
        began, before = perf_counter(), self.elapsed_seconds
        if not self._begun:
            self._begin()
        first = self.step
        self._account.open(self._steps_per_update, lambda: before + perf_counter() - began)
        scalars: dict[str, float] = {}
        try:
            while self.step - first < self._steps_per_update and not self._episodes.full:
                _collect_and_train(self._agent, self._account)
                scalars |= self._logged()
        except ValueError as error:  # how a distribution of NaN shows
            if finite(self._agent):
                raise
            raise self._diverged(scalars) from error
        if not finite(self._agent):
            raise self._diverged(scalars)
        self.updates += 1
        frame = self._camera.take(
            episode=min(self.episodes_done + 1, self.num_episodes),
            step=self.step,
            ret=self._account.ret,
        )
        seconds = perf_counter() - began
        self.elapsed_seconds += seconds
        scalars["steps_per_second"] = (self.step - first) / seconds
        return Update(
            update=self.updates,
            step=self.step,
            episodes=self._episodes.take(),
            scalars=scalars,
            decisions=self._account.take_decisions(),
            frame=frame,
        )

    def _begin(self) -> None:
        """Reset the environments; the library's own beginning of `learn`."""
        _, callback = self._agent._setup_learn(total_timesteps=1, callback=self._account)
        callback.on_training_start({}, {})
        self._account.ret, self._account.length = 0.0, 0
        self._begun = True

    def _logged(self) -> dict[str, float]:
        """What the library has logged since the last time, by its names."""
        logger = self._agent.logger
        found = {
            name: float(value)
            for name, value in logger.name_to_value.items()
            if isinstance(value, (int, float, np.generic)) and not name.startswith("time/")
        }
        logger.dump()  # writes nowhere, and forgets
        return found

    def _diverged(self, scalars: Mapping[str, float]) -> Diverged:
        told = ", ".join(f"{name} {value:.3g}" for name, value in scalars.items() if "loss" in name)
        return Diverged(
            f"the networks' weights became NaN or infinite by update {self.updates + 1}"
            f"{f' ({told})' if told else ''}; a smaller learning_rate may help"
        )

    # --- State ------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values; of the environments nothing."""
        return {
            "scenario": self.scenario.to_mapping(),
            "versions": {name: version(name) for name in ("stable-baselines3", "torch")},
            "agent": agent_state(self._agent),
            "episodes": self._episodes.state_dict(),
            "draws": self._draws.state_dict(),
            "updates": self.updates,
            "elapsed_seconds": self.elapsed_seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there, at the start of an episode.

        Raises:
            Conflict: the state is of another scenario; another number of episodes is none.
        """
        if _but_episodes(state.get("scenario")) != _but_episodes(self.scenario.to_mapping()):
            raise Conflict(
                "the checkpoint is of another scenario or other training parameters",
                code="checkpoint_mismatch",
                detail="Continue with the scenario and overrides it was made with.",
            )
        self._draws.load_state_dict(state["draws"])
        with self._draws:
            envs = self._agent.get_env()
            assert envs is not None
            # Not the first episode's start once more.
            done = int(state["agent"]["counters"]["num_timesteps"])
            envs.seed(spread_seed(self._seed + done) % (SEEDS - envs.num_envs))
            self._begin()
            load_agent_state(self._agent, state["agent"])
        self._draws.load_state_dict(state["draws"])
        self._episodes.load_state_dict(state["episodes"])
        self.updates = int(state["updates"])
        self.elapsed_seconds = float(state["elapsed_seconds"])

    def models(self) -> dict[str, dict[str, Any]]:
        """The agent as it is now, enough to act."""
        content = agent_file(
            self.scenario,
            self._agent,
            original=self._original,
            names=self._names,
            policy=self.scenario.training.parameters.get("policy")
            or default_policy(self._agent.observation_space),
            episodes=self.episodes_done,
        )
        return {"agent": content}


def _but_episodes(scenario: Mapping[str, Any] | None) -> dict[str, Any]:
    """A scenario as a mapping, without the number of episodes."""
    whole = dict(scenario or {})
    training = dict(whole.get("training") or {})
    training.pop("num_episodes", None)
    return {**whole, "training": training}


def _side_by_side(envs: list[AnyEnv]) -> VecEnv:
    """Environments in one loop of this process, finished episodes told of in their infos."""
    watched = [Monitor(env) for env in envs]
    return DummyVecEnv([lambda env=env: env for env in watched])  # type: ignore[misc]


def _device(told: str, envs: VecEnv) -> str:
    """Pictures gain from a GPU, a few numbers do not.

    Raises:
        ValidationFailed: it is none we know, or not there.
    """
    if told not in DEVICES:
        raise ValidationFailed(
            f"device is {told!r}, but it should be one of {', '.join(DEVICES)}",
            details={"errors": [{"field": "device", "value": told}]},
        )
    there = torch.cuda.is_available()
    if told == "cuda" and not there:
        raise ValidationFailed(
            "device is 'cuda', but torch finds no such device here",
            details={"errors": [{"field": "device", "value": told}]},
        )
    if told == "auto":
        pictures = default_policy(envs.observation_space) == "CnnPolicy"
        return "cuda" if pictures and there else "cpu"
    return told


def _usual_steps(agent: BaseAlgorithm) -> int:
    """Steps of an update when the scenario says nothing: short enough to watch and to pause."""
    if isinstance(agent, OnPolicyAlgorithm):
        return int(agent.n_steps * agent.n_envs)
    return 256 if isinstance(agent, DQN) else 64


def _collect_and_train(agent: BaseAlgorithm, account: Account) -> None:
    """One pass of the loop in the library's `learn`."""
    envs = agent.get_env()
    assert envs is not None
    if isinstance(agent, OnPolicyAlgorithm):
        whole = agent.collect_rollouts(envs, account, agent.rollout_buffer, agent.n_steps)
        if whole:
            agent._update_current_progress_remaining(agent.num_timesteps, agent._total_timesteps)
            agent.train()
        return
    assert isinstance(agent, OffPolicyAlgorithm)
    assert isinstance(agent.train_freq, TrainFreq)
    assert agent.replay_buffer is not None
    lived = agent.collect_rollouts(
        envs,
        account,
        agent.train_freq,
        agent.replay_buffer,
        action_noise=agent.action_noise,
        learning_starts=agent.learning_starts,
        log_interval=None,
    )
    if not lived.continue_training or agent.num_timesteps <= agent.learning_starts:
        return
    steps = agent.gradient_steps if agent.gradient_steps >= 0 else lived.episode_timesteps
    if steps > 0:
        agent.train(batch_size=agent.batch_size, gradient_steps=steps)
