"""The household, single and batched: the rules as written down, and both equal number for
number."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from grandstand.model.environments import Environment
from grandstand.model.scenarios import Scenario, load_scenario, shipped_scenarios
from grandstand.train import household_kernels as kernels
from grandstand.train.household import FixedGoal, HouseholdEnv
from grandstand.train.household_batch import HouseholdBatch
from grandstand.train.household_numbers import OBSERVATION, household_key

CALM = {
    "environment": {
        "variable_expense_std": 0,
        "investment_return_type": "fixed",
        "max_months": 6,
        "income_growth": 0.03,
    }
}


@pytest.mark.filterwarnings("ignore:.*A Box observation space:UserWarning")
def test_gymnasium_accepts_it(bologna: Scenario) -> None:
    check_env(HouseholdEnv(bologna), skip_render_check=True)


def test_a_month_is_what_the_rules_say(bologna: Scenario) -> None:
    scenario = bologna.with_overrides(CALM)
    e, w = scenario.environment, scenario.reward
    env = HouseholdEnv(scenario)
    env.reset(seed=1)
    cash, portfolio = e.initial_cash, 0.0
    for k in range(1, 7):
        x, c = 0.1 + 0.02 * k, 0.05
        growth = (1 + e.inflation) ** (k / 12)
        income = e.income * (1 + e.income_growth) ** (k / 12)
        bills = (e.fixed_expenses + e.variable_expense_mean) * growth
        earned = portfolio * e.investment_return_mean
        cash = cash + income - bills - (x + c) * income
        portfolio = portfolio + earned + x * income
        reward = (
            w.alpha * (x * income + earned)
            + w.kappa * 0.1 * income * math.log(1 + c * income / (0.1 * income))
            - w.beta * max(0, e.safety_threshold - cash)
            - w.gamma * max(0, bills + c * income - income)
        ) / 1000
        if k == 6:
            reward += w.alpha * cash / 1000
        observation, given_reward, terminated, truncated, info = env.step(
            np.array([x, 1 - x - c, c])
        )
        assert given_reward == pytest.approx(reward, rel=1e-12)
        assert observation[3] == pytest.approx(cash)
        assert observation[4] == pytest.approx(portfolio)
        assert observation[7] == 6 - k
        assert info["bills"] == pytest.approx(bills)
        assert info["investment_return"] == pytest.approx(earned)
        assert (terminated, truncated) == (False, k == 6)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.array([0.0, 1.0, 0.0]))


def test_debt_ends_the_episode_and_exactly_nothing_does_not() -> None:
    calm = {
        "income": 1000,
        "income_growth": 0,
        "inflation": 0,
        "fixed_expenses": 500,
        "variable_expense_mean": 0,
        "variable_expense_std": 0,
        "initial_cash": 0,
        "safety_threshold": 0,
    }
    scenario = load_scenario("balanced").with_overrides({"environment": calm})
    env = HouseholdEnv(scenario)
    env.reset(seed=0)
    _, _, terminated, _, _ = env.step(np.array([0.5, 0.5, 0.0]))
    assert not terminated
    _, reward, terminated, _, info = env.step(np.array([0.75, 0.25, 0.0]))
    assert terminated
    # What was invested last month has earned something random; the rest is certain.
    earned = info["investment_return"]
    assert reward == pytest.approx((10 * (750 + earned) - (0.1 + 20) * 250) / 1000)


@pytest.mark.parametrize(
    "name",
    sorted(n for n, s in shipped_scenarios().items() if isinstance(s.environment, Environment)),
)
def test_the_batch_equals_single_ones_number_for_number(name: str) -> None:
    scenario = load_scenario(name)
    count, rng = 5, np.random.default_rng(3)
    batch = HouseholdBatch(scenario, count)
    singles = [HouseholdEnv(scenario) for _ in range(count)]
    seen, _ = batch.reset(seed=11)
    for i, env in enumerate(singles):
        first, _ = env.reset(seed=11 + i)
        np.testing.assert_array_equal(first, seen[i])
    ends = 0
    for _ in range(200):
        actions = rng.dirichlet([0.5, 8, 0.2], count)
        seen, rewards, terminated, truncated, infos = batch.step(actions)
        for i, env in enumerate(singles):
            own, reward, dead, over, _ = env.step(actions[i])
            assert (reward, dead, over) == (rewards[i], terminated[i], truncated[i])
            if dead or over:
                ends += 1
                np.testing.assert_array_equal(own, infos["final_obs"][i])
                own, _ = env.reset()
            np.testing.assert_array_equal(own, seen[i])
    assert ends


def test_the_same_seed_gives_the_same_episode(bologna: Scenario) -> None:
    def episode(seed: int) -> list[float]:
        env = HouseholdEnv(bologna)
        env.reset(seed=seed)
        return [float(env.step(np.array([0.1, 0.85, 0.05]))[1]) for _ in range(20)]

    assert episode(5) == episode(5)
    assert episode(5) != episode(6)


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
@settings(max_examples=200)
def test_projection_is_the_nearest_point(action: list[float]) -> None:
    x, s, c, moved = kernels.on_simplex(*action)
    point = np.array([x, s, c])
    assert point.min() >= 0
    assert point.sum() == pytest.approx(1, abs=1e-6)
    if not moved:
        assert point.tolist() == action
    distance = np.linalg.norm(point - action)
    for other in np.random.default_rng(0).dirichlet([1, 1, 1], 50):
        assert distance <= np.linalg.norm(other - action) + 1e-6


def test_off_the_simplex_is_told_or_refused(bologna: Scenario) -> None:
    env = HouseholdEnv(bologna)
    env.reset(seed=0)
    info = env.step(np.array([1.0, 1.0, 1.0]))[4]
    assert info["projected"]
    np.testing.assert_allclose(info["executed"], [1 / 3] * 3)
    strict = HouseholdEnv(bologna, strict=True)
    strict.reset(seed=0)
    with pytest.raises(ValueError, match="off the simplex"):
        strict.step(np.array([1.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="NaN"):
        env.step(np.array([math.nan, 0.5, 0.5]))


def test_the_goal_is_seen_or_hidden(bologna: Scenario) -> None:
    shown, _ = FixedGoal(HouseholdEnv(bologna), (0.2, 4000.0, 0.7)).reset(seed=1)
    assert shown[8:] == pytest.approx([0.2, 4000.0, 0.7])
    assert len(shown) == len(OBSERVATION)
    hidden, _ = FixedGoal(HouseholdEnv(bologna)).reset(seed=1)
    assert len(hidden) == 8


def test_a_turn_is_cosine_and_sine() -> None:
    for u in np.linspace(0, 1, 4097)[:-1]:
        cosine, sine = kernels.turn(float(u))
        assert cosine == pytest.approx(math.cos(2 * math.pi * u), abs=2e-15)
        assert sine == pytest.approx(math.sin(2 * math.pi * u), abs=2e-15)


def test_normals_are_normal_and_streams_differ() -> None:
    draws = np.array(
        [
            kernels.normals(np.uint64(household_key(seed)), np.uint64(counter))
            for seed in range(40)
            for counter in range(500)
        ]
    )
    assert abs(draws.mean()) < 0.02
    assert abs(draws.std() - 1) < 0.02
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.02
    assert (np.abs(draws) > 1.96).mean() == pytest.approx(0.05, abs=0.006)
    by_stream = draws[:, 0].reshape(40, 500)
    off_diagonal = np.corrcoef(by_stream)[np.triu_indices(40, 1)]
    assert np.abs(off_diagonal).max() < 0.25
