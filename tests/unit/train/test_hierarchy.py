"""The trainers: they learn, count exactly, repeat exactly and continue exactly."""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grandstand.errors import Conflict, NotFound, ValidationFailed
from grandstand.model.scenarios import Scenario
from grandstand.train.checkpoint import load_checkpoint, save_checkpoint
from grandstand.train.evaluate import evaluate
from grandstand.train.hierarchy import HouseholdTrainer
from grandstand.train.household import HouseholdEnv
from grandstand.train.policy import load_policy, save_models
from grandstand.train.trainer import Trainer, Update, make_trainer

SMALL = {"environments": 16, "rollout_months": 20}


def make(scenario: Scenario, episodes: int = 60, seed: int = 3, **more: Any) -> Trainer:
    return make_trainer(scenario, num_episodes=episodes, seed=seed, overrides=SMALL | more)


def numbers(update: Update) -> dict[str, Any]:
    """All of an update that does not measure time."""
    rows = update.episodes.columns()
    del rows["training_time_elapsed"]
    scalars = {key: value for key, value in update.scalars.items() if "per_second" not in key}
    decisions = update.decisions
    assert decisions is not None
    columns = {key: np.asarray(value).tolist() for key, value in vars(decisions).items()}
    return {"step": update.step, "rows": rows, "scalars": scalars, "decisions": repr(columns)}


def digest(trainer: Trainer) -> str:
    """SHA-256 of everything in the state but the seconds it took."""
    state = trainer.state_dict()
    del state["elapsed_seconds"]
    buffer = io.BytesIO()
    torch.save(state, buffer)
    again = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    assert repr(again) == repr(state)
    return hashlib.sha256(repr(_plain(state)).encode()).hexdigest()


def _plain(item: Any) -> Any:
    if isinstance(item, torch.Tensor):
        return item.numpy().tobytes()
    if isinstance(item, dict):
        return {key: _plain(value) for key, value in item.items()}
    return item


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["hierarchical-ppo", "ppo"])
def test_episodes_are_numbered_without_a_gap_to_exactly_the_end(
    balanced: Scenario, algorithm: str
) -> None:
    trainer = make(balanced, 75, algorithm=algorithm)
    updates = list(trainer)
    assert [update.update for update in updates] == list(range(1, len(updates) + 1))
    episodes = np.concatenate([update.episodes.episode for update in updates])
    assert episodes.tolist() == list(range(1, 76))
    assert trainer.episodes_done == 75
    returns = np.concatenate([update.episodes.current_reward for update in updates])
    means = np.concatenate([update.episodes.average_reward for update in updates])
    assert means[3] == pytest.approx(returns[:4].mean())
    assert means[40] == pytest.approx(returns[31:41].mean())
    best = np.concatenate([update.episodes.best_reward for update in updates])
    assert best.tolist() == np.maximum.accumulate(returns).tolist()
    elapsed = np.concatenate([update.episodes.training_time_elapsed for update in updates])
    assert (np.diff(elapsed) >= 0).all()
    for update in updates:
        assert len({len(column) for column in update.episodes.columns().values()}) == 1
        assert all(math.isfinite(value) for value in update.scalars.values())
        assert ("high/policy_loss" in update.scalars) == (algorithm != "ppo")
    stability = np.concatenate([update.episodes.extra["stability"] for update in updates])
    assert ((stability >= 0) & (stability <= 1)).all()


def test_decisions_are_those_of_one_household(balanced: Scenario) -> None:
    update = next(make(balanced))
    decisions = update.decisions
    assert decisions is not None
    assert len(decisions) == 20
    np.testing.assert_allclose(decisions.invest + decisions.save + decisions.consume, 1)
    assert ((decisions.confidence > 0) & (decisions.confidence < 1)).all()
    assert (np.diff(decisions.month)[np.diff(decisions.month) > 0] == 1).all()
    assert np.isfinite(decisions.state_value).all()
    assert np.isfinite(decisions.goal_buffer).all()


def test_the_same_seed_gives_the_same_curve_and_another_does_not(balanced: Scenario) -> None:
    one, two, other = (list(make(balanced, seed=seed)) for seed in (3, 3, 4))
    assert [numbers(update) for update in one] == [numbers(update) for update in two]
    assert numbers(one[0]) != numbers(other[0])


@pytest.mark.parametrize("algorithm", ["hierarchical-ppo", "ppo"])
@pytest.mark.parametrize("cut", [0, 1, 4])
def test_a_continued_run_equals_the_uninterrupted_one(
    balanced: Scenario, tmp_path: Path, cut: int, algorithm: str
) -> None:
    more = {"algorithm": algorithm}
    whole = make(balanced, **more)
    expected = [numbers(update) for update in whole]
    first = make(balanced, **more)
    got = [numbers(next(first)) for _ in range(cut)]
    path = save_checkpoint(
        tmp_path, first.episodes_done, first.state_dict(), first.models(), {}, []
    )
    next(first)  # what happens after the checkpoint is lost, and must not leak into it
    second = make(balanced, seed=99, **more)
    second.load_state_dict(load_checkpoint(path).state)
    got += [numbers(update) for update in second]
    assert got == expected
    assert digest(second) == digest(whole)


def test_a_foreign_state_is_refused(balanced: Scenario) -> None:
    state = make(balanced).state_dict()
    with pytest.raises(Conflict, match="another scenario"):
        make(balanced, clip=0.3).load_state_dict(state)
    with pytest.raises(Conflict, match="torch"):
        make(balanced).load_state_dict(state | {"versions": {"torch": "0.1"}})


def test_another_number_of_episodes_is_another_plan_for_the_same_run(balanced: Scenario) -> None:
    first = make_trainer(balanced, num_episodes=400, seed=3)
    for update in first:
        last = update
    second = make_trainer(balanced, num_episodes=4000, seed=99)
    assert isinstance(second, HouseholdTrainer)
    assert isinstance(first, HouseholdTrainer)
    assert second.households > first.households  # what it would have had from the start
    second.load_state_dict(first.state_dict())
    assert second.households == first.households
    assert second.weights_digest() == first.weights_digest()
    update = next(second)
    assert (update.update, update.episodes.episode[0]) == (last.update + 1, 401)
    rate = balanced.training.learning_rate_low
    assert update.scalars["low/learning_rate"] == pytest.approx(rate * (1 - 400 / 4000))
    assert second.mixing == pytest.approx(second.weight * (0.25 + 0.75 * 0.9))


def test_a_household_that_always_goes_broke_trains_to_the_end(balanced: Scenario) -> None:
    trainer = make(balanced, 400, environment={"fixed_expenses": 5000})
    updates = list(trainer)
    assert trainer.episodes_done == 400
    assert all(math.isfinite(value) for update in updates for value in update.scalars.values())


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["hierarchical-ppo", "ppo"])
def test_a_thousand_episodes_learn_and_the_files_are_enough_to_act(
    bologna: Scenario, tmp_path: Path, cache: Path, algorithm: str
) -> None:
    trainer = make_trainer(bologna, num_episodes=1000, seed=1, overrides={"algorithm": algorithm})
    for _ in trainer:
        pass
    paths = save_models(trainer.models(), tmp_path, "bologna_coppia")
    names = {path.name for path in paths.values()}
    if algorithm == "ppo":
        assert names == {"bologna_coppia_agent.pt"}
    else:
        assert names == {"bologna_coppia_high_agent.pt", "bologna_coppia_low_agent.pt"}
    policy = load_policy(tmp_path)
    result = evaluate(policy, episodes=500, seed=5, trajectories=2, cache=cache)
    assert result.score > 0.93
    assert result.months_mean > 119
    assert len(result.trajectories) == 2
    assert len(result.trajectories[0]["cash"]) == 120
    sampled = evaluate(policy, episodes=500, seed=5, greedy=False, cache=cache)
    assert sampled.return_mean < result.return_mean

    env = HouseholdEnv(bologna)
    observation, _ = env.reset(seed=5)
    total, over = 0.0, False
    while not over:
        shares = policy.act(observation[:8])
        assert shares.sum() == pytest.approx(1)
        observation, reward, terminated, over, _ = env.step(shares)
        assert not terminated
        total += reward
    assert total > 1000


def test_a_wrong_request_is_refused(balanced: Scenario, tmp_path: Path) -> None:
    with pytest.raises(ValidationFailed, match="num_episodes"):
        make_trainer(balanced, num_episodes=0)
    with pytest.raises(ValidationFailed, match="device"):
        make_trainer(balanced, device="abacus")
    with pytest.raises(NotFound, match="nonesuch"):
        make_trainer(balanced, overrides={"algorithm": "nonesuch"})
    with pytest.raises(NotFound):
        load_policy(tmp_path)
    (tmp_path / "x_low_agent.pt").write_bytes(b"no model")
    with pytest.raises(ValidationFailed, match="x_low_agent"):
        load_policy(tmp_path)
