"""A worker with a Gymnasium environment: what it reports, and how it goes on without exactness."""

from __future__ import annotations

from typing import Any

import pytest

from grandstand.model.scenarios import load_scenario
from grandstand.train.policy import load_policy

from .conftest import Desk, Office

EPISODES = 90


def order(**changes: Any) -> dict[str, Any]:
    small = {"parameters": {"policy_kwargs": {"net_arch": [16]}, "learning_starts": 50}}
    scenario = load_scenario("cartpole_dqn").with_overrides(small)
    return {
        "scenario": scenario.to_mapping(),
        "num_episodes": EPISODES,
        "save_interval": 20,
        **changes,
    }


@pytest.mark.slow
def test_episodes_decisions_frames_checkpoints_a_model_and_its_score(office: Office) -> None:
    assert Desk(office, **order(eval_episodes=5)).join() == 0
    assert office.episodes() == list(range(1, EPISODES + 1))
    rows = office.rows()
    decision = next(r for r in rows if "action_probabilities" in r)
    assert decision["action_probabilities"].keys() == {"left", "right"}
    assert len(decision["q_values"]) == 2
    assert decision["selected_action"] in ("left", "right")
    assert any("train/loss" in r.get("extra", {}) for r in rows)
    frames = [path for method, path, _ in office.requests if "/frame" in path and method == "PUT"]
    assert frames
    assert all(name in frames[0] for name in ("episode=", "step=", "return="))
    # One that is due while another waits to be acknowledged is left out, so not always all five.
    saved = [e["episode"] for e in office.events("checkpoint")]
    assert (saved, saved[-1]) == (sorted(set(saved)), EPISODES)
    assert 20 <= saved[0] < EPISODES
    (told,) = office.posted("/finish")
    assert told["status"] == "completed"
    score = told["final_metrics"]["evaluation"]
    assert (score["episodes"], score["score"], score["months_mean"]) == (5, None, None)
    assert score["return_mean"] == score["length_mean"] > 5
    policy = load_policy(office.folder / told["models"]["agent"])
    assert policy.act([0.0, 0.0, 0.0, 0.0]).tolist() in (0, 1)


@pytest.mark.slow
def test_one_that_was_asked_to_leave_goes_on_without_a_gap(office: Office) -> None:
    desk = Desk(office, **order(pace=40.0))
    office.wait_for(lambda: len(office.episodes()) > 10, 60)
    desk.controls.leave()
    assert desk.join() == 0
    done = len(office.episodes())
    assert Desk(office, **order(attempt=2, current_episode=done)).join() == 0
    assert office.episodes() == list(range(1, EPISODES + 1))
    last = office.events("status")[-1]
    assert last["resumed_at"] == done
    assert "rewound_to" not in last


@pytest.mark.slow
def test_one_that_was_killed_says_how_far_it_went_back(office: Office) -> None:
    desk = Desk(office, **order(pace=60.0))
    office.wait_for(lambda: len(office.events("checkpoint")) > 0, 60)
    began = office.events("checkpoint")[0]["episode"]
    office.wait_for(lambda: len(office.episodes()) > began + 5, 60)
    with office.news:
        office.superseded = True  # for the worker it is as if it were gone: no word, no checkpoint
        office.news.notify_all()
    desk.join()
    office.superseded = False
    told = office.episodes()[-1]
    start = office.events("checkpoint")[-1]["episode"]
    assert start < told
    assert Desk(office, **order(attempt=2, current_episode=told)).join() == 0
    # Another course of the same episodes: both are there, under keys of their own.
    assert office.episodes() == [*range(1, told + 1), *range(start + 1, EPISODES + 1)]
    assert office.events("status")[-1]["rewound_to"] == start
    keys = [r.key for b in office.batches for r in b.records if r.columnar]
    assert len(keys) == len(set(keys))
