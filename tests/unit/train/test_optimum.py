"""The exact solution, held against simulation and against what was found before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grandstand.model.scenarios import Scenario
from grandstand.train import household_kernels as kernels
from grandstand.train.household_numbers import Household, expected_above
from grandstand.train.optimum import Optimum, best_constant, references


@pytest.mark.slow
def test_the_value_is_what_its_policy_earns(balanced: Scenario) -> None:
    solved = Optimum(balanced)
    calm, _ = solved.simulate(4000, 1, market_noise=False)
    wild, _ = solved.simulate(4000, 1)
    for earned in (calm, wild):
        error = earned.std() / np.sqrt(len(earned))
        assert earned.mean() == pytest.approx(solved.value, abs=4 * error + 0.001 * solved.value)
    assert solved.value == pytest.approx(740, abs=1)


@pytest.mark.slow
def test_references_are_ordered_and_kept(balanced: Scenario, tmp_path: Path) -> None:
    cache = tmp_path / "references"
    found = references(balanced, cache)
    assert found.uniform < 0 < found.best_constant < found.optimum
    assert found.uniform == pytest.approx(-1, abs=0.3)
    assert found.best_constant == pytest.approx(718, abs=1.5)
    assert (found.best_invest, found.best_consume) == (0.18, 0.08)
    assert (found.score(found.uniform), found.score(found.optimum)) == (0, 1)
    assert references(balanced, cache) == found
    assert len(list(cache.iterdir())) == 1
    assert references(balanced.with_overrides({"num_episodes": 3}), cache) == found


def test_a_household_that_cannot_live_still_has_an_optimum(balanced: Scenario) -> None:
    broke = balanced.with_overrides(
        {"environment": {"fixed_expenses": 4000, "initial_cash": 500, "max_months": 12}}
    )
    solved = Optimum(broke)
    earned, _ = solved.simulate(2000, 1)
    assert np.isfinite(solved.value)
    assert earned.mean() == pytest.approx(solved.value, abs=0.5)


def test_nobody_beats_it_with_constant_shares(balanced: Scenario) -> None:
    short = balanced.with_overrides({"environment": {"max_months": 12}})
    assert best_constant(short)[0] <= Optimum(short).value + 0.05


@pytest.mark.parametrize(
    ("mean", "std", "floor"), [(0.0, 1.0, 0.0), (100, 80, 0), (0.005, 0.9, -1)]
)
def test_expectation_above_a_floor(mean: float, std: float, floor: float) -> None:
    draws = np.maximum(floor, np.random.default_rng(0).normal(mean, std, 1_000_000))
    assert expected_above(mean, std, floor) == pytest.approx(draws.mean(), abs=0.004 * std)


def month(
    household: Household,
    envs: Any,
    actions: Any,
    t: int,
    rewards: Any,
    ended: Any,
    finished: Any,
) -> int:
    """Every household lives a month; see `kernels.rollout_month`."""
    done: int = kernels.rollout_month(
        household.rules,
        household.months,
        envs,
        actions,
        0.0,
        t,
        rewards,
        np.zeros_like(rewards),
        ended,
        finished,
        0,
        np.zeros(8),
    )
    return done


def test_the_learning_reward_keeps_every_policys_expected_return(bologna: Scenario) -> None:
    """Sum of r2, unscaled, plus Psi at the start, equals the sum of r in expectation (item 2)."""
    for z in ([0.8, 0.4], [1.4, 0.6], [3.0, 2.0]):  # the last goes bankrupt
        household = Household(bologna)
        count, horizon = 4000, household.horizon
        envs = household.envs(count, 3)
        start = kernels.potential(household.rules, household.months, 0, 10_000.0)
        actions = np.tile(np.float32(z), (count, 1))
        rewards = np.zeros(count, np.float32)
        ended, sums = np.zeros(count, np.int64), np.zeros(count)
        finished = np.zeros(count * horizon, kernels.FINISHED)
        alive, plain = np.ones(count, bool), np.zeros(count)
        for t in range(horizon):
            done = month(household, envs, actions, t, rewards, ended, finished)
            sums += np.where(alive, rewards, 0)
            plain[np.flatnonzero(ended)[alive[ended == 1]]] = finished["total"][:done][
                alive[ended == 1]
            ]
            alive &= ended == 0
        learned = sums / household.rules["reward_scale"][0] + start
        difference = learned - plain
        error = difference.std() / np.sqrt(count)
        assert abs(difference.mean()) < 4 * error + 0.01
        assert learned.std() < plain.std()


def test_the_luck_of_bills_is_no_part_of_the_learning_reward(bologna: Scenario) -> None:
    """With cash to spare, households that did the same learn the same, whatever their bills."""
    rich = bologna.with_overrides({"environment": {"initial_cash": 100_000}})
    household = Household(rich)
    count = 500
    envs = household.envs(count, 3)
    actions = np.tile(np.array([0.8, 0.4], np.float32), (count, 1))
    rewards = np.zeros(count, np.float32)
    ended, finished = np.zeros(count, np.int64), np.zeros(count, kernels.FINISHED)
    month(household, envs, actions, 0, rewards, ended, finished)
    bills = envs["cash"].std()
    assert bills > 50
    worth = household.months["credit"][2] * household.rules["reward_scale"][0]
    assert rewards.std() < 0.02 * bills * worth  # what overspending costs is left
