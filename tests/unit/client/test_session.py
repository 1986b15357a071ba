"""A session in a script's hands."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

import grandstand
from grandstand.client.client import Client
from grandstand.errors import Conflict, Unauthenticated, ValidationFailed

from .conftest import RecordingServer


def test_ten_lines_of_any_loop(server: RecordingServer) -> None:
    session = grandstand.open_session(
        "my_run",
        algorithm="DQN",
        total_episodes=3,
        tags=["a"],
        config={"lr": np.float32(0.5)},
        url=server.url,
    )
    for episode in range(3):
        session.log({"current_reward": 1.5, "episode": episode})
    assert session.finish()
    (opened,) = server.posted("/sessions")
    assert opened == {
        "training_session_id": "my_run",
        "algorithm": "DQN",
        "total_episodes": 3,
        "tags": ["a"],
        "config": {"lr": 0.5},
        "model_generation": 1,
        "enable_spectators": True,
        "resume": False,
    }
    assert [r["episode"] for r in server.rows()] == [0, 1, 2]
    assert server.posted("/finish") == [{"status": "completed"}]
    assert server.requests[-1][1].endswith("/finish")
    assert session.url == f"{server.url}/sessions/my_run"


def test_the_token_is_shown(server: RecordingServer) -> None:
    Client(server.url, "abc").attach("s").finish()
    assert server.headers["POST"]["Authorization"] == "Bearer abc"


def test_episode_and_step_wherever_they_are_given(server: RecordingServer) -> None:
    session = Client(server.url).attach("s")
    session.log({"a": 1})
    session.log({"a": 1, "episode": np.int64(4), "step": 40})
    session.log({"a": 1}, step=50)
    session.log({"a": 1}, episode=5)
    session.log({"a": 1, "episode": "six"})
    session.flush()
    assert [(r["episode"], r.get("step")) for r in server.rows()] == [
        (0, None), (4, 40), (4, 50), (5, None), (5, None),
    ]  # fmt: skip


def test_the_mapping_may_be_reused_at_once(server: RecordingServer) -> None:
    session = Client(server.url).attach("s")
    metrics: dict[str, Any] = {}
    value = np.zeros(())
    for i in range(100):
        metrics["a"] = i
        value += 1
        metrics["b"] = value
        session.log(metrics)
    session.flush()
    assert [r["extra"] for r in server.rows()] == [{"a": i, "b": i + 1} for i in range(100)]


@pytest.mark.parametrize(
    "wrong", [None, 5, [1, 2], {1: object()}, {"a": object()}, {"episode": float("nan")}]
)
def test_log_never_raises(server: RecordingServer, wrong: Any) -> None:
    session = Client(server.url).attach("s")
    session.log(wrong)
    session.log({"a": 1}, episode=wrong)
    session.decision(wrong)
    session.graph("g", wrong)
    session.columns(wrong)
    assert session.flush()


def test_what_is_odd_is_said_once(
    server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    session = Client(server.url).attach("s")
    for _ in range(50):
        session.log({"image": np.zeros((2, 2)), "a": 1})
    session.flush()
    assert sum("'image'" in r.message for r in caplog.records) == 1
    assert len(server.rows()) == 50


def test_decisions_graphs_and_events(server: RecordingServer) -> None:
    session = Client(server.url).attach("s")
    at = datetime(2026, 1, 2, tzinfo=UTC)
    session.decision({"left": np.float32(0.5), "right": 0.5}, q_values=np.array([1.0, 2.0]))
    session.graph("g", {"m": [1.0, (at, 2.0), {"timestamp": at, "value": 3}]}, title="T")
    session.event("phase", phase="warmup")
    session.flush()
    decision, graph, event = server.rows()
    assert decision["q_values"] == [1.0, 2.0]
    assert decision["action_probabilities"] == {"left": 0.5, "right": 0.5}
    assert [p["value"] for p in graph["data_points"]["m"]] == [1, 2, 3]
    assert graph["metrics"] == ["m"]
    assert event["phase"] == "warmup"


def test_a_crash_in_the_block_is_told(server: RecordingServer) -> None:
    with pytest.raises(ZeroDivisionError), Client(server.url).attach("s") as session:
        session.log({"a": 1 / 0})
    (told,) = server.posted("/finish")
    assert told["status"] == "failed"
    assert told["reason"] == "ZeroDivisionError: division by zero"
    assert "1 / 0" in told["error"]["traceback"]


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "stopped"), (SystemExit(0), "completed")]
)
def test_other_ways_out_of_the_block(
    server: RecordingServer, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), Client(server.url).attach("s"):
        raise error
    assert server.posted("/finish")[0]["status"] == status


def test_finishing_twice_tells_once(server: RecordingServer) -> None:
    session = Client(server.url).attach("s")
    assert session.finish()
    assert session.finish()
    assert len(server.posted("/finish")) == 1


def test_logging_after_the_end_is_said_and_counted(
    server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    session = Client(server.url).attach("s")
    session.finish()
    session.log({"a": 1})
    session.log({"a": 1})
    assert session.dropped == 2
    assert sum("goes nowhere" in r.message for r in caplog.records) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "session_exists", Conflict),
        (401, "unauthenticated", Unauthenticated),
        (422, "validation_failed", ValidationFailed),
    ],
)
def test_a_refusal_to_open_is_raised(
    server: RecordingServer, status: int, code: str, kind: type[Exception]
) -> None:
    server.script = lambda method, path, body: (
        status,
        {"error": code, "message": "no", "detail": "do that"},
    )
    with pytest.raises(kind) as caught:
        Client(server.url).open_session("x", algorithm="DQN")
    assert caught.value.detail == "do that"  # type: ignore[attr-defined]


def test_disabled_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRANDSTAND_MODE", "disabled")
    with grandstand.open_session(algorithm="DQN", url="http://127.0.0.1:9") as session:
        session.log({"a": 1})
        assert session.flush()
    assert session.sent == session.dropped == 0


def test_a_mode_or_address_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValidationFailed, match="online, offline or disabled"):
        Client(mode="sideways")
    with pytest.raises(ValidationFailed, match="http://"):
        Client("localhost:8000")


SCRIPT = """
import grandstand, sys
session = grandstand.open_session("run", algorithm="DQN", url=sys.argv[1])
for i in range(2000):
    session.log({"a": i}, episode=i)
"""


def test_what_is_left_is_sent_at_the_end_of_the_process(server: RecordingServer) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, server.url], timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(server.rows()) == 2000


HEAVY = {"httpx", "pydantic", "numpy", "fastapi", "sqlalchemy", "torch", "uvicorn"}
LIGHT = """
import sys, grandstand
session = grandstand.open_session("run", algorithm="DQN", url=sys.argv[1])
session.log({"a": 1})
print(*sorted(m for m in sys.modules if "." not in m))
"""


def test_the_way_to_the_first_log_loads_nothing_heavy(server: RecordingServer) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, server.url], timeout=60, capture_output=True, text=True
    )
    assert not HEAVY & set(done.stdout.split()), done.stderr


def test_a_forked_child_reports_for_itself(server: RecordingServer) -> None:
    script = """
import grandstand, os, sys
session = grandstand.open_session("run", algorithm="DQN", url=sys.argv[1])
session.log({"who": 1})
pid = os.fork()
session.log({"who": 2 if pid == 0 else 3})
ok = session.flush(20)
if pid == 0:
    os._exit(0 if ok else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, server.url], timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert sorted(r["extra"]["who"] for r in server.rows()) == [1, 2, 3]


@pytest.mark.slow
def test_the_wish_comes_with_the_heartbeat(server: RecordingServer) -> None:
    server.script = lambda method, path, body: (
        (200, {"wanted": "stopped", "status": "running"}) if path.endswith("/heartbeat") else None
    )
    session = Client(server.url).attach("s")
    session.log({"a": 1})
    server.wait_for(lambda: bool(server.posted("/heartbeat")), 15)
    session.flush()
    assert session.should_stop()


def test_public_names_are_there() -> None:
    for name in grandstand.__all__:
        assert getattr(grandstand, name) is not None
    with pytest.raises(AttributeError):
        _ = grandstand.nothing_of_that_name


def test_the_log_says_where_it_went_wrong(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "grandstand.client"):
        session = Client("http://127.0.0.1:9").open_session("x", algorithm="DQN")
        session.abandon()
    assert "no Grandstand server answers at http://127.0.0.1:9" in caplog.text


ASKED_TO_END = """
import grandstand, signal, sys
session = grandstand.open_session("run", algorithm="DQN", url=sys.argv[1])
for i in range(500):
    session.log({"a": i}, episode=i)
print("logged", flush=True)
signal.pause()
"""


def test_a_script_that_is_asked_to_end_sends_what_it_has_and_says_why(
    server: RecordingServer,
) -> None:
    command = [sys.executable, "-c", ASKED_TO_END, server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == b"logged\n"
        script.terminate()
        assert script.wait(20) == -signal.SIGTERM  # it still ends by the signal
    assert [row["episode"] for row in server.rows()] == list(range(500))
    (told,) = server.posted("/finish")
    assert (told["status"], told["reason"]) == (
        "stopped",
        "the process was asked to end (SIGTERM)",
    )


HANDLES_IT = """
import grandstand, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
session = grandstand.open_session("run", algorithm="DQN", url=sys.argv[1])
print("ready", flush=True)
signal.pause()
"""


def test_a_handler_of_the_scripts_own_is_left_alone(server: RecordingServer) -> None:
    command = [sys.executable, "-c", HANDLES_IT, server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == b"ready\n"
        script.terminate()
        assert script.wait(20) == 3
    assert server.posted("/finish") == []
