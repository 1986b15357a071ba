"""Several ranks that train one policy: equal weights, one account, exact continuation, no hanging.

Rank 0 lives in the test's process, the others in their own, as in a worker.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grandstand.errors import Conflict, ValidationFailed
from grandstand.model.scenarios import Scenario, scenario_hash
from grandstand.train.checkpoint import load_checkpoint, save_checkpoint
from grandstand.train.evaluate import evaluate
from grandstand.train.group import GroupTrainer, Spawned
from grandstand.train.hierarchy import START_BIAS
from grandstand.train.policy import load_policy, save_models
from grandstand.train.ranks import Ranks, share_of
from grandstand.train.trainer import RankLost, RanksDiffer, Trainer, make_trainer

from .sharing import ROWS, Shared, learn, share
from .test_hierarchy import digest, numbers

PROOF = os.environ.get("PROOF") == "1"
SMALL = {"environments": 7, "rollout_months": 20, "ranks": 2}


def make(scenario: Scenario, episodes: int = 60, seed: int = 3, **more: Any) -> GroupTrainer:
    trainer = make_trainer(scenario, num_episodes=episodes, seed=seed, overrides={**SMALL, **more})
    assert isinstance(trainer, GroupTrainer)
    return trainer


def follower(trainer: GroupTrainer, rank: int = 1) -> Spawned:
    found = trainer.followers[rank - 1]
    assert isinstance(found, Spawned)
    return found


@pytest.mark.slow
def test_all_ranks_hold_the_same_weights_after_every_update(balanced: Scenario) -> None:
    seen = set()
    with closing(make(balanced, ranks=3)) as trainer:
        for update in trainer:
            weights = set(trainer.weights_digests())
            assert len(weights) == 1, f"they differ after update {update.update}"
            seen |= weights
        assert len(seen) == update.update
        assert trainer.episodes_done == 60
        assert update.step == update.update * 7 * 20


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["hierarchical-ppo", "ppo"])
def test_a_continued_group_equals_the_uninterrupted_one(
    balanced: Scenario, tmp_path: Path, algorithm: str
) -> None:
    with closing(make(balanced, algorithm=algorithm)) as whole:
        expected = [numbers(update) for update in whole]
        end = digest(whole)
    episodes = [n for told in expected for n in told["rows"]["episode"]]
    assert episodes == list(range(1, 61))
    with closing(make(balanced, algorithm=algorithm)) as first:
        got = [numbers(next(first)) for _ in range(3)]
        state, models = first.state_dict(), first.models()
        path = save_checkpoint(tmp_path, first.episodes_done, state, models, {}, [])
        next(first)  # lost, and must not leak into the checkpoint
    with closing(make(balanced, seed=99, algorithm=algorithm)) as second:
        second.load_state_dict(load_checkpoint(path).state)
        got += [numbers(update) for update in second]
        assert digest(second) == end
    assert got == expected


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2, 3] if PROOF else [1])
def test_two_ranks_learn_as_well_as_one(
    bologna: Scenario, tmp_path: Path, cache: Path, seed: int
) -> None:
    episodes = None if PROOF else 1000  # of 1000, one rank's seeds score .973 to .995
    trainer = make_trainer(bologna, num_episodes=episodes, seed=seed, overrides={"ranks": 2})
    assert isinstance(trainer, GroupTrainer)
    with closing(trainer):
        for _ in trainer:
            pass
        assert len(set(trainer.weights_digests())) == 1
        save_models(trainer.models(), tmp_path, bologna.name)
    policy, played = load_policy(tmp_path), 20_000 if PROOF else 500
    result = evaluate(policy, episodes=played, seed=5, cache=cache)
    assert result.score is not None
    print(f"\ntwo ranks, {bologna.name}, seed {seed}: score {result.score:.4f}")
    assert result.score >= (0.985 if PROOF else 0.95)


@pytest.mark.slow
def test_a_state_of_another_number_of_ranks_is_refused(balanced: Scenario) -> None:
    alone = make_trainer(balanced, num_episodes=60, seed=3, overrides={**SMALL, "ranks": 1})
    with closing(make(balanced)) as pair:
        with pytest.raises(Conflict, match=r"by 2 ranks, here there are 1.*exactly") as refused:
            alone.load_state_dict(pair.state_dict())
        assert "ranks: 2" in refused.value.detail
        with pytest.raises(Conflict, match="by 1 ranks, here there are 2"):
            pair.load_state_dict(alone.state_dict())
        assert next(pair).update == 1  # it is none the worse for that


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_dies_ends_the_group_with_its_name(
    balanced: Scenario, how: signal.Signals
) -> None:
    three = balanced.with_overrides({**SMALL, "ranks": 3, "num_episodes": 60})
    group = GroupTrainer(three, seed=3, start_bias=START_BIAS, exchange_seconds=2.0)
    with closing(group) as trainer:
        next(trainer)
        one, other = follower(trainer, 1).process, follower(trainer, 2).process
        os.kill(other.pid, how)
        with pytest.raises(RankLost) as lost:
            for _ in trainer:
                pass
        if how is signal.SIGKILL:
            assert "rank 2 of 3 ended (signal 9)" in lost.value.message
        assert one.wait(10) is not None
        assert other.wait(10) is not None
        with pytest.raises(RankLost, match="left already"):
            trainer.state_dict()


@pytest.mark.slow
def test_ranks_end_by_themselves_when_rank_0_is_killed(balanced: Scenario, tmp_path: Path) -> None:
    order = {
        "scenario": balanced.with_overrides(SMALL).to_mapping(),
        "seed": 3,
        "start_bias": [0.5, 0.3],
    }
    address = f"file://{tmp_path / 'meeting'}"
    script = (
        "import sys; from grandstand.train.ranks import Ranks;"
        "ranks = Ranks(sys.argv[1], 0, 2); print('met', flush=True); sys.stdin.read()"
    )
    rank = Spawned(order, 1, 2, address)
    leader = subprocess.Popen(
        [sys.executable, "-c", script, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert leader.stdout is not None
    assert leader.stdin is not None
    with leader.stdin, leader.stdout:
        try:
            assert leader.stdout.readline() == b"met\n"
            os.kill(rank.process.pid, signal.SIGTERM)  # rank 0's to obey
            assert rank.ended(0.5) is None
            leader.kill()
            assert rank.ended(20.0) == "exit code 1"
        finally:
            leader.kill()
            leader.wait()
            rank.kill()


def test_a_rank_that_never_came_is_told(balanced: Scenario) -> None:
    def launch(order: Mapping[str, Any], rank: int, size: int, address: str) -> Spawned:
        return Spawned(order, rank, size, "nowhere")

    scenario = balanced.with_overrides(SMALL)
    with pytest.raises(RankLost, match=r"rank 1 of 2 ended \(exit code 1\)"):
        GroupTrainer(scenario, seed=3, start_bias=(0.5, 0.3), launch=launch)


@pytest.mark.slow
def test_weights_that_differ_end_the_run(balanced: Scenario) -> None:
    with closing(make(balanced)) as trainer:
        next(trainer)
        trainer._trainer.executor.adam.values[0] += 1e-6
        with pytest.raises(RanksDiffer, match="rank 1 has other weights than rank 0"):
            next(trainer)


@pytest.mark.slow
def test_a_rollout_of_no_numbers_on_one_rank_counts_for_all(balanced: Scenario) -> None:
    with closing(make(balanced)) as trainer:
        next(trainer)
        inner, roll = trainer._trainer, trainer._trainer._roll
        before, good = inner.envs.copy(), trainer.weights_digests()

        def poisoned() -> Any:
            rolled = roll()
            inner._rewards[0, 0] = np.nan
            inner._roll = roll  # type: ignore[method-assign]
            return rolled

        inner._roll = poisoned  # type: ignore[method-assign]
        update = next(trainer)
        assert update.scalars["rolled_back"] == 1
        assert inner.envs.tobytes() == before.tobytes()
        assert trainer.weights_digests() == good
        next(trainer)
        assert len(set(trainer.weights_digests())) == 1


def test_one_rank_is_no_group_and_leaves_the_scenario_as_it_was(balanced: Scenario) -> None:
    one = balanced.with_overrides({"ranks": 1})
    assert scenario_hash(one) == scenario_hash(balanced)
    assert "ranks" not in one.to_mapping()["training"]
    assert balanced.with_overrides({"ranks": 2}).to_mapping()["training"]["ranks"] == 2
    trainer: Trainer = make_trainer(one, num_episodes=10)
    assert not isinstance(trainer, GroupTrainer)


def test_what_cannot_be_shared_is_refused(balanced: Scenario) -> None:
    with pytest.raises(ValidationFailed, match=r"ranks is 2, but 'mine' trains in one process"):
        balanced.with_overrides({"ranks": 2, "algorithm": "mine"})
    with pytest.raises(ValidationFailed, match=r"ranks.*0"):
        balanced.with_overrides({"ranks": 0})
    with pytest.raises(ValidationFailed, match=r"ranks is 2, but there are only 1 environments"):
        make(balanced, environments=1)


# --- The exchanges themselves ---------------------------------------------------------------------


@pytest.mark.slow
def test_three_uneven_ranks_take_the_step_of_one(tmp_path: Path) -> None:
    near, table = three_uneven(f"file://{tmp_path / 'meeting'}")
    alone, report = learn(slice(None), None)
    torch.testing.assert_close(near.level.adam.values, alone.adam.values, rtol=1e-4, atol=1e-6)
    assert near.report == pytest.approx(report, rel=1e-4, abs=1e-5)
    assert all(row == near.level.adam.values.tolist() for row in table)
    # Across machines, and where no socket can be (its name would be too long), gloo gives the same.
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for address in (f"file://{folder / 'meeting'}", f"tcp://127.0.0.1:{port}"):
        far, table = three_uneven(address)
        assert far.level.adam.values.tolist() == near.level.adam.values.tolist()
        assert all(row == far.level.adam.values.tolist() for row in table)
        assert far.moments == near.moments


def three_uneven(address: str) -> tuple[Shared, list[list[float]]]:
    """What rank 0 holds after all exchanges once, and every rank's weights."""
    script = Path(__file__).with_name("sharing.py")
    others = [
        subprocess.Popen([sys.executable, str(script), str(rank), "3", address]) for rank in (1, 2)
    ]
    try:
        ranks = Ranks(address, 0, 3)
        shared = share(ranks)
        own = shared.level.adam.values
        table = ranks.table(own.tolist())
        ranks.close()
        assert [other.wait(20) for other in others] == [0, 0]
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert [rows.tolist() for rows in shared.rows] == [[0, 1], [], [20, 21, 22]]
    counts, (straight, squared) = shared.moments
    assert counts == [70, 31, 0]
    values = np.arange(ROWS, dtype=np.float64)
    assert straight == pytest.approx((ROWS, values.mean(), values.var()), rel=1e-12)
    assert squared == pytest.approx((ROWS, (values**2).mean(), (values**2).var()), rel=1e-9)
    return shared, table.tolist()


@pytest.mark.parametrize(("count", "size"), [(7, 3), (6, 3), (512, 5), (3, 3)])
def test_shares_are_contiguous_and_differ_by_one_at_most(count: int, size: int) -> None:
    shares = [share_of(count, size, rank) for rank in range(size)]
    assert [i for share in shares for i in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
