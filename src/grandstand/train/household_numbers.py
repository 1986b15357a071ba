"""A scenario turned into the numbers the compiled household runs on."""

from __future__ import annotations

import math

import numpy as np

from grandstand.model.scenarios import Scenario
from grandstand.train.household_kernels import (
    ENV,
    MONTH,
    RULES,
    Records,
    begin_all,
    mix64,
    stream_key,
)

OBSERVATION = (
    "income",
    "fixed_expenses",
    "variable_expense",
    "cash",
    "portfolio",
    "inflation",
    "risk_tolerance",
    "months_left",
    "goal_invest_share",
    "goal_buffer",
    "goal_aggressiveness",
)
"""What the Executor's raw observation holds, in order; euros, shares, months."""


def expected_above(mean: float, std: float, floor: float) -> float:
    """E[max(floor, X)] for X ~ Normal(mean, std)."""
    if std == 0.0:
        return max(floor, mean)
    z = (mean - floor) / std
    below = 0.5 * math.erfc(z / math.sqrt(2.0))
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return floor * below + mean * (1.0 - below) + std * density


def market(scenario: Scenario) -> tuple[float, float]:
    """Mean and standard deviation of the monthly rate, as the scenario's return type says."""
    env = scenario.household
    mean = 0.0 if env.investment_return_type == "none" else env.investment_return_mean
    noisy = env.investment_return_type == "stochastic"
    return mean, env.investment_return_std if noisy else 0.0


class Household:
    """The constants and the calendar of one scenario, and the households that live by them.

    Attributes:
        scenario: what they were made from.
        rules: one element of `RULES`.
        months: rows 0..H+1 of `MONTH`.
        horizon: H, months.
    """

    def __init__(self, scenario: Scenario, *, market_noise: bool = True) -> None:
        """Build the numbers.

        Args:
            scenario: checked scenario.
            market_noise: False lets the market return its mean every month. Every policy's expected
                return stays what it was, for the portfolio enters linearly, and its spread shrinks.
        """
        self.scenario = scenario
        env, reward = scenario.household, scenario.reward
        mean, std = market(scenario)
        expected = expected_above(mean, std, -1.0)
        if not market_noise:
            mean, std = expected, 0.0
        self.horizon = env.max_months
        unit = max((env.income - env.fixed_expenses - env.variable_expense_mean) / env.income, 0.02)
        euros = unit * env.income
        buffer = max(env.safety_threshold, euros)
        weight = max(reward.alpha, 1e-3)

        rules = np.zeros(1, RULES)
        rules["alpha"], rules["beta"], rules["gamma"] = reward.alpha, reward.beta, reward.gamma
        rules["delta"], rules["kappa"] = reward.delta, reward.kappa
        rules["lam"], rules["mu"] = reward.lambda_, reward.mu
        rules["threshold"], rules["initial_cash"] = env.safety_threshold, env.initial_cash
        rules["variable_mean"] = env.variable_expense_mean
        rules["variable_std"] = env.variable_expense_std
        rules["rate_mean"], rules["rate_std"], rules["rate_expected"] = mean, std, expected
        rules["share_unit"], rules["euro_unit"] = unit, euros
        rules["cash_scale_buffer"] = max(
            env.safety_threshold, 4.0 * env.variable_expense_std, 0.1 * euros
        )
        rules["cash_scale_noise"] = max(6.0 * env.variable_expense_std, 0.05 * env.income)
        rules["buffer_unit"] = 2.0 * buffer
        rules["reward_scale"] = 0.2 / (weight * euros / 1000.0)
        rules["inflation"], rules["risk"] = env.inflation, env.risk_tolerance
        rules["horizon"], rules["period"] = env.max_months, scenario.training.high_period
        self.rules: Records = rules

        k = np.arange(self.horizon + 2, dtype=np.float64)
        months = np.zeros(self.horizon + 2, MONTH)
        months["income"] = env.income * (1.0 + env.income_growth) ** (k / 12.0)
        months["growth"] = (1.0 + env.inflation) ** (k / 12.0)
        months["fixed"] = env.fixed_expenses * months["growth"]
        months["reference"] = 0.1 * months["income"]
        variable = expected_above(env.variable_expense_mean, env.variable_expense_std, 0.0)
        months["surplus"] = months["income"] - months["fixed"] - variable * months["growth"]
        months["credit"] = reward.alpha * (1.0 + expected) ** (self.horizon - k) / 1000.0
        worth = months["credit"] * months["surplus"]
        worth[0] = worth[-1] = 0.0
        months["credit_ahead"] = worth.sum() - np.cumsum(worth)
        self.months: Records = months

    def envs(self, count: int, seed: int) -> Records:
        """`count` households at month 0; household i draws from the generator of `seed + i`."""
        envs = np.zeros(count, ENV)
        envs["key"] = [household_key(seed + i) for i in range(count)]
        begin_all(self.rules, envs)
        return envs


def household_key(seed: int) -> int:
    """The 64-bit key of the generator that a household with this seed draws from."""
    return int(stream_key(np.uint64(seed & 0xFFFFFFFFFFFFFFFF)))


def spread_seed(seed: int) -> int:
    """A seed far from its neighbours', so that runs with seeds 7 and 8 share no household."""
    return int(mix64(np.uint64(seed & 0xFFFFFFFFFFFFFFFF) ^ np.uint64(0x5851F42D4C957F2D))) >> 1
