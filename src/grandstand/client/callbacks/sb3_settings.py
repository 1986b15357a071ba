"""A Stable-Baselines3 algorithm's hyperparameters as plain data, for a session's `config`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import Enum
from importlib.metadata import version
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

LEFT_OUT = frozenset(
    {"self", "args", "kwargs", "policy", "env", "_init_setup_model", "verbose", "tensorboard_log"}
)


def settings_of(model: BaseAlgorithm) -> dict[str, Any]:
    """What an algorithm was made with, by the names of its arguments.

    Numbers, texts and collections of them are told as they are, a schedule or a class by its name.
    """
    names = inspect.signature(type(model).__init__).parameters
    found = {
        name: _plain(getattr(model, name))
        for name in names
        if name not in LEFT_OUT and hasattr(model, name)
    }
    return {
        "policy": type(model.policy).__name__,
        **found,
        "seed": model.seed,
        "device": str(model.device),
        "versions": {name: version(name) for name in ("stable-baselines3", "gymnasium", "torch")},
    }


def environment_of(envs: VecEnv) -> str | None:
    """The id under which Gymnasium knows the environments, where it does."""
    spec = envs.get_attr("spec", indices=[0])[0]
    return None if spec is None else str(spec.id)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if hasattr(value, "_asdict"):  # a train frequency
        return _plain(value._asdict())
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, type) or inspect.isroutine(value):
        return value.__qualname__
    told = repr(value)
    return type(value).__name__ if " at 0x" in told else told[:200]
