"""An episode played to be looked at: what the policy would do now, step by step.

A training lives thousands of episodes a second in many environments at once, and tells of few of
its steps. To see what it has learned, it plays one whole episode at times, without exploring, in an
environment of its own: always the same bills and markets, so that two are compared by what was
decided. Nothing random of the training is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from grandstand.insight.decision import Decision
from grandstand.model.telemetry import PLAYED
from grandstand.train.evaluate import live
from grandstand.train.household_numbers import Household
from grandstand.train.policy import Policy

SEED = 0
_PARTS = (1, 2, 5)


def due(before: int, now: int, planned: int) -> bool:
    """Whether an episode is to be played after episode `now`, the last look having been at
    `before`: at 10, 20, 50, 100, 200, … and at the end of the run.

    A new agent changes fast and an old one slowly; and it depends on nothing but the numbers of
    episodes, so that a run which goes on from a checkpoint plays the same ones again.
    """
    if now >= planned > before:
        return True
    for power in count(1):
        for part in _PARTS:
            mark = part * 10**power
            if mark > now:
                return False
            if mark > before:
                return True
    raise AssertionError("the marks have no end")


def play(models: Mapping[str, Mapping[str, Any]], episode: int) -> list[Decision]:
    """A household's life, month by month, by the agents as they are in `models`.

    Args:
        models: as `Trainer.models` gives them.
        episode: the training's, after which it is played.
    """
    low = models["low_agent"] if "low_agent" in models else models["agent"]
    policy = Policy(low, models.get("high_agent"))
    household = Household(policy.scenario, market_noise=False)
    household.rules["period"] = policy.scenario.training.high_period
    (traced,) = live(policy, household, household.envs(1, SEED), True, 1)
    return [
        _month(traced, i, household.horizon, episode, "high_agent" in models)
        for i in range(len(traced["reward"]))
    ]


def _month(
    traced: Mapping[str, Any], i: int, months: int, episode: int, two_levels: bool
) -> Decision:
    shares = {name: float(traced[name][i]) for name in ("invest", "save", "consume")}
    extra = {
        PLAYED: "greedy",
        "month": i + 1,
        "max_months": months,
        "reward": traced["reward"][i],
        "cash_after": traced["cash"][i],
        "portfolio_after": traced["portfolio"][i],
    }
    for goal in ("goal_share", "goal_buffer"):
        if two_levels and traced[goal][i] is not None:
            extra[goal] = traced[goal][i]
    return Decision(
        shares,
        selected=max(shares, key=shares.__getitem__),
        episode=episode,
        step=i + 1,
        extra=extra,
    )
