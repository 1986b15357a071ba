"""`grandstand tail` beside a real server: what the event files hold is stored once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from grandstand.client.client import Client
from grandstand.client.tensorboard.follow import GONE_SECONDS, HOLD_SECONDS, Follower
from grandstand.clock import ManualClock

from .conftest import SESSIONS, Server, eventually

pytestmark = pytest.mark.slow
TABLE = "|param|value|\n|-|-|\n|seed|1|\n|lr|0.5|"
STEPS = 30


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.end()


def writer(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the writer's own dependencies warn when imported
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(str(folder), flush_secs=1)


def tail(server: Server, logs: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "grandstand", "tail", str(logs), "--server", server.url, *more],
        cwd=server.home,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(follower: subprocess.Popen[str]) -> None:
    """Leave nothing of it, whatever it was doing."""
    follower.kill()
    follower.communicate()


def stored(server: Server, session_id: str) -> list[dict[str, Any]]:
    answer = server.api.get(f"{SESSIONS}/{session_id}/export", params={"format": "ndjson"})
    if answer.status_code == 404:
        return []
    lines = [json.loads(line) for line in answer.text.splitlines()]
    return [line for line in lines if line.get("type") == "training_metrics"]


def only_session(server: Server) -> dict[str, Any] | None:
    found = server.get(SESSIONS, status="all")["sessions"]
    assert len(found) <= 1
    return dict(found[0]) if found else None


def returns(records: list[dict[str, Any]]) -> Counter[tuple[int, float]]:
    data = [record["data"] for record in records]
    return Counter(
        (d["step"], d["current_reward"]) for d in data if d.get("current_reward") is not None
    )


def await_records(server: Server, session_id: str, number: int) -> None:
    eventually(lambda: len(stored(server, session_id)) == number, f"{number} records", within=20)


def write(log: Any, steps: range) -> None:
    for step in steps:
        log.add_scalar("charts/episodic_return", step * 0.5, step)
        log.add_scalar("losses/value_loss", step * 0.25, step)
    log.flush()


def test_a_run_is_followed_live_and_a_second_follower_stores_nothing_twice(
    own_server: Server, tmp_path: Path
) -> None:
    logs = tmp_path / "runs"
    log = writer(logs / "one")
    log.add_text("hyperparameters", TABLE)
    write(log, range(STEPS))
    expected = Counter({(step, step * 0.5): 1 for step in range(STEPS)})
    for life in (1, 2):
        follower = tail(own_server, logs)
        try:
            session = eventually(lambda: only_session(own_server), "a session")
            name = session["session_id"]
            await_records(own_server, name, STEPS * life)
            write(log, range(STEPS * life, STEPS * (life + 1)))
            expected.update({(s, s * 0.5): 1 for s in range(STEPS * life, STEPS * (life + 1))})
            await_records(own_server, name, STEPS * (life + 1))
            follower.send_signal(signal.SIGINT)
            output, _ = follower.communicate(timeout=60)
            assert follower.returncode == 0, output
        finally:
            end(follower)
    log.close()
    assert returns(stored(own_server, name)) == expected
    session = own_server.get(f"{SESSIONS}/{name}")
    assert session["config"] == {"seed": "1", "lr": "0.5"}
    assert session["current_episode"] == 3 * STEPS


def test_a_finished_folder_is_imported_and_importing_again_changes_nothing(
    own_server: Server, tmp_path: Path
) -> None:
    logs = tmp_path / "runs"
    with writer(logs) as log:
        write(log, range(STEPS))
    for _ in range(2):
        done = tail(own_server, logs, "--once", "--name", "imported", "--algorithm", "PPO")
        output, _ = done.communicate(timeout=60)
        assert done.returncode == 0, output
        session = own_server.get(f"{SESSIONS}/imported")
        assert session["status"] == "completed"
        assert session["algorithm"] == "PPO"
        records = stored(own_server, "imported")
        assert returns(records) == Counter({(step, step * 0.5): 1 for step in range(STEPS)})
        assert len(records) == STEPS  # what belongs to one step is one record


def values(server: Server, session_id: str) -> Counter[tuple[str, int, float]]:
    return Counter(
        (tag, record["data"]["step"], value)
        for record in stored(server, session_id)
        for tag, value in record["data"]["extra"].items()
    )


def look(server: Server, logs: Path, looks: int = 1, *, killed: bool = False) -> None:
    """A follower of its own, for so many looks; then it leaves, or is as if it were killed."""
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    with Client(server.url) as client:
        follower = Follower(logs, client, clock=clock)
        for _ in range(looks):
            follower.look()
            clock.wait(HOLD_SECONDS)
        if not killed:
            assert follower.leave()
        for run in follower.runs.values():
            assert run.session is not None
            assert run.session.flush(30)
            run.session.abandon()


@pytest.mark.parametrize("killed", [False, True], ids=["left", "killed"])
def test_what_is_written_of_a_step_after_the_follower_went_is_stored_by_the_next_one(
    own_server: Server, tmp_path: Path, killed: bool
) -> None:
    logs = tmp_path / "runs"
    log = writer(logs)
    expected: Counter[tuple[str, int, float]] = Counter()
    at = 1_000.0

    def add(tag: str, step: int) -> None:
        log.add_scalar(tag, 0.5, step, walltime=at + step)
        log.flush()
        expected[tag, step, 0.5] += 1

    add("a", 1)
    add("b", 1)
    add("a", 2)
    # The second look sees that nothing follows, and reports what there is of step 2.
    look(own_server, logs, looks=2, killed=killed)
    assert values(own_server, "runs") == expected
    add("b", 2)
    add("c", 2)
    add("a", 3)
    for _ in range(3):
        look(own_server, logs)
        assert values(own_server, "runs") == expected
    log.close()
    assert len(stored(own_server, "runs")) == 4


SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
from torch.utils.tensorboard import SummaryWriter
log = SummaryWriter(sys.argv[1])
log.add_scalar("charts/episodic_return", 1.0, 1)
log.flush()
print("written", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_run_whose_script_was_killed_is_completed_soon_and_one_that_lives_is_not(
    own_server: Server, tmp_path: Path
) -> None:
    logs = tmp_path / "runs"
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(logs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with script, Client(own_server.url) as client:
        try:
            assert script.stdout is not None
            assert script.stdout.readline() == "written\n"
            follower = Follower(logs, client, clock=clock)
            follower.look()
            clock.wait(GONE_SECONDS)
            follower.complete()
            assert own_server.session("runs")["status"] == "running"
        finally:
            script.kill()
            script.wait(30)
        # A reader, such as TensorBoard, is no writer.
        (path,) = logs.glob("*tfevents*")
        with path.open("rb"):
            follower.complete()
        session = own_server.session("runs")
        assert session["status"] == "completed"
        assert "is gone" in session["stop_reason"]
        assert values(own_server, "runs") == Counter({("charts/episodic_return", 1, 1.0): 1})


def test_a_folder_without_event_files_is_said(own_server: Server, tmp_path: Path) -> None:
    done = tail(own_server, tmp_path / "nothing", "--once")
    output, _ = done.communicate(timeout=60)
    assert done.returncode == 2
    assert "holds no event files" in output


def test_texts_histograms_and_images_come_along_once(own_server: Server, tmp_path: Path) -> None:
    import numpy as np

    with writer(tmp_path / "logs" / "cnn") as run:
        for step in (1, 2):
            run.add_scalar("charts/episodic_return", float(step), step)
            run.add_text("sample", f"step {step}", step)
            run.add_histogram("weights", np.arange(100) * step, step)
            run.add_image("filters", np.full((3, 4, 5), 40 * step, np.uint8), step)
    for _ in range(2):  # importing again changes nothing
        importer = tail(own_server, tmp_path / "logs", "--once")
        told, _ = importer.communicate(timeout=60)
        assert importer.returncode == 0, told
    session = only_session(own_server)
    assert session is not None
    path = f"{SESSIONS}/{session['session_id']}/history"
    found = own_server.get(path, type="text,histogram,image")
    assert [t["text"] for t in found["texts"]] == ["step 1", "step 2"]
    assert [(h["name"], h["step"], sum(h["counts"])) for h in found["histograms"]] == [
        ("weights", 1, 100),
        ("weights", 2, 100),
    ]
    assert [(i["name"], i["width"], i["height"]) for i in found["images"]] == [
        ("filters", 5, 4)
    ] * 2
