"""A worker's life: it trains, obeys, leaves, and goes on where it was."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from grandstand.model.checkpoints import checkpoints
from grandstand.model.scenarios import load_scenario

from .conftest import EPISODES, Desk, Office


def finish_of(office: Office) -> dict[str, Any]:
    (body,) = office.posted("/finish")
    return dict(body)


@pytest.mark.slow
def test_a_training_reports_every_episode_and_leaves_its_model(office: Office) -> None:
    desk = Desk(office, eval_episodes=10)
    assert desk.join() == 0
    assert office.episodes() == list(range(1, EPISODES + 1))
    row = next(r for r in office.rows() if "current_reward" in r)
    assert row["total_episodes"] == EPISODES
    assert {"avg_duration", "avg_cash", "stability", "goal_adherence"} <= row["extra"].keys()
    assert any("low/policy_loss" in r.get("extra", {}) for r in office.rows())
    decision = next(r for r in office.rows() if "action_probabilities" in r)
    assert sum(decision["action_probabilities"].values()) == pytest.approx(1)
    assert decision["extra"]["max_months"] > 0
    played = [r for r in office.rows() if "played" in (r.get("extra") or {})]
    last = [r["extra"]["month"] for r in played if r["episode"] == EPISODES]
    assert last == list(range(1, len(last) + 1))
    assert len(last) > 0
    told = finish_of(office)
    assert told["status"] == "completed"
    assert told["final_metrics"]["episode"] == EPISODES
    assert told["final_metrics"]["evaluation"]["episodes"] == 10
    assert told["models"]["high_agent"] == "bologna_coppia_high_agent.pt"
    assert all((office.folder / name).is_file() for name in told["models"].values())
    history = json.loads((office.folder / "bologna_coppia_history.json").read_text())
    assert history["episode"][-1] == EPISODES
    assert [e["status"] for e in office.events("status")] == ["running"]


@pytest.mark.slow
def test_checkpoints_come_at_the_interval(office: Office) -> None:
    Desk(office).join()
    taken = [e["episode"] for e in office.events("checkpoint")]
    assert taken == sorted(set(taken))
    assert taken[-1] == EPISODES
    assert all(a // 40 < b // 40 for a, b in pairwise(taken))
    assert [int(p.name.rsplit("_", 1)[1]) for p in checkpoints(office.folder / "checkpoints")] == (
        taken
    )


@pytest.mark.slow
def test_checkpoints_at_every_update_are_spared(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each update brings more episodes than the interval, their cost is bounded: here, with
    a bound that is below any cost, only the first and the last remain."""
    monkeypatch.setattr("grandstand.worker.checkpoints.SHARE", 1e-9)
    Desk(office, save_interval=1, num_episodes=400, pace=4000.0).join()
    taken = [e["episode"] for e in office.events("checkpoint")]
    assert len(taken) == 2, taken
    assert taken[-1] == 400


@pytest.mark.slow
def test_pause_resume_and_stop(office: Office) -> None:
    desk = Desk(office, pace=40.0)
    office.wait_for(lambda: len(office.episodes()) > 5, 60)
    office.wish("paused")
    office.wait_for(lambda: [e["status"] for e in office.events("status")][-1] == "paused")
    seen = len(office.episodes())
    office.wish("running")
    office.wait_for(lambda: len(office.episodes()) > seen)
    office.wish("stopped")
    assert desk.join() == 0
    assert [e["status"] for e in office.events("status")] == ["running", "paused", "running"]
    told = finish_of(office)
    assert told["status"] == "stopped"
    assert (office.folder / told["models"]["low_agent"]).is_file()
    episodes = office.episodes()
    assert episodes == list(range(1, len(episodes) + 1))


@pytest.mark.slow
def test_an_order_does_not_wait_for_the_end_of_a_long_update(office: Office) -> None:
    long = {"environments": 4096, "rollout_months": 240, "epochs": 100}  # many minutes of it
    scenario = load_scenario("bologna_coppia").with_overrides(long)
    desk = Desk(office, scenario=scenario.to_mapping(), num_episodes=100_000)
    for wish in ("running", "paused", "running"):
        office.wish(wish)
        office.wait_for(
            lambda wish=wish: [e["status"] for e in office.events("status")][-1:] == [wish], 60
        )
    office.wish("stopped")
    assert desk.join() == 0
    assert office.episodes() == []
    assert finish_of(office)["status"] == "stopped"


@pytest.mark.slow
def test_updates_given_up_leave_no_trace(office: Office, tmp_path: Path) -> None:
    large = {"environments": 256, "epochs": 12}
    order = {
        "scenario": load_scenario("bologna_coppia").with_overrides(large).to_mapping(),
        "num_episodes": 1500,
    }
    desk = Desk(office, **order)
    for wish in ("running", "paused") * 6 + ("running",):
        office.wish(wish)
        office.wait_for(
            lambda wish=wish: [e["status"] for e in office.events("status")][-1:] == [wish], 60
        )
    assert desk.join() == 0
    other = Office(tmp_path / "sessions" / "whole")
    try:
        Desk(other, **order).join()
    finally:
        other.stop()
    returns = [
        [row["current_reward"] for row in each.rows() if "current_reward" in row]
        for each in (office, other)
    ]
    assert returns[0] == returns[1]
    low = "bologna_coppia_low_agent.pt"
    assert (office.folder / low).read_bytes() == (other.folder / low).read_bytes()


@pytest.mark.slow
def test_a_checkpoint_on_request_while_paused(office: Office) -> None:
    desk = Desk(office, pace=40.0, save_interval=10_000)
    office.wait_for(lambda: len(office.episodes()) > 5, 60)
    office.wish("paused")
    office.wait_for(lambda: len(office.events("status")) == 2)
    office.checkpoint_requested = True
    office.wait_for(lambda: len(office.events("checkpoint")) >= 1)
    office.wish("stopped")
    assert desk.join() == 0


@pytest.mark.slow
def test_a_worker_asked_to_leave_lets_another_go_on(office: Office) -> None:
    desk = Desk(office, pace=40.0)
    office.wait_for(lambda: len(office.episodes()) > 20, 60)
    desk.controls.leave()
    assert desk.join() == 0
    assert finish_of(office)["status"] == "released"
    done = len(office.episodes())
    assert [e["episode"] for e in office.events("checkpoint")][-1] == done
    assert Desk(office, current_episode=done).join() == 0
    assert office.episodes() == list(range(1, EPISODES + 1))
    assert office.events("status")[-1]["resumed_at"] == done


@pytest.mark.slow
def test_a_run_that_was_cut_equals_one_that_was_not(office: Office, tmp_path: Path) -> None:
    desk = Desk(office, pace=60.0)
    office.wait_for(lambda: len(office.episodes()) > 30, 60)
    desk.controls.leave()
    desk.join()
    Desk(office).join()
    other = Office(tmp_path / "sessions" / "whole")
    try:
        Desk(other).join()
    finally:
        other.stop()

    def returns(office: Office) -> list[float]:
        return [r["current_reward"] for r in office.rows() if "current_reward" in r]

    assert returns(office) == returns(other)
    low = "bologna_coppia_low_agent.pt"
    assert (office.folder / low).read_bytes() == (other.folder / low).read_bytes()


@pytest.mark.slow
def test_another_session_goes_on_where_one_had_ended(office: Office, tmp_path: Path) -> None:
    """From its last checkpoint, to another number of episodes, and past a rule that ended it."""
    rule = {"target": {"return": -1e9, "window": 5}}
    Desk(office, early_stopping=rule).join()
    assert "the mean return of 5 episodes" in finish_of(office)["reason"]
    done = office.episodes()[-1]
    more = Office(tmp_path / "sessions" / "more")
    try:
        begin = {"session_id": "s", "checkpoint": done, "folder": str(office.folder)}
        Desk(more, num_episodes=done + 100, resume_from=begin).join()
        assert more.episodes() == list(range(done + 1, done + 101))
        assert finish_of(more)["reason"] == "all episodes done"
    finally:
        more.stop()


def test_a_superseded_worker_leaves_without_a_word(office: Office) -> None:
    desk = Desk(office, pace=40.0)
    office.wait_for(lambda: len(office.episodes()) > 5, 60)
    with office.news:
        office.superseded = True
        office.news.notify_all()
    assert desk.join() == 0
    assert office.posted("/finish") == []


def test_a_failure_is_told_with_its_cause_and_without_secrets(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "very-secret-value")
    order = {"device": "very-secret-value"}
    assert Desk(office, **order).join() == 1
    told = finish_of(office)
    assert told["status"] == "failed"
    assert told["error"]["type"] == "ValidationFailed"
    assert "device" in told["reason"]
    assert "make_trainer" in told["error"]["traceback"]
    assert {"python", "torch", "grandstand"} <= told["error"]["versions"].keys()
    assert "very-secret-value" not in json.dumps(told)


def test_a_stop_before_the_first_update_still_ends_well(office: Office) -> None:
    office.wanted = "stopped"
    assert Desk(office).join() == 0
    assert finish_of(office)["status"] == "stopped"
    assert office.events("status") == []


@pytest.mark.slow
def test_a_pace_spreads_episodes_and_decisions_over_time(office: Office) -> None:
    Desk(office, pace=60.0, num_episodes=60).join()
    assert office.episodes() == list(range(1, 61))
    batches = [b for b in office.batches if any(r.columnar for r in b.records)]
    assert len(batches) >= 3
    decisions = [r for r in office.rows() if "action_probabilities" in r]
    assert len(decisions) >= 3
    elapsed = [r["training_time_elapsed"] for r in office.rows() if "current_reward" in r]
    assert elapsed[-1] >= 1.0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_killed_rank_ends_the_worker_and_the_next_one_goes_on(
    office: Office, tmp_path: Path
) -> None:
    scenario = load_scenario("bologna_coppia").with_overrides({"ranks": 2}).to_mapping()
    desk = Desk(office, pace=40.0, scenario=scenario)
    office.wait_for(lambda: len(office.events("checkpoint")) >= 1, 60)
    (rank,) = [
        child
        for child in psutil.Process().children(recursive=True)
        if "grandstand.train.follower" in child.cmdline()
    ]
    rank.kill()
    assert desk.join() == 3
    assert office.events("rank_lost")[-1]["message"] == "rank 1 of 2 ended (signal 9)"
    assert office.posted("/finish") == []  # the server sees to the next attempt
    assert Desk(office, scenario=scenario).join() == 0
    other = Office(tmp_path / "sessions" / "whole")
    try:
        assert Desk(other, scenario=scenario).join() == 0
    finally:
        other.stop()
    returns = {row["episode"]: row["current_reward"] for row in finished(office)}
    assert returns == {row["episode"]: row["current_reward"] for row in finished(other)}
    assert sorted(returns) == list(range(1, EPISODES + 1))
    low = "bologna_coppia_low_agent.pt"
    assert (office.folder / low).read_bytes() == (other.folder / low).read_bytes()


def finished(office: Office) -> list[dict[str, Any]]:
    return [row for row in office.rows() if "current_reward" in row]
