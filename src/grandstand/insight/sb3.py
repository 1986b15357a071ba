"""What a Stable-Baselines3 agent weighed when it chose an action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from grandstand.insight.decision import Decision

MOST_NUMBERS = 32
"""Of a continuous or compound action, that a decision tells."""


@dataclass(frozen=True)
class Moment:
    """Where in the training a decision was made.

    Attributes:
        episode: the number the running episode of environment 0 would get if it ended now.
        step: environment steps of all environments together, this one included.
        episode_step: steps of the running episode, this one included, from 1.
    """

    episode: int
    step: int
    episode_step: int


@torch.no_grad()
def decided(
    agent: BaseAlgorithm, told: Mapping[str, Any], names: Sequence[str], at: Moment
) -> Decision:
    """What environment 0's agent has just chosen, and why. Draws no random number.

    Args:
        agent: in the middle of a step, its `_last_obs` what it acted on.
        told: the variables of its loop, as a callback sees them.
        names: of the actions, see `action_names`.
        at: when.
    """
    before = _first(agent._last_obs)
    seen, _ = agent.policy.obs_to_tensor(before)
    place: dict[str, Any] = {"episode": at.episode, "step": at.step}
    extra: dict[str, Any] = {"episode_step": at.episode_step}
    policy, taken = agent.policy, np.asarray(told["actions"][0])
    if isinstance(agent, DQN):
        q = agent.q_net(seen)[0].cpu().numpy().astype(np.float64)
        rate = 1.0 if _warming_up(agent) else float(agent.exploration_rate)
        shares = np.full(len(q), rate / len(q))
        shares[int(q.argmax())] += 1.0 - rate
        return Decision(
            _named(names, shares),
            selected=names[int(taken)],
            value=float(q.max()),
            confidence=float(shares.max()),
            q_values=_named(names, q),
            extra={**extra, "exploration_rate": rate},
            **place,
        )
    if isinstance(policy, ActorCriticPolicy):
        value = float(policy.predict_values(seen)[0])
        distribution = policy.get_distribution(seen)
        if isinstance(distribution, CategoricalDistribution):
            probabilities = distribution.distribution.probs[0].cpu().numpy()
            shares = probabilities.astype(np.float64)
            return Decision(
                _named(names, shares),
                selected=names[int(taken)],
                value=value,
                confidence=float(shares.max()),
                extra=extra,
                **place,
            )
        liked, _ = policy.predict(before, deterministic=True)
        done = told.get("clipped_actions", told["actions"])[0]
        return _compound(names, liked[0], done, value, extra, place)
    liked, _ = policy.predict(before, deterministic=True)
    scaled = torch.as_tensor(np.asarray(told["buffer_actions"][:1]), device=agent.device)
    estimates = agent.critic(seen, scaled.float())  # type: ignore[attr-defined]
    value = min(float(estimate[0, 0]) for estimate in estimates)
    return _compound(names, liked[0], taken, value, extra, place)


def _first(observations: Any) -> Any:
    """The observation of environment 0 alone, still in a batch."""
    if isinstance(observations, Mapping):
        return {name: each[:1] for name, each in observations.items()}
    return observations[:1]


def _named(names: Sequence[str], values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(names, values.tolist(), strict=True))


def _compound(
    names: Sequence[str],
    liked: NDArray[Any],
    taken: NDArray[Any],
    value: float,
    extra: dict[str, Any],
    place: dict[str, Any],
) -> Decision:
    """An action of several numbers: what it likes best, and what was done."""
    names, done = names[:MOST_NUMBERS], np.asarray(taken).ravel().tolist()
    mean = dict(zip(names, np.asarray(liked).ravel().tolist(), strict=False))
    extra |= mean | {f"taken/{name}": done[i] for i, name in enumerate(names)}
    selected = ", ".join(f"{name} {done[i]:.3g}" for i, name in enumerate(names[:4])) + (
        ", …" if len(done) > 4 else ""
    )
    return Decision({}, selected=selected, value=value, extra=extra, **place)


def _warming_up(agent: OffPolicyAlgorithm) -> bool:
    """Whether the action just taken was drawn without asking the networks."""
    return agent.num_timesteps - agent.n_envs < agent.learning_starts
