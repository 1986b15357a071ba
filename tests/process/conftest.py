"""Real servers in processes of their own, which can be killed and started again on their data."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

READY_WITHIN_SECONDS = 60.0
PATIENCE_SECONDS = 60.0
"""How long a condition is waited for before the test fails; nothing waits that long."""
LOOK_EVERY_SECONDS = 0.05
HEARTBEAT_SECONDS = 2.0
MARK = "PROCESS_TEST_HOME"
"""Inherited by the server's workers, so that they are found when it is gone."""
ENDED = ("stopped", "completed", "failed")
SESSIONS = "/api/training/sessions"

PROOF = os.environ.get("PROOF") == "1"
"""Set by `make proof`: the full counts, and what was measured is printed."""

T = TypeVar("T")


def count(few: int, full: int) -> int:
    """How often: `few` in `make test`, `full` in `make proof`."""
    return full if PROOF else few


def told(sentence: str) -> None:
    """Print what a proof measured."""
    if PROOF:
        print(f"\nproof: {sentence}")


def eventually(look: Callable[[], T | None], what: str, within: float = PATIENCE_SECONDS) -> T:
    """What `look` gives once it is true; the test fails when that takes longer than `within`."""
    until = time.monotonic() + within
    pause = threading.Event()
    while not (found := look()):
        if time.monotonic() > until:
            pytest.fail(f"not within {within:g} s: {what}")
        pause.wait(LOOK_EVERY_SECONDS)
    return found


def workers_of(value: str | Path, name: str = MARK) -> list[psutil.Process]:
    """The worker processes whose environment has `value` under `name`."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "grandstand.worker" not in (process.info["cmdline"] or ()):
            continue
        with contextlib.suppress(psutil.Error):
            if process.environ().get(name) == str(value):
                found.append(process)
    return found


class Server:
    """A server on one data folder, through any number of lives.

    Attributes:
        home: its working folder; the data lie in `data` below it.
        environment: more variables for its next life.
        url: where it is, without a slash at the end; a later life takes the same port.
        api: an HTTP client for it.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "data"
        self.url = ""
        self.environment: dict[str, str] = {}
        self.api: httpx.Client
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: list[str] = []

    def start(self) -> None:
        """Start it, or start it again on the same data and port."""
        ready = threading.Event()
        said: list[str] = []
        process = subprocess.Popen(
            serve_command(self._port, self.data),
            cwd=self.home,
            env=os.environ
            | {
                MARK: str(self.home),
                "PYTHONUNBUFFERED": "1",
                "GRANDSTAND_TRAINING__HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
            }
            | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._process = process

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                self._lines.append(line)
                if found := re.search(r"Grandstand is at (http://\S+:(\d+))", line):
                    self.url, self._port = found.group(1), int(found.group(2))
                    said.append(self.url)
                    ready.set()
            ready.set()

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        ready.wait(READY_WITHIN_SECONDS)
        if not said:
            pytest.fail("the server did not start:\n" + self.output)
        self.api = httpx.Client(base_url=self.url, timeout=30)

    @property
    def pid(self) -> int:
        """Its process, as long as it lives."""
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """What it printed, in all its lives."""
        return "".join(self._lines[-80:])

    def kill(self) -> None:
        """SIGKILL, for the server alone."""
        assert self._process is not None
        self._process.kill()
        self._gone(10)

    def interrupt(self, within: float) -> int:
        """What Ctrl-C does; gives the exit code, and fails when it takes longer than `within`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._gone(within)

    def terminate(self, within: float) -> float:
        """What whoever runs services does (SIGTERM); how long it took, in seconds."""
        assert self._process is not None
        begun = time.monotonic()
        self._process.terminate()
        assert self._gone(within) in (0, -signal.SIGTERM)
        return time.monotonic() - begun

    def _gone(self, within: float) -> int:
        assert self._process is not None
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the server was still there after {within:g} s:\n{self.output}")
        self._forget()
        return code

    def _forget(self) -> None:
        assert self._process is not None
        assert self._reader is not None
        self._reader.join(10)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None
        if hasattr(self, "api"):
            self.api.close()

    def workers(self) -> list[psutil.Process]:
        """Its workers, also those that outlived it."""
        return workers_of(self.home)

    def worker(self) -> psutil.Process:
        """The one worker there is."""
        (found,) = eventually(self.workers, "a worker")
        return found

    def end(self) -> None:
        """Leave nothing of the family."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()
        left = self.workers()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=10)

    # ---- what is asked of it -----------------------------------------------------------------

    def get(self, path: str, **query: Any) -> Any:
        """A GET that must succeed."""
        answer = self.api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: dict[str, Any] | None = None, status: int = 200) -> Any:
        """A POST that must be answered with `status`."""
        answer = self.api.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def train(self, **more: Any) -> str:
        """Start a training, small unless `more` says otherwise; gives its session."""
        body = {"scenario_name": "bologna_coppia", "seed": 7, "eval_episodes": 0, **more}
        return str(self.post("/api/training/start", body, 202)["session_id"])

    def session(self, session_id: str) -> dict[str, Any]:
        """The session as the server shows it."""
        found: dict[str, Any] = self.get(f"{SESSIONS}/{session_id}")
        return found

    def until(self, session_id: str, *statuses: str) -> dict[str, Any]:
        """The session once it has one of `statuses`; an end that is none of them fails at once."""

        def look() -> dict[str, Any] | None:
            session = self.session(session_id)
            if session["status"] in statuses:
                return session
            if session["status"] in ENDED:
                pytest.fail(f"{session['status']} instead of {statuses}: {session['error']}")
            return None

        return eventually(look, f"{session_id} is {' or '.join(statuses)}")

    def until_episode(self, session_id: str, episode: int) -> dict[str, Any]:
        """The session once so many episodes are stored; it must not have ended."""

        def look() -> dict[str, Any] | None:
            session = self.session(session_id)
            assert session["status"] not in ENDED, session
            return session if session["current_episode"] >= episode else None

        return eventually(look, f"{session_id} has {episode} episodes")

    def history(self, session_id: str, kind: str) -> list[dict[str, Any]]:
        """Everything of one type that the session reported, in order."""
        name = {"training_metrics": "metrics_data", "training_status": "events"}[kind]
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            path = f"{SESSIONS}/{session_id}/history"
            page = self.get(path, type=kind, limit=10_000, **cursor)
            found += page[name]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}

    def events(self, session_id: str, event: str) -> list[dict[str, Any]]:
        """The session's events of one name, in order."""
        return [e for e in self.history(session_id, "training_status") if e["event"] == event]

    def statuses(self, session_id: str) -> list[str]:
        """Every status the session has had, in order."""
        return [str(e["status"]) for e in self.events(session_id, "status")]

    def episodes(self, session_id: str) -> list[dict[str, Any]]:
        """The finished episodes as stored, in order."""
        rows = self.history(session_id, "training_metrics")
        return [row for row in rows if row.get("current_reward") is not None]

    def checkpoints(self, session_id: str) -> list[Path]:
        """The checkpoint folders on disk, whole ones, oldest first."""
        folder = self.data / "models" / "sessions" / session_id / "checkpoints"
        return sorted(
            (manifest.parent for manifest in folder.glob("checkpoint_episode_*/manifest.json")),
            key=lambda path: int(path.name.rpartition("_")[2]),
        )


def serve_command(port: int, data: Path) -> list[str]:
    """The command line of a server."""
    words = ["-m", "grandstand", "serve", "--port", str(port), "--data-dir", str(data)]
    return [sys.executable, *words]


def assert_each_once(server: Server, session_id: str, count: int) -> None:
    """Episodes 1 to `count` are stored, each of them once, in order, under rising seqs."""
    rows = server.episodes(session_id)
    numbers = [row["episode"] for row in rows]
    doubled = sorted(n for n, times in Counter(numbers).items() if times > 1)
    missing = sorted(set(range(1, count + 1)) - set(numbers))
    assert (doubled, missing) == ([], [])
    assert numbers == list(range(1, count + 1))
    seqs = [row["seq"] for row in rows]
    assert seqs == sorted(set(seqs))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server on an empty folder; at the end nothing of it is left."""
    running = Server(tmp_path)
    try:
        running.start()
        yield running
    finally:
        running.end()
