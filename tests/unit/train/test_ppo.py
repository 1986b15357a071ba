"""The learner's parts, each held against the plain version of itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from grandstand.train import household_kernels as kernels
from grandstand.train import ppo
from grandstand.train.hierarchy import default_environments
from grandstand.train.ppo import Adam, Level, PPOSettings


def level(seed: int = 0) -> Level:
    settings = PPOSettings(3e-3, 2, 4, 0.2, 0.5, 0.0)
    generator = torch.Generator().manual_seed(seed)
    return Level(5, 2, 16, settings, bias=(0.1, 0.2), log_std=-0.5, generator=generator)


@pytest.mark.slow
def test_our_adam_is_pytorchs() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    adam = Adam(list(ours.parameters()))
    reference = torch.optim.Adam(theirs.parameters(), lr=0.01, eps=ppo.ADAM_EPSILON)
    for _ in range(30):
        inputs = torch.randn(8, 4)
        adam.gradients.zero_()
        ours(inputs).square().sum().backward()
        adam.step(0.01)
        reference.zero_grad()
        theirs(inputs).square().sum().backward()
        reference.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


@pytest.mark.slow
def test_cutting_a_minibatch_into_chunks_changes_nothing_but_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draws = torch.Generator().manual_seed(1)
    inputs = torch.randn(700, 5, generator=draws)
    noise = torch.randn(700, 2, generator=draws)
    advantages, values = torch.randn(2, 700, generator=draws)
    results = []
    for chunk in (10_000, 64):
        monkeypatch.setattr(ppo, "CHUNK", chunk)
        one = level()
        z = one.act(inputs, noise)
        order = torch.Generator().manual_seed(2)
        report = one.learn(inputs, z, noise, advantages, values, remaining=1.0, generator=order)
        results.append((one.adam.values.clone(), report))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-4, rtol=1e-3)
    assert results[0][1] == pytest.approx(results[1][1], abs=1e-4)


def test_a_bandit_is_learned() -> None:
    one, draws = level(), torch.Generator().manual_seed(3)
    inputs = torch.zeros(512, 5)
    for _ in range(40):
        noise = torch.randn(512, 2, generator=draws)
        z = one.act(inputs, noise)
        reward = -(z - torch.tensor([0.8, -0.3])).square().sum(1)
        values = one.values(inputs)
        report = one.learn(
            inputs, z, noise, reward - values, values, remaining=1.0, generator=draws
        )
    best = one.act(inputs[:1], torch.zeros(1, 2))[0]
    assert best.tolist() == pytest.approx([0.8, -0.3], abs=0.1)
    assert 0 <= report["clip_fraction"] <= 1


def test_advantages_are_the_textbooks() -> None:
    rng = np.random.default_rng(0)
    months, count, discount, trace = 7, 3, 0.9, 0.8
    rewards = rng.normal(size=(months, count)).astype(np.float32)
    values = rng.normal(size=(months + 1, count)).astype(np.float32)
    ended = (rng.random((months, count)) < 0.2).astype(np.int64)
    out = np.zeros((months, count), np.float32)
    kernels.advantages(rewards, values, ended, discount, trace, out)
    for i in range(count):
        for t in range(months):
            expected, weight = 0.0, 1.0
            for u in range(t, months):
                alive = 1 - ended[u, i]
                delta = rewards[u, i] + discount * alive * values[u + 1, i] - values[u, i]
                expected += weight * delta
                weight *= discount * trace * alive
            assert out[t, i] == pytest.approx(expected, abs=1e-5)


def test_period_advantages_are_the_same_over_whole_periods() -> None:
    """Against an explicit walk over the decisions of each household."""
    rng = np.random.default_rng(1)
    months, count, discount, trace = 23, 4, 0.97, 0.9
    rewards = rng.normal(size=(months, count)).astype(np.float32)
    ended = (rng.random((months, count)) < 0.1).astype(np.int64)
    rows = np.full((months, count), -1, np.int64)
    total = 0
    for t in range(months):
        for i in range(count):
            if (t > 0 and ended[t - 1, i]) or rng.random() < 0.3:
                rows[t, i] = total
                total += 1
    values = rng.normal(size=total).astype(np.float32)
    last = rng.normal(size=count).astype(np.float32)
    out = np.zeros(total, np.float32)
    kernels.period_advantages(rewards, rows, ended, values, last, discount, trace, out)
    for i in range(count):
        at = [t for t in range(months) if rows[t, i] >= 0]
        expected = 0.0
        for j in reversed(range(len(at))):
            until = at[j + 1] if j + 1 < len(at) else months
            gain, reach, dead = 0.0, 1.0, False
            for t in range(at[j], until):
                gain += reach * rewards[t, i]
                reach *= discount
                if ended[t, i]:
                    dead = True
                    break
            following = last[i] if j + 1 == len(at) else values[rows[at[j + 1], i]]
            alive = 0.0 if dead else 1.0
            delta = gain + alive * reach * following - values[rows[at[j], i]]
            expected = delta + alive * reach * trace * (expected if j + 1 < len(at) else 0.0)
            assert out[rows[at[j], i]] == pytest.approx(expected, abs=1e-4)


def test_few_episodes_take_few_environments() -> None:
    assert default_environments(1) == 4
    assert default_environments(1000) == 16
    assert default_environments(42_000) == 512
    assert default_environments(10**9) == 512
