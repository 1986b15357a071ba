"""The household task solved: the best any policy can do, and what doing nothing clever gets.

Backward induction on (month, cash). The portfolio enters linearly: a euro invested in month k is
worth alpha * (1 + mean)^(H - k) by the end, if the household survives, so it needs no axis of its
own. What bankruptcy costs through the portfolio lost does depend on the portfolio; a second pass
charges it at the mean portfolio of the first pass's policy. Best play survives nearly always, so
the second pass moves the value by far less than a thousandth; `Optimum.simulate` is the check.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from grandstand.model.scenarios import Scenario, task_hash
from grandstand.train import household_kernels as kernels
from grandstand.train.household_kernels import Floats
from grandstand.train.household_numbers import Household

CASH_POINTS = 2401
SHARES = 401
BILLS = 41
REFERENCE_SEED = 20_260_101
REFERENCE_EPISODES = 20_000


@dataclass(frozen=True)
class References:
    """Expected returns that a score is measured against, in the reward's units."""

    optimum: float
    """Best possible (dynamic programming)."""
    optimum_simulated: float
    """What that policy earned in simulation."""
    uniform: float
    """Invest, save and consume a third each."""
    best_constant: float
    """The best shares that never change."""
    best_invest: float
    best_consume: float

    def score(self, value: float) -> float:
        """0 for uniform shares, 1 for the optimum."""
        return (value - self.uniform) / max(self.optimum - self.uniform, 1e-12)


class Optimum:
    """The optimal policy of a scenario.

    Attributes:
        value: expected return from the scenario's start.
        cash: (points,) the grid, euros.
        outflow: (H + 1, points) best share of income not saved, by month and cash.
        invest: (H + 1, SHARES) how much of each outflow share is invested, by month.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.household = Household(scenario)
        env = scenario.household
        months = self.household.months
        room = max(env.initial_cash, env.safety_threshold) + 6.0 * env.income
        room += 6.0 * env.variable_expense_std * math.sqrt(self.household.horizon)
        self.cash = np.linspace(0.0, room, CASH_POINTS)
        self.shares = np.linspace(0.0, 1.0, SHARES)
        self.outflow = np.zeros((self.household.horizon + 1, CASH_POINTS))
        self.invest = np.zeros((self.household.horizon + 1, SHARES))
        self._noise, self._weights = _normal_points(
            env.variable_expense_mean, env.variable_expense_std
        )
        self._gains = np.zeros((self.household.horizon + 1, SHARES))
        for k in range(1, self.household.horizon + 1):
            self._gains[k], self.invest[k] = self._best_split(k, float(months["credit"][k]))
        portfolio = np.zeros(self.household.horizon + 1)
        self.value = self._solve(portfolio)
        _, portfolio = self.simulate(2000, REFERENCE_SEED)
        self.value = self._solve(portfolio)

    def _best_split(self, k: int, credit: float) -> tuple[Floats, Floats]:
        """For every outflow share, the best consume share below it: gain, and share invested."""
        rules, month = self.household.rules[0], self.household.months[k]
        consume = self.shares[None, :]
        bills = month["fixed"] + self._noise * month["growth"]
        over = np.maximum(0.0, bills[:, None] + (self.shares - 1.0)[None, :] * month["income"])
        cost = rules["gamma"] * (self._weights @ over) / 1000.0
        reference = month["reference"]
        joy = rules["kappa"] * reference * np.log1p(consume * month["income"] / reference) / 1000.0
        gain = credit * (self.shares[:, None] - consume) * month["income"] + joy - cost[None, :]
        gain = np.where(consume <= self.shares[:, None] + 1e-12, gain, -np.inf)
        best = gain.argmax(axis=1)
        return gain[np.arange(SHARES), best], self.shares - self.shares[best]

    def _solve(self, portfolio: Floats) -> float:
        """Backward induction; `portfolio` (H + 1,) is what bankruptcy in a month is charged
        with."""
        rules, months = self.household.rules[0], self.household.months
        horizon, cash = self.household.horizon, self.cash
        width = cash[1] - cash[0]
        ahead = (rules["alpha"] / 1000.0) * cash  # the value of surviving month H with this cash
        for k in range(horizon, 0, -1):
            month = months[k]
            lost = (month["credit"] - rules["alpha"] / 1000.0) * portfolio[k]
            # After income and outflow, before bills: a finer question asked on the same spacing.
            lowest = -month["income"]
            points = int((cash[-1] + month["income"] - lowest) / width) + 2
            before = lowest + width * np.arange(points)
            kept = np.zeros(points)
            bills = month["fixed"] + self._noise * month["growth"]
            for bill, weight in zip(bills, self._weights, strict=True):
                kept += weight * self._after(before - bill, ahead, lost)
            value = np.full(CASH_POINTS, -np.inf)
            chosen = np.zeros(CASH_POINTS)
            for j, share in enumerate(self.shares):
                at = (cash + (1.0 - share) * month["income"] - lowest) / width
                low = at.astype(np.int64)
                part = at[0] - low[0]
                start = int(low[0])
                line = kept[start : start + CASH_POINTS]
                line = line + part * (kept[start + 1 : start + 1 + CASH_POINTS] - line)
                total = line + self._gains[k, j]
                better = total > value
                value[better] = total[better]
                chosen[better] = share
            ahead = value
            self.outflow[k] = chosen
        return float(np.interp(rules["initial_cash"], cash, ahead))

    def _after(self, cash: Floats, ahead: Floats, lost: float) -> Floats:
        """Value of ending a month with this cash (any sign), future included."""
        rules = self.household.rules[0]
        grid = self.cash
        width = grid[1] - grid[0]
        at = np.clip(cash / width, 0.0, len(grid) - 1.000001)
        low = at.astype(np.int64)
        future = ahead[low] + (at - low) * (ahead[low + 1] - ahead[low])
        slope = (ahead[-1] - ahead[-2]) / width
        future += slope * np.maximum(cash - grid[-1], 0.0)
        future -= rules["beta"] * np.maximum(0.0, rules["threshold"] - cash) / 1000.0
        broke = (
            -(rules["beta"] * (rules["threshold"] - cash) - rules["delta"] * cash) / 1000.0 - lost
        )
        ended: Floats = np.where(cash < 0.0, broke, future)
        return ended

    def simulate(
        self, episodes: int, seed: int, *, market_noise: bool = True
    ) -> tuple[Floats, Floats]:
        """Live by this policy.

        Returns:
            Returns (episodes,), and the mean portfolio at the end of each month (H + 1,).
        """
        household = Household(self.household.scenario, market_noise=market_noise)
        envs = household.envs(episodes, seed)
        portfolio = np.zeros(self.household.horizon + 1)
        alive = np.ones(episodes, np.bool_)
        for k in range(1, self.household.horizon + 1):
            out = np.interp(envs["cash"], self.cash, self.outflow[k])
            invest = np.interp(out, self.shares, self.invest[k])
            kernels.live_where(household.rules, household.months, envs, alive, invest, out - invest)
            if alive.any():
                portfolio[k] = float(envs["portfolio"][alive].mean())
        return envs["total"].copy(), portfolio


def _normal_points(mean: float, std: float) -> tuple[Floats, Floats]:
    """Points and weights for max(0, Normal(mean, std)): equal steps over +-4.5 std."""
    if std == 0.0:
        return np.array([max(mean, 0.0)]), np.ones(1)
    edges = np.linspace(-4.5, 4.5, BILLS)
    weights = np.exp(-0.5 * edges**2)
    return np.maximum(0.0, mean + std * edges), weights / weights.sum()


def best_constant(scenario: Scenario) -> tuple[float, float, float]:
    """The best shares that never change: expected return, invest, consume (multiples of .02)."""
    household = Household(scenario, market_noise=False)

    def earned(pair: tuple[float, float], episodes: int) -> float:
        envs = household.envs(episodes, REFERENCE_SEED)
        kernels.constant_returns(household.rules, household.months, envs, *pair)
        return float(envs["total"].mean())

    grid = [(x / 50, c / 50) for x in range(51) for c in range(51 - x)]
    likely = sorted(grid, key=lambda pair: earned(pair, 100), reverse=True)[:40]
    best = max(likely, key=lambda pair: earned(pair, REFERENCE_EPISODES // 5))
    return earned(best, REFERENCE_EPISODES), *best


def references(scenario: Scenario, cache: Path | None = None) -> References:
    """What a score on this scenario is measured against; a few seconds the first time.

    Args:
        scenario: the task; how it is learned does not matter.
        cache: folder for one small JSON file a task; None keeps nothing.
    """
    path = cache / f"{task_hash(scenario)}.json" if cache is not None else None
    if path is not None and path.is_file():
        return References(**json.loads(path.read_text("utf-8")))
    solved = Optimum(scenario)
    household = Household(scenario, market_noise=False)
    envs = household.envs(REFERENCE_EPISODES, REFERENCE_SEED)
    kernels.constant_returns(household.rules, household.months, envs, 1.0 / 3.0, 1.0 / 3.0)
    earned, _ = solved.simulate(REFERENCE_EPISODES, REFERENCE_SEED, market_noise=False)
    constant, invest, consume = best_constant(scenario)
    found = References(
        optimum=solved.value,
        optimum_simulated=float(earned.mean()),
        uniform=float(envs["total"].mean()),
        best_constant=constant,
        best_invest=invest,
        best_consume=consume,
    )
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(asdict(found)), "utf-8")
        aside.replace(path)
    return found
