"""What people ask of a training while it runs: stop, pause, resume, and Ctrl-C for the server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from .conftest import SESSIONS, Server, assert_each_once, eventually

LEAVE_WITHIN_SECONDS = 10.0


def heard_again(server: Server, session_id: str) -> None:
    """Wait for the session's next sign of life."""
    heard = server.session(session_id)["last_seen_at"]
    eventually(lambda: server.session(session_id)["last_seen_at"] > heard, "a heartbeat")


@pytest.mark.slow
def test_a_stopped_training_keeps_its_model(server: Server) -> None:
    session_id = server.train(num_episodes=20_000, pace=400)
    server.until_episode(session_id, 200)
    waiting = server.train(num_episodes=20_000, pace=400, queue=True)
    answer = server.post(f"{SESSIONS}/{waiting}/stop")
    assert (answer["status"], answer["changed"]) == ("stopped", True)

    answer = server.post("/api/training/stop", {"session_id": session_id})
    assert answer["status"] == "stopped"
    done = answer["data"]["episodes_completed"]
    assert 200 <= done < 20_000
    assert set(answer["data"]["models"]) == {
        f"bologna_coppia_{part}" for part in ("high_agent.pt", "low_agent.pt", "history.json")
    }
    for path in answer["data"]["models"].values():
        assert (server.data / "models" / path).stat().st_size > 0
    assert server.checkpoints(session_id)[-1].name == f"checkpoint_episode_{done}"
    assert server.session(session_id)["current_episode"] == done
    assert_each_once(server, session_id, done)
    # The one that waited was never begun, though its turn would have come.
    assert server.statuses(waiting) == ["queued", "stopped"]
    assert server.post("/api/training/stop", status=400)["error"] == "no_active_training"


@pytest.mark.slow
def test_a_pause_holds_and_a_resume_goes_on(server: Server) -> None:
    session_id = server.train(num_episodes=1500, pace=300)
    server.until_episode(session_id, 100)
    assert server.post(f"{SESSIONS}/{session_id}/pause")["wanted"] == "paused"
    paused = server.until(session_id, "paused")
    assert server.post(f"{SESSIONS}/{session_id}/pause")["changed"] is False
    assert server.get("/api/training/status")["is_training"] is True
    # Two signs of life later nothing has been reported.
    for _ in range(2):
        heard_again(server, session_id)
    still = server.session(session_id)
    assert still["status"] == "paused"
    assert still["current_episode"] == paused["current_episode"] < 1500

    assert server.post(f"{SESSIONS}/{session_id}/resume")["wanted"] == "running"
    done = server.until(session_id, "completed")
    assert done["attempt"] == 1
    assert_each_once(server, session_id, 1500)
    changes = [(e["previous"], e["status"]) for e in server.events(session_id, "status")]
    assert changes == [
        (None, "queued"),
        ("queued", "starting"),
        ("starting", "running"),
        ("running", "pausing"),
        ("running", "paused"),  # said by the worker, which does not know of pausing
        ("paused", "running"),  # as wished,
        ("paused", "running"),  # and as done
        ("running", "completed"),
    ]


@pytest.mark.slow
def test_ctrl_c_puts_the_training_back_and_a_restart_goes_on(server: Server) -> None:
    session_id = server.train(num_episodes=1500, pace=300, save_interval=10_000)
    server.until_episode(session_id, 300)
    assert server.interrupt(within=LEAVE_WITHIN_SECONDS) == 0
    assert server.workers() == []
    assert "Traceback" not in server.output
    (left,) = server.checkpoints(session_id)  # taken on leaving: the interval was never reached
    reached = int(left.name.rpartition("_")[2])
    assert reached >= 300

    server.start()
    assert server.session(session_id)["current_episode"] >= reached
    server.until(session_id, "completed")
    assert_each_once(server, session_id, 1500)
    assert server.statuses(session_id)[:4] == ["queued", "starting", "running", "queued"]
    resumed = server.events(session_id, "status")[5]
    assert (resumed["status"], resumed["resumed_at"]) == ("running", reached)


@pytest.mark.slow
def test_ctrl_c_is_not_held_up_by_a_pause_or_by_watchers(server: Server) -> None:
    session_id = server.train(num_episodes=20_000, pace=300)
    server.until_episode(session_id, 100)
    server.post(f"{SESSIONS}/{session_id}/pause")
    paused = server.until(session_id, "paused")
    with ThreadPoolExecutor(1) as beside:
        # A request that the server holds, as a worker's heartbeat is held.
        held = beside.submit(
            server.api.post,
            f"{SESSIONS}/{session_id}/heartbeat",
            json={"wanted": "paused", "wait_seconds": 20},
        )
        assert server.interrupt(within=LEAVE_WITHIN_SECONDS) == 0
        held.exception(30)
    server.start()
    # It is as it was left: paused by people, and taken up by nobody or by a worker that waits.
    again = server.session(session_id)
    assert again["wanted"] == "paused"
    assert again["current_episode"] >= paused["current_episode"]
    assert server.post("/api/training/stop", {"session_id": session_id})["status"] in (
        "stopped",
        "stopping",
    )
    server.until(session_id, "stopped")
