"""A script of CleanRL, as published and unmodified, followed live by `grandstand tail`."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grandstand.client.client import Client

from .conftest import SESSIONS, Server, eventually
from .test_tensorboard import end, stored, tail

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

PACKAGES = ("cleanrl==1.2.0", "gym==0.23.1", "gym-notices==0.0.8")
"""The newest CleanRL on the index that has `ppo.py` as a script, and the environments it wants."""
SCRIPT_SHA256 = "2cb5f6c703185db7357464ca77251f66e4d62dd2942a3328da9b2e4bb8d338fa"
STEPS = 24_576
INSTALL_SECONDS = 240
NO_INDEX = ("Retrying", "NewConnectionError", "Temporary failure in name resolution")
"""What pip says when it reaches no index."""

Scalar = tuple[str, int, float | str]


@pytest.fixture(scope="module")
def packages(pytestconfig: pytest.Config) -> Path:
    """A folder with CleanRL and its environments, brought once and kept in pytest's cache."""
    assert pytestconfig.cache is not None
    folder = Path(pytestconfig.cache.mkdir("cleanrl")) / "-".join(PACKAGES)
    if folder.is_dir():
        return folder
    coming = folder.with_name(f"{os.getpid()}.coming")
    words = ["install", "--quiet", "--retries", "1", "--no-deps", "--ignore-requires-python"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, "--target", str(coming), *PACKAGES],
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    try:
        if done.returncode and any(sign in done.stderr for sign in NO_INDEX):
            pytest.skip("CleanRL cannot be had: the package index cannot be reached")
        assert done.returncode == 0, done.stderr
        coming.rename(folder)
    finally:
        shutil.rmtree(coming, ignore_errors=True)
    return folder


def train(packages: Path, folder: Path, steps: int) -> subprocess.Popen[str]:
    """`python ppo.py`, as its page says, in a folder of its own."""
    script = packages / "cleanrl" / "ppo.py"
    assert hashlib.sha256(script.read_bytes()).hexdigest() == SCRIPT_SHA256
    with (folder / "said").open("w") as said:
        return subprocess.Popen(
            [sys.executable, str(script), "--total-timesteps", str(steps), "--cuda", "False"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1"},
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )


def written(logs: Path) -> Counter[Scalar]:
    """Every scalar of the event files, as TensorBoard's own reader finds them."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    return Counter(
        (value.tag, event.step, comparable(value.simple_value))
        for path in logs.rglob("*tfevents*")
        for event in LegacyEventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.HasField("simple_value")
    )


def reported(server: Server, session_id: str) -> Counter[Scalar]:
    """Every tag, step and value in the store."""
    return Counter(
        (tag, record["data"]["step"], comparable(value))
        for record in stored(server, session_id)
        for tag, value in record["data"]["extra"].items()
    )


def comparable(value: float | str) -> float | str:
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


class Watcher:
    """Somebody at the socket, in a thread of their own."""

    def __init__(self, server: Server, session_id: str) -> None:
        self.seqs: list[int] = []
        self.returns: list[float] = []
        self._client = Client(server.url)
        self._events = self._client.watch(session_id, since=0)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        for event in self._events:
            assert event.seq is not None
            self.seqs.append(event.seq)
            found = event.data.get("extra", {}).get("charts/episodic_return")
            if found is not None:
                self.returns.append(found)

    def leave(self) -> None:
        """Wait for the session's end, which ends the watching."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._client.close()


@pytest.fixture
def script(packages: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = train(packages, tmp_path, STEPS)
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def test_an_unmodified_script_is_followed_live_and_each_of_its_scalars_is_stored_once(
    server: Server, script: subprocess.Popen[str], tmp_path: Path
) -> None:
    logs = tmp_path / "runs"
    follower = tail(server, logs, "--algorithm", "PPO")
    try:

        def appeared() -> dict[str, Any] | None:
            assert script.poll() is None, (tmp_path / "said").read_text()
            sessions = server.get(SESSIONS)["sessions"]
            return dict(sessions[0]) if sessions else None

        session = eventually(appeared, "the session of a script that runs")
        session_id = session["session_id"]
        assert session["algorithm"] == "PPO"
        assert session["config"]["total_timesteps"] == str(STEPS)
        watcher = Watcher(server, session_id)
        # Live: the curve grows while the script still runs.
        for returns in (5, 20, 40):
            eventually(lambda least=returns: len(watcher.returns) >= least, f"{returns} returns")
            assert script.poll() is None, (tmp_path / "said").read_text()
        assert script.wait(240) == 0, (tmp_path / "said").read_text()
        expected = written(logs)
        assert sum(expected.values()) > 500
        eventually(lambda: reported(server, session_id) == expected, "every scalar, once")
        server.api.put(f"{SESSIONS}/{session_id}", json={"status": "completed"})
        watcher.leave()
        assert watcher.seqs == sorted(set(watcher.seqs))
        told = sum(n for (tag, _, _), n in expected.items() if tag == "charts/episodic_return")
        assert len(watcher.returns) == told
        assert server.session(session_id)["current_episode"] == told
    finally:
        end(follower)
    # And once more, from the beginning: nothing is stored twice.
    again = tail(server, logs, "--algorithm", "PPO", "--once")
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert reported(server, session_id) == expected
