# mypy: allow-untyped-defs
"""The household's arithmetic, compiled: what a month does, what a learner sees and is paid.

Everything compiled lives in this one file because numba's on-disk cache watches only the file a
function stands in; spread over two files, a changed rule could go on living in an old kernel.

Shapes: `rules` is a one-element array of `RULES`, `months` an array of `MONTH` with rows 0..H+1
(row k belongs to month k), `envs` an array of `ENV` with one element a household. Money is in
euros, rewards are in the task's units (thousandths of weighted euros), shares are of the month's
income.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Records = NDArray[Any]
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]


def _floats(*names: str) -> list[tuple[str, str]]:
    return [(name, "f8") for name in names]


def _integers(*names: str) -> list[tuple[str, str]]:
    return [(name, "i8") for name in names]


def _words(*names: str) -> list[tuple[str, str]]:
    return [(name, "u8") for name in names]


RULES = np.dtype(
    _floats("alpha", "beta", "gamma", "delta", "kappa", "lam", "mu")
    + _floats("threshold", "initial_cash", "variable_mean", "variable_std")
    + _floats("rate_mean", "rate_std", "rate_expected", "inflation", "risk")
    + _floats("share_unit", "euro_unit", "cash_scale_buffer", "cash_scale_noise")
    + _floats("buffer_unit", "reward_scale")
    + _integers("horizon", "period")
)
"""A scenario's constants. `share_unit` is d and `euro_unit` UE, the monthly surplus as a share and
in euros; `reward_scale` brings learning rewards near 1; `rate_expected` is E[max(-1, rate)]."""

MONTH = np.dtype(
    _floats("income", "fixed", "growth", "reference", "surplus", "credit", "credit_ahead")
)
"""Month k: income, fixed bills, growth of bills since the start, the consumption reference (a tenth
of income), expected surplus, `credit` A_k (what a euro invested in month k is worth by the end),
`credit_ahead` (sum over j > k of A_j * surplus_j)."""

ENV = np.dtype(
    _words("key", "counter")
    + _integers("month", "length", "whole", "clock")
    + _floats("cash", "portfolio", "variable", "total", "invested", "consumed", "solvent")
    + _floats("rate_sum", "rate_squares", "rates", "goal_gap")
    + _floats("goal_share", "goal_buffer", "goal_edge")
    + _floats("period_cash", "period_start", "period_spent", "period_invested", "spent_before")
)
"""One household: its generator (key, counter), where it stands (month, cash, portfolio, last
variable bills), its episode's accounts, its goal (share in units of d, buffer in units of
`buffer_unit`, aggressiveness 0..1) and the accounts of the Strategist's running period (`clock` =
months since the goal was set)."""

FINISHED = np.dtype(
    _integers("month", "length", "whole")
    + _floats("total", "cash", "portfolio", "invested", "consumed", "stability", "adherence")
    + _floats("rate_mean", "sharpe")
)
"""One finished episode; `month` is the rollout's month it ended in, `whole` 1 if it began at
month 0."""

INPUTS = 9
GOALS = 3
AGGREGATES = 4
ALIVE, BANKRUPT, OVER = 0, 1, 2

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)
_ONE = np.uint64(1)
_LOW32 = np.uint64(0xFFFFFFFF)
_UNIT32 = 2.0**-32
_HALF_ROOT = np.int64(0x3FE6A09E667F3BCD)
"""The bits of sqrt(1/2) as a float64."""
_S52 = np.int64(52)
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_BLOCK = 128
"""Households whose month is worked out together: what a vector loop needs, well within the
first-level cache."""

_ROWS = 18
_FIRST, _SECOND, _CASH, _PORTFOLIO, _INCOME, _FIXED, _GROWTH, _REFERENCE, _X, _C = (
    row * _BLOCK for row in range(10)
)
_REWARD, _EARNED, _BILLS, _VARIABLE, _RATE, _INVESTED, _CONSUMED, _AFTER = (
    row * _BLOCK for row in range(10, _ROWS)
)
"""Where the rows of such a block begin."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`numba.njit` with its disk cache, or without where no cache folder can be written."""
    try:
        made: Callable[..., Any] = numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no writable place for its cache
        made = numba.njit(error_model="numpy")(function)
    return made


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for what is to stand within its callers: LLVM leaves longer ones outside, and a loop
    with a call in it handles one household at a time."""
    made: Callable[..., Any] = numba.njit(error_model="numpy", inline="always")(function)
    return made


@compiled
def _clip(value, low, high):
    return min(max(value, low), high)


# --- Random numbers -------------------------------------------------------------------------------


@compiled
def mix64(z):
    """SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014): a bijection of 64-bit words."""
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@compiled
def stream_key(seed):
    """The key of a household's own generator, from its seed (uint64)."""
    return mix64(mix64(seed * _GOLDEN + _ONE) ^ _MIX1)


@compiled
def uniforms(key, counter):
    """Two independent numbers, the first in (0, 1], the second in [0, 1), of draw `counter`."""
    word = mix64(key + (counter + _ONE) * _GOLDEN)
    return (
        (np.float64(np.int64(word >> _S32)) + 1.0) * _UNIT32,
        np.float64(np.int64(word & _LOW32)) * _UNIT32,
    )


@inlined
def ln(x):
    """The natural logarithm of a normal number above 0, exact to 3e-16 of itself.

    x = 2^e m with m in [sqrt(1/2), sqrt(2)), and ln m = 2 artanh(s) for s = (m - 1) / (m + 1), by
    its series. The C library's is a call, and a loop with a call handles one number at a time.
    """
    bits = np.float64(x).view(np.int64)
    e = (bits - _HALF_ROOT) >> _S52
    m = np.int64(bits - (e << _S52)).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    y = s * s
    p = 2 / 15 + y * (2 / 17 + y * (2 / 19 + y * (2 / 21 + y * (2 / 23))))
    p = 2 / 3 + y * (2 / 5 + y * (2 / 7 + y * (2 / 9 + y * (2 / 11 + y * (2 / 13 + y * p)))))
    scale = np.float64(e)
    return scale * _LN2_HIGH + (2.0 * s + (s * y * p + scale * _LN2_LOW))


@inlined
def turn(u):
    """cos and sin of 2 pi u for u in [0, 1), exact to 2e-15.

    Taylor series at a quarter of the angle, then doubled twice: no branch for a random angle to
    mislead, which makes it several times as fast as the C library's.
    """
    x = (u - 0.5) * (0.5 * math.pi)
    y = x * x
    odd = -1 / 39916800 + y * (1 / 6227020800 - y / 1307674368000)
    odd = -1 / 6 + y * (1 / 120 + y * (-1 / 5040 + y * (1 / 362880 + y * odd)))
    even = 1 / 479001600 + y * (-1 / 87178291200 + y / 20922789888000)
    even = -1 / 2 + y * (1 / 24 + y * (-1 / 720 + y * (1 / 40320 + y * (-1 / 3628800 + y * even))))
    sine, cosine = x + x * y * odd, 1.0 + y * even
    sine, cosine = 2.0 * sine * cosine, (cosine - sine) * (cosine + sine)
    sine, cosine = 2.0 * sine * cosine, (cosine - sine) * (cosine + sine)
    return -cosine, -sine


@inlined
def box_muller(first, second):
    """Two independent standard normals of two uniforms (Box and Muller, 1958)."""
    radius = math.sqrt(-2.0 * ln(first))
    cosine, sine = turn(second)
    return radius * cosine, radius * sine


@compiled
def normals(key, counter):
    """Two independent standard normals of draw `counter`."""
    first, second = uniforms(key, counter)
    return box_muller(first, second)


# --- The task -------------------------------------------------------------------------------------


@compiled
def on_simplex(x, s, c):
    """The point of the simplex nearest to (x, s, c), and whether that moved it.

    Duchi, Shalev-Shwartz, Singer, Chandra: Efficient projections onto the l1-ball, ICML 2008.
    """
    total = x + s + c
    if x >= 0.0 and s >= 0.0 and c >= 0.0 and abs(total - 1.0) <= 1e-6:
        return x, s, c, False
    top = max(x, max(s, c))
    bottom = min(x, min(s, c))
    middle = total - top - bottom
    shift = top - 1.0
    if middle > (top + middle - 1.0) / 2.0:
        shift = (top + middle - 1.0) / 2.0
        if bottom > (total - 1.0) / 3.0:
            shift = (total - 1.0) / 3.0
    return max(x - shift, 0.0), max(s - shift, 0.0), max(c - shift, 0.0), True


@compiled
def begin(rules, envs, i):
    """Household i starts a new episode at month 0; its generator goes on."""
    e = envs[i]
    e.month = 0
    e.length = 0
    e.whole = 1
    e.cash = rules[0].initial_cash
    e.portfolio = 0.0
    e.variable = 0.0
    e.total = 0.0
    e.invested = 0.0
    e.consumed = 0.0
    e.solvent = 0.0
    e.rate_sum = 0.0
    e.rate_squares = 0.0
    e.rates = 0.0
    e.goal_gap = 0.0
    e.clock = 0
    e.period_cash = 0.0
    e.period_start = e.cash
    e.period_spent = 0.0
    e.period_invested = 0.0
    e.spent_before = 0.0


@compiled
def begin_all(rules, envs):
    """Every household starts a new episode at month 0."""
    for i in range(envs.shape[0]):
        begin(rules, envs, i)


@compiled
def begin_anywhere(rules, envs):
    """Every household starts in the middle of some episode, so that a batch is out of phase."""
    r = rules[0]
    for i in range(envs.shape[0]):
        begin(rules, envs, i)
        e = envs[i]
        _, u = uniforms(e.key, e.counter)
        v, w = uniforms(e.key, e.counter + _ONE)
        e.counter = e.counter + _ONE + _ONE
        month = int(u * r.horizon)
        low = 0.1 * r.threshold
        high = max(r.initial_cash, 2.0 * r.threshold)
        e.month = month
        e.whole = 1 if month == 0 else 0
        if month > 0:
            e.cash = low + (high - low) * v
            e.portfolio = 0.6 * w * r.euro_unit * month
            e.period_start = e.cash


@compiled
def prices(rules):
    """What `month_of` needs of a scenario, as plain numbers."""
    r = rules[0]
    return (
        (r.variable_mean, r.variable_std, r.rate_mean, r.rate_std),
        (r.alpha, r.beta, r.gamma, r.delta, r.kappa, r.threshold),
    )


@inlined
def month_of(priced, cash, portfolio, income, fixed, growth, reference, x, c, first, second):
    """One month's sums, which only depend on what is given here; without a branch or a call, so
    that a loop of it handles several households at a time.

    Args:
        priced: of `prices`.
        cash, portfolio: before it.
        income, fixed, growth, reference: of the calendar.
        x, c: shares invested and consumed.
        first, second: standard normals.

    Returns:
        Reward, the portfolio's return, bills, variable bills, rate, euros invested and consumed,
        cash afterwards.
    """
    (variable_mean, variable_std, rate_mean, rate_std), weights = priced
    alpha, beta, gamma, delta, kappa, threshold = weights
    variable = max(0.0, variable_mean + variable_std * first) * growth
    bills = fixed + variable
    rate = max(-1.0, rate_mean + rate_std * second)
    earned = portfolio * rate
    invested = x * income
    consumed = c * income
    after = cash + income - bills - (x + c) * income
    missing = max(0.0, threshold - after)
    overspent = max(0.0, bills + consumed - income)
    reward = (
        alpha * (invested + earned)
        + kappa * reference * ln(1.0 + consumed / reference)
        - beta * missing
        - gamma * overspent
        - delta * max(0.0, -after)
    ) / 1000.0
    return reward, earned, bills, variable, rate, invested, consumed, after


@compiled
def settle(rules, envs, i, reward, earned, variable, rate, invested, consumed, cash):
    """Enters a month's sums into household i's accounts.

    Returns:
        The reward, with what is paid at the horizon, and ALIVE, BANKRUPT or OVER.
    """
    r = rules[0]
    e = envs[i]
    e.counter = e.counter + _ONE
    if e.portfolio > 0.0:
        e.rate_sum += rate
        e.rate_squares += rate * rate
        e.rates += 1.0
    e.month += 1
    e.length += 1
    e.cash = cash
    e.portfolio = e.portfolio + earned + invested
    e.variable = variable
    e.invested += invested
    e.consumed += consumed
    ended = ALIVE
    if cash > 0.0:
        e.solvent += 1.0
    if cash < 0.0:
        ended = BANKRUPT
    elif e.month == r.horizon:
        ended = OVER
        reward += r.alpha * cash / 1000.0
    e.total += reward
    return reward, ended


@compiled
def live(rules, months, envs, i, x, s, c):
    """Household i lives one month with the shares (x, s, c): the rules, and nothing else.

    Returns:
        The month's reward, the portfolio's return and the bills (euros), and ALIVE, BANKRUPT or
        OVER.
    """
    e = envs[i]
    m = months[e.month + 1]
    first, second = normals(e.key, e.counter)
    reward, earned, bills, variable, rate, invested, consumed, cash = month_of(
        prices(rules),
        e.cash,
        e.portfolio,
        m.income,
        m.fixed,
        m.growth,
        m.reference,
        x,
        c,
        first,
        second,
    )
    reward, ended = settle(rules, envs, i, reward, earned, variable, rate, invested, consumed, cash)
    return reward, earned, bills, ended


@compiled
def describe(rules, months, envs, i, out):
    """The Executor's raw observation of household i: income and fixed bills of the month to come,
    last variable bills, cash, portfolio, inflation, risk tolerance, months left, and the goal (out:
    11)."""
    r = rules[0]
    e = envs[i]
    m = months[e.month + 1]
    out[i, 0] = m.income
    out[i, 1] = m.fixed
    out[i, 2] = e.variable
    out[i, 3] = e.cash
    out[i, 4] = e.portfolio
    out[i, 5] = r.inflation
    out[i, 6] = r.risk
    out[i, 7] = r.horizon - e.month
    out[i, 8] = _clip(e.goal_share * r.share_unit, 0.0, 1.0)
    out[i, 9] = max(e.goal_buffer, 0.0) * r.buffer_unit
    out[i, 10] = e.goal_edge


@compiled
def describe_all(rules, months, envs, out):
    """The raw observation of every household into out (N, 11)."""
    for i in range(envs.shape[0]):
        describe(rules, months, envs, i, out)


@compiled
def step_all(
    rules, months, envs, actions, observations, finals, rewards, ended, moved, books, restart
):
    """Every household lives a month with the action given; those that end start anew if `restart`.

    Args:
        actions: (N, 3) invest, save, consume; off the simplex it is projected.
        observations: (N, 11), written; `finals` (N, 11) gets the last one of those that ended.
        rewards, ended, moved: (N,), written; `moved` says whether the action was projected.
        books: (N, 5), written: the shares executed, the portfolio's return, the bills.
    """
    priced = prices(rules)
    w = np.empty(_ROWS * _BLOCK)  # flat: only so is it plain to the compiler that rows are apart
    for start in range(0, envs.shape[0], _BLOCK):
        size = min(_BLOCK, envs.shape[0] - start)
        gather(months, envs, actions, start, size, moved, books, w)
        work_out(priced, size, w)
        for j in range(size):
            i = start + j
            earned, bills = w[_EARNED + j], w[_BILLS + j]
            reward, end = settle(
                rules,
                envs,
                i,
                w[_REWARD + j],
                earned,
                w[_VARIABLE + j],
                w[_RATE + j],
                w[_INVESTED + j],
                w[_CONSUMED + j],
                w[_AFTER + j],
            )
            rewards[i] = reward
            ended[i] = end
            books[i, 3] = earned
            books[i, 4] = bills
            if end != ALIVE and restart:
                describe(rules, months, envs, i, finals)
                begin(rules, envs, i)
            describe(rules, months, envs, i, observations)


@compiled
def gather(months, envs, actions, start, size, moved, books, w):
    """What the months of `size` households from `start` on are worked out from, into the rows of w;
    the shares executed also into `books`."""
    for j in range(size):
        i = start + j
        e = envs[i]
        m = months[e.month + 1]
        first, second = uniforms(e.key, e.counter)
        x, s, c, off = on_simplex(actions[i, 0], actions[i, 1], actions[i, 2])
        w[_FIRST + j] = first
        w[_SECOND + j] = second
        w[_CASH + j] = e.cash
        w[_PORTFOLIO + j] = e.portfolio
        w[_INCOME + j] = m.income
        w[_FIXED + j] = m.fixed
        w[_GROWTH + j] = m.growth
        w[_REFERENCE + j] = m.reference
        w[_X + j] = x
        w[_C + j] = c
        moved[i] = off
        books[i, 0] = x
        books[i, 1] = s
        books[i, 2] = c


@compiled
def work_out(priced, size, w):
    """The months of `size` households, from rows of w into rows of w. Two loops, for in one the
    compiler loses sight of how to handle several at a time."""
    for j in range(size):
        first, second = box_muller(w[_FIRST + j], w[_SECOND + j])
        w[_FIRST + j] = first
        w[_SECOND + j] = second
    for j in range(size):
        reward, earned, bills, variable, rate, invested, consumed, after = month_of(
            priced,
            w[_CASH + j],
            w[_PORTFOLIO + j],
            w[_INCOME + j],
            w[_FIXED + j],
            w[_GROWTH + j],
            w[_REFERENCE + j],
            w[_X + j],
            w[_C + j],
            w[_FIRST + j],
            w[_SECOND + j],
        )
        w[_REWARD + j] = reward
        w[_EARNED + j] = earned
        w[_BILLS + j] = bills
        w[_VARIABLE + j] = variable
        w[_RATE + j] = rate
        w[_INVESTED + j] = invested
        w[_CONSUMED + j] = consumed
        w[_AFTER + j] = after


@compiled
def live_where(rules, months, envs, alive, invest, consume):
    """Those still alive live a month with their shares; `alive` (N,) forgets those that end."""
    for i in range(envs.shape[0]):
        if alive[i]:
            x, c = invest[i], consume[i]
            _, _, _, ended = live(rules, months, envs, i, x, 1.0 - x - c, c)
            alive[i] = ended == ALIVE


@compiled
def constant_returns(rules, months, envs, x, c):
    """One episode a household with the same shares every month; returns land in `envs.total`."""
    for i in range(envs.shape[0]):
        begin(rules, envs, i)
        ended = ALIVE
        while ended == ALIVE:
            _, _, _, ended = live(rules, months, envs, i, x, 1.0 - x - c, c)


# --- The learner's view ---------------------------------------------------------------------------


@compiled
def look(rules, months, envs, i, out, row):
    """The nine inputs of household i into out[row, :9], each in units of the scenario's own
    scale."""
    r = rules[0]
    e = envs[i]
    m = months[e.month + 1]
    left = float(r.horizon - e.month)
    beyond = (e.cash + m.surplus - r.euro_unit - r.threshold) / r.euro_unit
    out[row, 0] = _clip(beyond, -3.0, 1.0 / r.share_unit)
    out[row, 1] = _clip(beyond, -2.0, 2.0)
    out[row, 2] = min(e.cash / r.cash_scale_buffer, 3.0)
    out[row, 3] = min(e.cash / r.cash_scale_noise, 2.0)
    out[row, 4] = left / r.horizon
    out[row, 5] = min(left, 12.0) / 12.0
    out[row, 6] = min(left, 3.0) / 3.0
    out[row, 7] = _clip(m.surplus / r.euro_unit, -10.0, 10.0)
    out[row, 8] = min(e.portfolio / (r.euro_unit * r.horizon), 10.0)


@compiled
def look_low(rules, months, envs, out):
    """The Executor's inputs of every household: nine, and the goal where `out` has room for it."""
    for i in range(envs.shape[0]):
        look(rules, months, envs, i, out, i)
        if out.shape[1] > INPUTS:
            e = envs[i]
            out[i, INPUTS] = e.goal_share
            out[i, INPUTS + 1] = e.goal_buffer
            out[i, INPUTS + 2] = e.goal_edge


@compiled
def look_high(rules, months, envs, i, out, row):
    """The Strategist's inputs of household i: nine, and four aggregates of the period behind."""
    r = rules[0]
    e = envs[i]
    look(rules, months, envs, i, out, row)
    n = max(float(e.clock), 1.0)
    spent = e.period_spent / n
    out[row, INPUTS] = _clip(e.period_cash / n / r.cash_scale_buffer, 0.0, 3.0)
    out[row, INPUTS + 1] = _clip((e.cash - e.period_start) / n / r.euro_unit, -2.0, 2.0)
    trend = 0.0
    if e.spent_before > 0.0 and e.clock > 0:
        trend = (spent - e.spent_before) / r.euro_unit
    out[row, INPUTS + 2] = _clip(trend, -2.0, 2.0)
    out[row, INPUTS + 3] = _clip(e.period_invested / n / r.euro_unit, 0.0, 3.0)


@compiled
def look_high_all(rules, months, envs, out):
    """The Strategist's inputs of every household, whether it decides now or not."""
    for i in range(envs.shape[0]):
        look_high(rules, months, envs, i, out, i)


@compiled
def open_decisions(rules, months, envs, out, first, rows, due):
    """Finds the households whose Strategist sets a goal now, and what it sees.

    Args:
        out: (capacity, 13) inputs, written from row `first` on.
        rows: (N,) written: the row of a household's decision, -1 for none.
        due: (N,) written: the households that decide, as many as returned.
    """
    count = 0
    for i in range(envs.shape[0]):
        e = envs[i]
        if e.clock == 0 or e.clock >= rules[0].period:
            look_high(rules, months, envs, i, out, first + count)
            rows[i] = first + count
            due[count] = i
            count += 1
            e.spent_before = e.period_spent / max(e.clock, 1)
            e.clock = 0
            e.period_cash = 0.0
            e.period_start = e.cash
            e.period_spent = 0.0
            e.period_invested = 0.0
        else:
            rows[i] = -1
    return count


@compiled
def set_goals(envs, due, count, goals):
    """Writes the Strategist's numbers (count, 3) into the households that decide."""
    for j in range(count):
        e = envs[due[j]]
        e.goal_share = goals[j, 0]
        e.goal_buffer = goals[j, 1]
        e.goal_edge = _clip(goals[j, 2], 0.0, 1.0)


@compiled
def shares(rules, z0, z1):
    """Invest, save and consume from the policy's two numbers, which count in monthly surpluses."""
    d = rules[0].share_unit
    c = _clip(d * z1, 0.0, 1.0)
    x = min(_clip(d * z0, 0.0, 1.0), 1.0 - c)
    return x, 1.0 - x - c, c


@compiled
def potential(rules, months, month, cash):
    """Psi: what cash and the surpluses to come would be worth if all of them were invested."""
    return months[month + 1].credit * cash + months[month].credit_ahead


@compiled
def rollout_month(
    rules, months, envs, z, mixing, t, rewards, high_rewards, ended, finished, count, trace
):
    """Every household acts on the policy's numbers; whoever ends starts anew.

    The Executor is paid (1 - mixing) * r2 + mixing * .2 * intrinsic, the Strategist r2 plus its own
    terms, both times `reward_scale`. r2 has the same expected undiscounted sum as the task's reward
    r: a euro's growth is credited when it is invested and the market's noise dropped (r1), then
    potential-based shaping is added (Ng, Harada, Russell, ICML 1999) and the luck of the bills is
    taken out by a control variate (Greensmith, Bartlett and Baxter, JMLR 5, 2004).

    Args:
        z: (N, 2) the policy's numbers.
        rewards, high_rewards, ended: (N,), written. `finished` gets a row an episode from `count`
            on.
        trace: (8,), written for household 0: shares, cash after, month, goal share and buffer, Psi
            plus the growth its portfolio may expect, both before the step.

    Returns:
        The new count of finished episodes.
    """
    r = rules[0]
    for i in range(envs.shape[0]):
        e = envs[i]
        x, s, c = shares(rules, float(z[i, 0]), float(z[i, 1]))
        k = e.month
        cash = e.cash
        wealth = cash + e.portfolio
        before = potential(rules, months, k, cash)
        growth = months[k + 1].credit * (1.0 + r.rate_expected) - r.alpha / 1000.0
        if i == 0:
            trace[0] = x
            trace[1] = s
            trace[2] = c
            trace[4] = k + 1
            trace[5] = _clip(e.goal_share * r.share_unit, 0.0, 1.0)
            trace[6] = max(e.goal_buffer, 0.0) * r.buffer_unit
            trace[7] = before + growth * e.portfolio
        reward, earned, bills, end = live(rules, months, envs, i, x, s, c)
        if i == 0:
            trace[3] = e.cash
        m = months[k + 1]
        learned = reward - r.alpha * earned / 1000.0 + (m.credit - r.alpha / 1000.0) * x * m.income
        if end == BANKRUPT:
            learned -= (m.credit - r.alpha / 1000.0) * e.portfolio
        learned -= before
        if end == ALIVE:
            learned += potential(rules, months, k + 1, e.cash)
        # Whether bills were high or low is nobody's doing, and what it does to the cash is most of
        # what a month's reward scatters by; expected to be zero, it is taken out.
        learned += months[k + 2].credit * (bills - (m.income - m.surplus))
        learned *= r.reward_scale
        short = _clip(e.goal_buffer - e.cash / r.buffer_unit, 0.0, 2.0)
        intrinsic = -abs(x / r.share_unit - e.goal_share) - 0.4 * (1.0 - e.goal_edge) * short
        rewards[i] = (1.0 - mixing) * learned + mixing * 0.2 * intrinsic
        own = r.lam * (e.cash + e.portfolio - wealth) + (r.mu if e.cash > 0.0 else 0.0)
        high_rewards[i] = learned + r.reward_scale * own / 1000.0
        ended[i] = 1 if end != ALIVE else 0
        e.goal_gap += abs(_clip(e.goal_share * r.share_unit, 0.0, 1.0) - x)
        e.clock += 1
        e.period_cash += e.cash
        e.period_spent += bills + c * m.income
        e.period_invested += x * m.income
        if end != ALIVE:
            close_episode(envs, i, finished, count, t)
            count += 1
            begin(rules, envs, i)
    return count


@compiled
def act_where(rules, months, envs, alive, z, book):
    """Those still alive live a month on the policy's numbers z (N, 2).

    Args:
        book: (wanted, 8), written for the first households: shares, cash and portfolio after,
            reward, goal share, goal buffer.
    """
    r = rules[0]
    for i in range(envs.shape[0]):
        if not alive[i]:
            continue
        e = envs[i]
        x, s, c = shares(rules, float(z[i, 0]), float(z[i, 1]))
        reward, _, bills, ended = live(rules, months, envs, i, x, s, c)
        m = months[e.month]
        alive[i] = ended == ALIVE
        e.clock += 1
        e.period_cash += e.cash
        e.period_spent += bills + c * m.income
        e.period_invested += x * m.income
        if i < book.shape[0]:
            book[i, 0] = x
            book[i, 1] = s
            book[i, 2] = c
            book[i, 3] = e.cash
            book[i, 4] = e.portfolio
            book[i, 5] = reward
            book[i, 6] = _clip(e.goal_share * r.share_unit, 0.0, 1.0)
            book[i, 7] = max(e.goal_buffer, 0.0) * r.buffer_unit


@compiled
def close_episode(envs, i, finished, row, t):
    """The accounts of household i's episode into finished[row]."""
    e = envs[i]
    f = finished[row]
    f.month = t
    f.length = e.length
    f.whole = e.whole
    f.total = e.total
    f.cash = e.cash
    f.portfolio = e.portfolio
    f.invested = e.invested
    f.consumed = e.consumed
    f.stability = e.solvent / e.length
    f.adherence = 1.0 - e.goal_gap / e.length
    mean = e.rate_sum / max(e.rates, 1.0)
    spread = math.sqrt(max(e.rate_squares / max(e.rates, 1.0) - mean * mean, 0.0))
    f.rate_mean = mean
    f.sharpe = mean / spread if spread > 1e-12 else 0.0


# --- Advantages -----------------------------------------------------------------------------------


@compiled
def advantages(rewards, values, ended, discount, trace, out):
    """Generalised advantage estimation (Schulman et al., arXiv 1506.02438); every end is terminal.

    Args:
        rewards, ended: (T, N); values: (T + 1, N), the last row for the bootstrap; out: (T, N).
    """
    for i in range(rewards.shape[1]):
        carry = 0.0
        for t in range(rewards.shape[0] - 1, -1, -1):
            alive = 1.0 - ended[t, i]
            delta = rewards[t, i] + discount * alive * values[t + 1, i] - values[t, i]
            carry = delta + discount * trace * alive * carry
            out[t, i] = carry


@compiled
def period_advantages(rewards, rows, ended, values, bootstrap, discount, trace, out):
    """The same for decisions that last several months (semi-MDP), in one backward sweep.

    Args:
        rewards, rows, ended: (T, N); rows[t, i] is the row of the decision made there, or -1.
        values, out: (decisions,); bootstrap: (N,) the value of the state after the last month.
    """
    for i in range(rewards.shape[1]):
        total, reach = 0.0, 1.0
        value, carry = float(bootstrap[i]), 0.0
        for t in range(rewards.shape[0] - 1, -1, -1):
            if ended[t, i]:
                total, reach, value, carry = 0.0, 1.0, 0.0, 0.0
            total = rewards[t, i] + discount * total
            reach *= discount
            row = rows[t, i]
            if row >= 0:
                carry = total + reach * value - values[row] + reach * trace * carry
                out[row] = carry
                value = float(values[row])
                total, reach = 0.0, 1.0
