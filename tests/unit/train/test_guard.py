"""Numbers that are none: steps skipped, networks rolled back, the run given up, in this order."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from grandstand.model.scenarios import Scenario, shipped_scenarios
from grandstand.train.hierarchy import BAD_IN_A_ROW, MOST_RETURNS, HouseholdTrainer
from grandstand.train.trainer import Diverged, make_trainer


@pytest.fixture
def balanced() -> Scenario:
    return shipped_scenarios()["balanced"]


def make(scenario: Scenario, **more: Any) -> HouseholdTrainer:
    overrides = {"environments": 8, "rollout_months": 10, **more}
    trainer = make_trainer(scenario, num_episodes=10_000, seed=3, overrides=overrides)
    assert isinstance(trainer, HouseholdTrainer)
    return trainer


def weights(trainer: HouseholdTrainer) -> torch.Tensor:
    return torch.cat([level.adam.values for level in trainer._levels().values()]).clone()


def poison(trainer: HouseholdTrainer, *, reward: bool = False) -> None:
    """Have the next rollout bring actions (or a reward) that are no numbers."""
    roll = trainer._roll

    def once() -> Any:
        rolled = roll()
        if reward:
            trainer._rewards[0, 0] = math.nan
        else:
            trainer._z.fill_(math.nan)
        trainer._roll = roll  # type: ignore[method-assign]
        return rolled

    trainer._roll = once  # type: ignore[method-assign]


def test_a_gradient_that_is_no_number_changes_nothing(balanced: Scenario) -> None:
    trainer = make(balanced, algorithm="ppo")
    next(trainer)
    before = weights(trainer)
    poison(trainer)
    update = next(trainer)
    assert update.scalars["low/skipped_steps"] > 0
    assert torch.equal(weights(trainer), before)
    assert "low/skipped_steps" not in next(trainer).scalars
    assert not torch.equal(weights(trainer), before)


def test_after_a_few_in_a_row_it_goes_back_and_learns_half_as_fast(balanced: Scenario) -> None:
    trainer = make(balanced, algorithm="ppo")
    usual = next(trainer).scalars["low/learning_rate"]
    for number in range(1, BAD_IN_A_ROW + 1):
        poison(trainer)
        scalars = next(trainer).scalars
        assert ("rolled_back" in scalars) == (number == BAD_IN_A_ROW)
    assert next(trainer).scalars["low/learning_rate"] == pytest.approx(usual / 2, rel=0.1)


def test_weights_that_are_none_go_back_at_once(balanced: Scenario) -> None:
    trainer = make(balanced)
    next(trainer)
    good = weights(trainer)
    trainer.executor.adam.values[0] = math.inf
    scalars: dict[str, float] = {}
    trainer._guard(scalars)
    assert scalars["rolled_back"] == 1
    assert torch.equal(weights(trainer), good)


def test_a_rollout_of_no_numbers_was_never_lived(balanced: Scenario) -> None:
    trainer = make(balanced)
    next(trainer)
    before, good, done = trainer.envs.copy(), weights(trainer), trainer.episodes_done
    poison(trainer, reward=True)
    update = next(trainer)
    assert update.scalars["rolled_back"] == 1
    assert (len(update.episodes), update.decisions, trainer.episodes_done) == (0, None, done)
    assert trainer.envs.tobytes() == before.tobytes()
    assert torch.equal(weights(trainer), good)
    assert math.isfinite(next(trainer).scalars["low/policy_loss"])


def test_a_run_that_cannot_be_helped_fails_and_says_why(balanced: Scenario) -> None:
    trainer = make(balanced, learning_rate_low=1e30)
    with pytest.raises(Diverged, match="learning rates are the first thing to try"):
        for _ in trainer:
            pass
    assert trainer.returns == MOST_RETURNS
    assert all(good["values"].abs().max() < 100 for good in trainer._good.values())


def test_a_cut_between_bad_updates_changes_nothing(balanced: Scenario) -> None:
    def bad(trainer: HouseholdTrainer) -> None:
        poison(trainer)
        next(trainer)

    whole = make(balanced, algorithm="ppo")
    next(whole)
    bad(whole)
    cut = make(balanced, algorithm="ppo")
    cut.load_state_dict(whole.state_dict())
    for trainer in (whole, cut):
        bad(trainer)
        bad(trainer)
        next(trainer)
    assert torch.equal(weights(whole), weights(cut))
    assert (whole.returns, cut.returns) == (1, 1)
