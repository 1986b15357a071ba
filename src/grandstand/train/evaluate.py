"""How good a policy is: its expected return by common random numbers, and its score."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from grandstand.model.scenarios import Scenario
from grandstand.train import household_kernels as kernels
from grandstand.train.household_kernels import Floats
from grandstand.train.household_numbers import Household
from grandstand.train.optimum import references
from grandstand.train.policy import Acting, Policy

BATCH = 4096


@dataclass(frozen=True)
class Evaluation:
    """The outcome of `evaluate`; returns in the reward's units."""

    scenario_name: str
    episodes: int
    greedy: bool
    market_noise: bool
    seed: int
    return_mean: float
    return_se: float
    """Standard error of the mean."""
    length_mean: float
    """Steps an episode lasted."""
    months_mean: float | None
    """Months survived; like the next four of a household only."""
    score: float | None
    """(return_mean - uniform) / (optimum - uniform): 0 for equal shares, 1 for the optimum."""
    optimum: float | None
    uniform: float | None
    best_constant: float | None
    trajectories: list[dict[str, Any]]
    """Of the first episodes asked for: lists by month of cash, portfolio, invest, save, consume,
    goal share and buffer, reward; of a Gymnasium environment by step of reward and action."""

    def to_mapping(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


TRACED = (
    "invest",
    "save",
    "consume",
    "cash",
    "portfolio",
    "reward",
    "goal_share",
    "goal_buffer",
)
"""What a trajectory holds, by month, in the order `household_kernels.act_where` writes it."""


def evaluate(
    policy: Acting,
    scenario: Scenario | None = None,
    *,
    episodes: int = 1000,
    seed: int = 0,
    greedy: bool = True,
    market_noise: bool = False,
    trajectories: int = 0,
    cache: Path | None = None,
) -> Evaluation:
    """Let a policy live and count what it earns.

    The same seed gives every policy the same bills and markets, so that two are compared by their
    difference and not by their luck.

    Args:
        policy: what acts.
        scenario: where; None takes the one it was trained on.
        episodes: how many, at least 1.
        seed: of bills, markets and draws.
        greedy: act by the mean of the policy, or draw from it.
        market_noise: False lets the market return its mean, which leaves expectations as they are;
            of no meaning in a Gymnasium environment.
        trajectories: how many episodes to write down step by step.
        cache: folder for the reference values (see `optimum.references`).

    Raises:
        ValidationFailed: the policy cannot act there.
    """
    if not isinstance(policy, Policy):
        return _evaluate_other(policy, scenario, episodes, seed, greedy, trajectories)
    scenario = scenario or policy.scenario
    household = Household(scenario, market_noise=market_noise)
    household.rules["period"] = policy.scenario.training.high_period
    totals: list[Floats] = []
    lengths: list[Floats] = []
    traced: list[dict[str, Any]] = []
    for first in range(0, episodes, BATCH):
        count = min(BATCH, episodes - first)
        envs = household.envs(count, seed + first)
        wanted = min(max(trajectories - first, 0), count)
        traced += live(policy, household, envs, greedy, wanted)
        totals.append(envs["total"].copy())
        lengths.append(envs["length"].astype(np.float64))
    total = np.concatenate(totals)
    against = references(scenario, cache)
    spread = float(total.std(ddof=1)) if episodes > 1 else 0.0
    mean, months = float(total.mean()), float(np.concatenate(lengths).mean())
    return Evaluation(
        scenario_name=scenario.name,
        episodes=episodes,
        greedy=greedy,
        market_noise=market_noise,
        seed=seed,
        return_mean=mean,
        return_se=spread / math.sqrt(episodes),
        length_mean=months,
        months_mean=months,
        score=against.score(mean),
        optimum=against.optimum,
        uniform=against.uniform,
        best_constant=against.best_constant,
        trajectories=traced,
    )


def _evaluate_other(
    policy: Acting,
    scenario: Scenario | None,
    episodes: int,
    seed: int,
    greedy: bool,
    trajectories: int,
) -> Evaluation:
    """What `evaluate` finds of an agent of a Gymnasium environment."""
    from grandstand.train.sb3_policy import Sb3Policy, play  # there, since the policy is

    assert isinstance(policy, Sb3Policy)
    policy.reseed(seed)
    total, lengths, traced = play(
        policy,
        scenario,
        episodes=episodes,
        seed=seed,
        greedy=greedy,
        trajectories=trajectories,
    )
    spread = float(total.std(ddof=1)) if episodes > 1 else 0.0
    return Evaluation(
        scenario_name=(scenario or policy.scenario).name,
        episodes=episodes,
        greedy=greedy,
        market_noise=False,
        seed=seed,
        return_mean=float(total.mean()),
        return_se=spread / math.sqrt(episodes),
        length_mean=float(lengths.mean()),
        months_mean=None,
        score=None,
        optimum=None,
        uniform=None,
        best_constant=None,
        trajectories=traced,
    )


def live(
    policy: Policy, household: Household, envs: kernels.Records, greedy: bool, wanted: int
) -> list[dict[str, Any]]:
    """One episode in every household; returns the months of the first `wanted`."""
    count = len(envs)
    alive = np.ones(count, np.bool_)
    scratch = policy.scratch(count)
    z = torch.zeros(count, 2)
    book = np.full((household.horizon, wanted, len(TRACED)), np.nan)
    for k in range(household.horizon):
        policy.decide(household, envs, z, greedy=greedy, scratch=scratch)
        kernels.act_where(household.rules, household.months, envs, alive, z.numpy(), book[k])
        if not alive.any():
            break
    return [
        {
            name: [None if math.isnan(v) else v for v in book[: envs["length"][i], i, j].tolist()]
            for j, name in enumerate(TRACED)
        }
        for i in range(wanted)
    ]
