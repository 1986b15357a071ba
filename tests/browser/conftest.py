"""A real server in a process of its own, and a real browser in front of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserType, ConsoleMessage, Page, Playwright, expect

READY_WITHIN_SECONDS = 60
PATIENCE_MS = 15_000
"""How long a test waits for something to show before it fails; nothing waits that long."""

expect.set_options(timeout=PATIENCE_MS)

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HIDE_TORCH = """
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
    None if name == "torch" else find_spec(name, package)
)
"""


class Server:
    """A running server.

    Attributes:
        url: where it is, without a slash at the end.
        home: the folder it runs in.
        api: an HTTP client for it.
    """

    def __init__(self, home: Path, environment: dict[str, str] | None = None) -> None:
        self.home = home
        self._environment = os.environ | {"PYTHONUNBUFFERED": "1"} | (environment or {})
        self._start(0)

    def _start(self, port: int) -> None:
        self._lines: list[str] = []
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "grandstand", "serve", "--port", str(port)],
            cwd=self.home,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(READY_WITHIN_SECONDS) or self._process.poll() is not None:
            self.stop()
            pytest.fail("the server did not start:\n" + "".join(self._lines[-40:]))
        self.api = httpx.Client(base_url=self.url, timeout=30)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if found := re.search(r"(http://[^\s]+)", line):
                if not self._ready.is_set():
                    self.url = found.group(1).rstrip("/")
                self._ready.set()
        self._ready.set()

    def stop(self) -> None:
        """End it, as Ctrl-C would."""
        self._process.terminate()
        self._ended()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._ended()

    def start_again(self) -> None:
        """Start it again in the same place, at the same address."""
        self._start(int(self.url.rsplit(":", 1)[1]))

    def _ended(self) -> None:
        if hasattr(self, "api"):
            self.api.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def open_session(self, session_id: str, **more: Any) -> str:
        """Open an external session as a stranger's script would; gives its id."""
        body = {"training_session_id": session_id, "algorithm": "DQN", **more}
        answer = self.api.post("/api/training/sessions", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["session_id"])

    def report(self, session_id: str, kind: str = "metrics", **body: Any) -> int:
        """Report one record; gives its seq."""
        answer = self.api.post(f"/api/training/sessions/{session_id}/{kind}", json=body)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["seq"])

    def report_many(self, session_id: str, **columns: list[Any]) -> int:
        """Report a batch of metrics as columns; gives the last seq."""
        record = {"type": "training_metrics", "columns": columns}
        path = f"/api/training/sessions/{session_id}/records"
        answer = self.api.post(path, json={"records": [record]})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["last_seq"])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests; sessions keep apart by name."""
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


StartServer = Callable[..., Server]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers for one test alone, which may end them and start them again.

    `open_page` asks for this first, so pages are closed before the servers end: a page that is
    still open would complain that nobody answers.
    """
    started: list[Server] = []

    def start(environment: dict[str, str] | None = None) -> Server:
        home = tmp_path / f"server-{len(started)}"
        home.mkdir()
        started.append(Server(home, environment))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def start_hooked(start_server: StartServer, tmp_path: Path) -> Callable[[str], Server]:
    """Starts a server that runs some Python first, as in an environment that differs."""

    def start(python: str) -> Server:
        hidden = tmp_path / "hidden"
        hidden.mkdir()
        (hidden / "sitecustomize.py").write_text(python)
        path = os.pathsep.join(filter(None, [str(hidden), os.environ.get("PYTHONPATH", "")]))
        return start_server({"PYTHONPATH": path})

    return start


@pytest.fixture
def own_server(start_server: StartServer) -> Server:
    """A server for one test alone."""
    return start_server()


@pytest.fixture
def untrained_server(start_hooked: Callable[[str], Server]) -> Server:
    """A server in an environment where the training part cannot be found."""
    return start_hooked(HIDE_TORCH)


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """The system's Chromium; nothing is downloaded."""
    if not Path(CHROMIUM).exists():
        pytest.fail(f"no browser at {CHROMIUM}: install chromium, or say where with CHROMIUM")
    kind: BrowserType = playwright.chromium
    running = kind.launch(executable_path=CHROMIUM, args=FLAGS)
    yield running
    running.close()


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, server: Server, start_server: StartServer) -> Iterator[OpenPage]:
    """Opens a page of the server; whatever the browser complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    def open_(path: str = "/", *, on: Server | None = None, **context: Any) -> Page:
        made = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        contexts.append(made)
        made.set_default_timeout(PATIENCE_MS)
        page = made.new_page()
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((on or server).url + path)
        return page

    open_.complaints = complaints  # type: ignore[attr-defined]
    yield open_
    for made in contexts:
        made.close()
    assert complaints == []
