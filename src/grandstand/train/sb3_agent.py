"""Stable-Baselines3's algorithms: made from a scenario's parameters, their state as plain data.

Nothing of a class or a function is ever saved: what describes an agent is the scenario's plain
parameters, from which it is made again, and tensors.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import (
    ActionNoise,
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
)
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from grandstand.errors import ValidationFailed
from grandstand.model.scenarios import TrainingConfig
from grandstand.train.sb3_spaces import AnySpace

CLASSES: dict[str, type[BaseAlgorithm]] = {
    "sb3:dqn": DQN,
    "sb3:ppo": PPO,
    "sb3:a2c": A2C,
    "sb3:sac": SAC,
    "sb3:td3": TD3,
}
OURS = frozenset(
    {
        "self",
        "env",
        "seed",
        "device",
        "verbose",
        "tensorboard_log",
        "stats_window_size",
        "_init_setup_model",
        "replay_buffer_class",
        "replay_buffer_kwargs",
        "rollout_buffer_class",
        "rollout_buffer_kwargs",
        "optimize_memory_usage",
    }
)
"""Arguments that are set by the trainer, or whose effect could not be saved."""
SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf")
LINEAR = "lin_"
ACTIVATIONS: dict[str, type[torch.nn.Module]] = {
    "relu": torch.nn.ReLU,
    "tanh": torch.nn.Tanh,
    "elu": torch.nn.ELU,
    "leaky_relu": torch.nn.LeakyReLU,
    "silu": torch.nn.SiLU,
    "gelu": torch.nn.GELU,
}
POLICY_KEYS = frozenset(
    {
        "net_arch",
        "activation_fn",
        "ortho_init",
        "log_std_init",
        "full_std",
        "use_expln",
        "squash_output",
        "clip_mean",
        "n_critics",
        "share_features_extractor",
        "normalize_images",
    }
)
"""Arguments of policies that plain data can say."""
NOISES = ("normal", "ornstein-uhlenbeck")
BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
COUNTERS = (
    "num_timesteps",
    "_n_updates",
    "_episode_num",
    "_n_calls",
    "exploration_rate",
    "_current_progress_remaining",
)
"""Attributes that go on counting; an algorithm has most of them."""


def make_agent(training: TrainingConfig, env: VecEnv, *, seed: int, device: str) -> BaseAlgorithm:
    """The algorithm that a scenario names, untrained.

    Args:
        training: names it and its arguments.
        env: what it will act in.
        seed: 0 to 2^31 - 1.
        device: as torch calls it.

    Raises:
        ValidationFailed: names the argument that is unknown or cannot be used.
    """
    cls = CLASSES[training.algorithm]
    arguments = known_arguments(cls, training.parameters)
    policy = arguments.pop("policy", None) or default_policy(env.observation_space)
    if policy not in cls.policy_aliases:
        raise _wrong("policy", policy, f"should be one of {', '.join(cls.policy_aliases)}")
    for name in SCHEDULES:
        if name in arguments:
            arguments[name] = _schedule(name, arguments[name])
    if isinstance(arguments.get("train_freq"), list):
        arguments["train_freq"] = tuple(arguments["train_freq"])
    if arguments.get("policy_kwargs") is not None:
        arguments["policy_kwargs"] = policy_arguments(arguments["policy_kwargs"])
    if arguments.get("action_noise") is not None:
        arguments["action_noise"] = _noise(arguments["action_noise"], env.action_space)
    try:
        agent = cls(policy, env, seed=seed, device=device, **arguments)
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise ValidationFailed(
            f"{training.algorithm} cannot be made for this environment with these parameters: "
            f"{' '.join(str(error).split())}",
            code="scenario_invalid",
            detail="Correct training.parameters, or take another algorithm.",
            details={"errors": [{"field": "training.parameters", "bound": str(error)}]},
        ) from error
    agent.set_logger(Logger(folder=None, output_formats=[]))
    return agent


def known_arguments(cls: type[BaseAlgorithm], told: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments for a class, each of which it knows.

    Raises:
        ValidationFailed: names those it does not.
    """
    known = [name for name in inspect.signature(cls.__init__).parameters if name not in OURS]
    unknown = [name for name in told if name not in known]
    if unknown:
        fields = [f"training.parameters.{name}" for name in unknown]
        raise ValidationFailed(
            f"{', '.join(fields)}: no parameter of {cls.__name__} that can be set",
            code="scenario_invalid",
            detail=f"Those that can: {', '.join(known)}.",
            details={
                "errors": [
                    {"field": field, "value": repr(told[name])[:80], "bound": "is not known"}
                    for field, name in zip(fields, unknown, strict=True)
                ]
            },
        )
    return dict(told)


def _wrong(name: str, value: object, bound: str) -> ValidationFailed:
    field = f"training.parameters.{name}"
    return ValidationFailed(
        f"{field} is {value!r}, but it {bound}",
        code="scenario_invalid",
        details={"errors": [{"field": field, "value": repr(value)[:80], "bound": bound}]},
    )


def default_policy(observation_space: AnySpace) -> str:
    """Pictures are looked at by a convolutional network, numbers by a plain one."""
    return "CnnPolicy" if is_image_space(observation_space) else "MlpPolicy"


def policy_arguments(told: object) -> dict[str, Any]:
    """A policy's arguments from plain data.

    Raises:
        ValidationFailed: one that plain data cannot say.
    """
    if not isinstance(told, Mapping):
        raise _wrong("policy_kwargs", told, "should be a mapping")
    for name in told:
        if name not in POLICY_KEYS:
            bound = f"is not one of {', '.join(sorted(POLICY_KEYS))}"
            raise _wrong(f"policy_kwargs.{name}", told[name], bound)
    found = dict(told)
    if "activation_fn" in found:
        name = str(found["activation_fn"]).lower()
        if name not in ACTIVATIONS:
            bound = f"should be one of {', '.join(ACTIVATIONS)}"
            raise _wrong("policy_kwargs.activation_fn", found["activation_fn"], bound)
        found["activation_fn"] = ACTIVATIONS[name]
    return found


def _schedule(name: str, told: object) -> object:
    """A number as it is, `lin_X` as a line from X to 0."""
    if not isinstance(told, str):
        return told
    try:
        if not told.startswith(LINEAR):
            raise ValueError(told)
        return LinearSchedule(float(told.removeprefix(LINEAR)), 0.0, 1.0)
    except ValueError as error:
        raise _wrong(name, told, "should be a number, or lin_X to fall from X to 0") from error


def _noise(told: object, space: AnySpace) -> ActionNoise:
    """`{kind, sigma}`, the standard deviation in units of half the action's range."""
    kind, sigma = "", 0.0
    if isinstance(told, Mapping) and set(told) <= {"kind", "sigma"}:
        kind, sigma = str(told.get("kind", "normal")), told.get("sigma", 0.1)
    good = isinstance(sigma, (int, float)) and sigma >= 0 and space.shape
    if kind not in NOISES or not good or space.shape is None:
        raise _wrong("action_noise", told, "should be {kind, sigma} (see docs/design/gymnasium.md)")
    mean, spread = np.zeros(space.shape), np.full(space.shape, float(sigma))
    if kind == "normal":
        return NormalActionNoise(mean, spread)
    return OrnsteinUhlenbeckActionNoise(mean, spread)


def finite(agent: BaseAlgorithm) -> bool:
    """Whether all weights are numbers."""
    return all(bool(torch.isfinite(weights).all()) for weights in agent.policy.parameters())


# --- State ----------------------------------------------------------------------------------------


def copied(value: Any) -> Any:
    """Tensors on the processor and plain values, all of them copies."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [copied(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


def agent_state(agent: BaseAlgorithm) -> dict[str, Any]:
    """Networks, optimisers, counters, what was experienced, and the action space's generator."""
    _, loose = agent._get_torch_save_params()
    state = {
        "parameters": copied(agent.get_parameters()),
        "loose": {name: copied(getattr(agent, name)) for name in loose},
        "counters": {n: copied(getattr(agent, n)) for n in COUNTERS if hasattr(agent, n)},
        "action_space": agent.action_space.np_random.bit_generator.state,
    }
    buffer = getattr(agent, "replay_buffer", None)
    if buffer is not None:
        filled = buffer.buffer_size if buffer.full else buffer.pos
        state["replay"] = {
            "position": buffer.pos,
            "full": bool(buffer.full),
            **{name: torch.from_numpy(getattr(buffer, name)[:filled].copy()) for name in BUFFER},
        }
    return state


def load_agent_state(agent: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    """Put an agent made with the same parameters where `agent_state` found another."""
    agent.set_parameters(state["parameters"], exact_match=True, device=agent.device)
    for name, value in state["loose"].items():
        # In place: an optimiser holds on to it.
        getattr(agent, name).data.copy_(value)
    for name, value in state["counters"].items():
        setattr(agent, name, value)
    agent.action_space.np_random.bit_generator.state = state["action_space"]
    if isinstance(agent, OffPolicyAlgorithm) and agent.replay_buffer is not None:
        told, buffer = state["replay"], agent.replay_buffer
        for name in BUFFER:
            getattr(buffer, name)[: len(told[name])] = told[name].numpy()
        buffer.pos, buffer.full = told["position"], told["full"]
        if len(told["dones"]):
            # The episodes that were running end here, cut off: what follows is of others.
            last = buffer.pos - 1
            buffer.timeouts[last] = np.where(buffer.dones[last], buffer.timeouts[last], 1.0)
            buffer.dones[last] = 1.0


class Draws:
    """The generators of torch, numpy and Python as one owner left them, apart from all others'.

    Stable-Baselines3 draws from the process's own. Within ``with draws:`` they are this object's.
    """

    def __init__(self, seed: int) -> None:
        """Args: seed: 0 to 2^31 - 1."""
        outside = _generators()
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        self._mine = _generators()
        _set_generators(outside)

    def __enter__(self) -> None:
        self._outside = _generators()
        _set_generators(self._mine)

    def __exit__(self, *_: object) -> None:
        self._mine = _generators()
        _set_generators(self._outside)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return dict(self._mine)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Draw on from there."""
        self._mine = dict(state)


def _generators() -> dict[str, Any]:
    numbers = np.random.get_state(legacy=False)
    assert isinstance(numbers, dict)
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "numpy": {
            "key": torch.from_numpy(numbers["state"]["key"].astype(np.int64)),
            "pos": int(numbers["state"]["pos"]),
            "has_gauss": int(numbers["has_gauss"]),
            "gauss": float(numbers["gauss"]),
        },
        "python": [version, list(words), gauss],
    }


def _set_generators(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    told = state["numpy"]
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {"key": told["key"].numpy().astype(np.uint32), "pos": told["pos"]},
            "has_gauss": told["has_gauss"],
            "gauss": told["gauss"],
        }
    )
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
