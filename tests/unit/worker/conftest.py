"""A server that gives orders and keeps what a worker says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grandstand.client.client import Client
from grandstand.client.session import Session
from grandstand.client.transport import HttpTransport
from grandstand.clock import SystemClock
from grandstand.model.scenarios import load_scenario
from grandstand.worker.controls import Controls
from grandstand.worker.runner import SessionRun

from ..client.conftest import RecordingServer, forget_sessions  # noqa: TID252 - tests are no package

EPISODES = 120


class Office(RecordingServer):
    """Holds one session's wish, and answers heartbeats with it as soon as it changes."""

    def __init__(self, folder: Path) -> None:
        self.wanted = "running"
        self.status = "running"
        self.checkpoint_requested = False
        self.superseded = False
        self.keys: set[str] = set()
        self.folder = folder
        super().__init__()
        self.script = self._answer

    def wish(self, wanted: str) -> None:
        with self.news:
            self.wanted = wanted
            self.news.notify_all()

    def _answer(self, method: str, path: str, body: Any) -> Any:
        if self.superseded and method == "POST":
            return 409, {"error": "attempt_superseded", "message": "a newer worker has it"}
        if path.endswith("/heartbeat"):
            with self.news:
                self.news.wait_for(
                    lambda: self.wanted != body["wanted"] or self.superseded, body["wait_seconds"]
                )
            return 200, {
                "wanted": self.wanted,
                "status": self.status,
                "checkpoint_requested": self.checkpoint_requested,
            }
        if path.endswith("/records") and '"checkpoint"' in str(body).replace("'", '"'):
            self.checkpoint_requested = False
        return None

    def order(self, **changes: Any) -> dict[str, Any]:
        scenario = load_scenario("bologna_coppia")
        return {
            "session_id": "s",
            "attempt": 1,
            "wanted": self.wanted,
            "scenario": scenario.to_mapping(),
            "num_episodes": EPISODES,
            "save_interval": 40,
            "eval_episodes": 0,
            "seed": 3,
            "pace": None,
            "device": "auto",
            "threads": 1,
            "heartbeat_seconds": 0.2,
            "folder": str(self.folder),
            "cache_folder": str(self.folder / "cache"),
            "resume_from": None,
            "current_episode": 0,
            **changes,
        }

    def events(self, name: str) -> list[dict[str, Any]]:
        return [row for row in self.rows() if row.get("event") == name]

    def episodes(self) -> list[int]:
        """Numbers of the finished episodes reported, in order."""
        return [row["episode"] for row in self.rows() if "current_reward" in row]


class Desk:
    """A worker in a thread of this process."""

    def __init__(self, office: Office, **changes: Any) -> None:
        order = office.order(**changes)
        clock = SystemClock()
        self.session: Session = Client(office.url).attach("s", lossless=True, heartbeat=False)
        self.controls = Controls(
            HttpTransport(office.url),
            self.session,
            wanted=order["wanted"],
            heartbeat_seconds=order["heartbeat_seconds"],
            clock=clock,
        )
        self.exit: int | None = None
        self.controls.start()
        run = SessionRun(order, self.session, self.controls, clock)

        def work() -> None:
            self.exit = run.run()

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def join(self, seconds: float = 60.0) -> int:
        self._thread.join(seconds)
        assert self.exit is not None, "the worker did not end"
        return self.exit


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path / "sessions" / "s")
    yield office
    office.stop()
    forget_sessions()
