"""Episodes played to be looked at: when, and what they tell."""

from __future__ import annotations

import pytest

from grandstand.model.scenarios import load_scenario
from grandstand.model.telemetry import PLAYED
from grandstand.train.playing import due
from grandstand.train.trainer import make_trainer


def test_looks_become_rarer_and_the_last_episode_has_one() -> None:
    looks = [n for n in range(1, 3001) if due(n - 1, n, 3000)]
    assert looks == [10, 20, 50, 100, 200, 500, 1000, 2000, 3000]
    assert due(3, 64, 3000)  # several marks passed at once are one look
    assert not due(3000, 3000, 3000)


@pytest.mark.slow
def test_a_household_plays_a_whole_life_and_goes_on_as_if_it_had_not() -> None:
    scenario = load_scenario("bologna_coppia")
    trainer, other = (make_trainer(scenario, num_episodes=30) for _ in range(2))
    next(trainer), next(other)
    told = [decision.told() for decision in trainer.play()]  # type: ignore[attr-defined]
    assert [one["step"] for one in told] == list(range(1, len(told) + 1))
    assert {one["episode"] for one in told} == {trainer.episodes_done}
    assert all(sum(one["action_probabilities"].values()) == pytest.approx(1) for one in told)
    assert told[0]["extra"].items() >= {PLAYED: "greedy", "month": 1, "max_months": 120}.items()
    assert {"reward", "cash_after", "portfolio_after", "goal_share"} <= told[0]["extra"].keys()
    same = [decision.told() for decision in trainer.play()]  # type: ignore[attr-defined]
    assert same == told
    a, b = next(trainer), next(other)
    assert a.episodes.columns()["current_reward"] == b.episodes.columns()["current_reward"]
    assert a.scalars["low/policy_loss"] == b.scalars["low/policy_loss"]
