"""Gymnasium environments as Stable-Baselines3 is given them, and their spaces as plain data."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from grandstand.errors import Unavailable, ValidationFailed
from grandstand.insight.spaces import action_names
from grandstand.model.environments import GymnasiumEnvironment
from grandstand.train.trainer import INSTALL_SB3

AnyEnv = gym.Env[Any, Any]
AnySpace = spaces.Space[Any]
NESTED = (spaces.Dict, spaces.Tuple)
"""Observations of these kinds are flattened into one list of numbers."""

# A server has no screen; environments draw into memory.
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")


def make_environment(told: GymnasiumEnvironment, *, seen: bool = False) -> AnyEnv:
    """One environment, its observations flat.

    Args:
        told: which, and with what arguments.
        seen: whether pictures of it are wanted; an environment that draws none is made without.

    Raises:
        ValidationFailed: nobody knows it, or its arguments do not fit.
        Unavailable: it needs a package that is not installed.
    """
    try:
        package, _, name = told.id.rpartition(":")
        if package:
            importlib.import_module(package)  # which registers it
        spec = gym.spec(name)
        more: dict[str, Any] = {**told.kwargs}
        if told.max_steps is not None:
            more["max_episode_steps"] = told.max_steps
        env: AnyEnv
        if seen and _draws(spec):
            env = gym.make(spec, render_mode="rgb_array", **more)
        else:
            env = gym.make(spec, **more)
    except gym.error.DependencyNotInstalled as error:
        raise Unavailable(
            f"{told.id} needs a package that is not installed: {error}",
            code="training_unavailable",
            detail=f"Install it as the message says; those of Gymnasium's classic control come "
            f"with: {INSTALL_SB3}",
        ) from error
    except ModuleNotFoundError as error:
        raise _refused(told, f"the package {error.name} is not installed") from error
    except (gym.error.Error, TypeError, ValueError, AssertionError) as error:
        raise _refused(told, " ".join(str(error).split())) from error
    if isinstance(env.observation_space, NESTED):
        env = gym.wrappers.FlattenObservation(env)
    return env


def _draws(spec: gym.envs.registration.EnvSpec) -> bool:
    """Whether the environment's class says that it gives pictures; False when it cannot be asked
    without making one."""
    entry = spec.entry_point
    try:
        creator = gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    except (ImportError, AttributeError):
        return False
    return "rgb_array" in (getattr(creator, "metadata", None) or {}).get("render_modes", ())


def _refused(told: GymnasiumEnvironment, why: str) -> ValidationFailed:
    return ValidationFailed(
        f"environment {told.id!r} cannot be made: {why}",
        code="environment_invalid",
        detail="Correct environment.id or environment.kwargs; `my_package:Mine-v0` imports "
        "my_package first.",
        details={"errors": [{"field": "environment.id", "value": told.id, "bound": why}]},
    )


def original_space(env: AnyEnv) -> AnySpace:
    """What the environment itself observes, before flattening."""
    wrapper = env
    while isinstance(wrapper, gym.Wrapper):
        if isinstance(wrapper, gym.wrappers.FlattenObservation):
            return wrapper.env.observation_space
        wrapper = wrapper.env
    return env.observation_space


def space_data(space: AnySpace) -> dict[str, Any]:
    """A space as tensors and plain values; `space_of` reads it back.

    Raises:
        ValidationFailed: a kind that cannot be saved.
    """
    kind = type(space).__name__
    if isinstance(space, spaces.Box):
        low, high = (torch.from_numpy(np.array(edge)) for edge in (space.low, space.high))
        return {"kind": kind, "low": low, "high": high, "dtype": str(np.dtype(space.dtype))}
    if isinstance(space, spaces.Discrete):
        return {"kind": kind, "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"kind": kind, "nvec": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": kind, "n": space.n if isinstance(space.n, int) else list(space.n)}
    if isinstance(space, spaces.Dict):
        inner = [[str(key), space_data(each)] for key, each in space.spaces.items()]
        return {"kind": kind, "spaces": inner}
    if isinstance(space, spaces.Tuple):
        return {"kind": kind, "spaces": [space_data(each) for each in space.spaces]}
    raise ValidationFailed(
        f"a space of the kind {kind} cannot be trained on",
        code="environment_invalid",
        detail="Observations and actions should be Box, Discrete, MultiDiscrete or MultiBinary; "
        "observations also Dict or Tuple of those.",
    )


def space_of(data: Mapping[str, Any]) -> AnySpace:
    """The space that `space_data` told of."""
    match data["kind"]:
        case "Box":
            low, high = data["low"].numpy(), data["high"].numpy()
            return spaces.Box(low, high, dtype=np.dtype(data["dtype"]).type)
        case "Discrete":
            return spaces.Discrete(data["n"], start=data["start"])
        case "MultiDiscrete":
            return spaces.MultiDiscrete(data["nvec"])
        case "MultiBinary":
            return spaces.MultiBinary(data["n"])
        case "Dict":
            return spaces.Dict({key: space_of(inner) for key, inner in data["spaces"]})
        case "Tuple":
            return spaces.Tuple([space_of(inner) for inner in data["spaces"]])
        case kind:
            raise ValidationFailed(f"{kind!r} is no space this program saves", code="model_invalid")


def names_of(space: AnySpace, told: tuple[str, ...]) -> tuple[str, ...]:
    """What actions (of a continuous or compound action, its numbers) are called.

    Raises:
        ValidationFailed: names were given, but not as many as there are actions.
    """
    usual = action_names(space)
    if told and len(told) != len(usual):
        raise ValidationFailed(
            f"environment.actions has {len(told)} names, but there are {len(usual)} actions",
            code="scenario_invalid",
            details={"errors": [{"field": "environment.actions", "value": list(told)}]},
        )
    return told or usual
