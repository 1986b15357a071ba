"""Grandstand: `open_session`, `log`; read over HTTP as columns."""

import sys
from importlib.metadata import version
from pathlib import Path

import grandstand
from trackers.beside import Beside, ask, free_port


class Tracker:
    version = version("grandstand")

    def __init__(self, folder: Path, server_core: int) -> None:
        self.data = folder / "grandstand"
        port = free_port()
        self.server = Beside(
            [
                sys.executable, "-m", "grandstand", "serve", "--port", port,
                "--data-dir", self.data, "--log-level", "WARNING",
            ],
            server_core,
            folder / "server.log",
        )  # fmt: skip
        self.url = f"http://127.0.0.1:{port}"
        self.sessions = f"{self.url}/api/training/sessions"
        self.server.wait_for(self.sessions)

    def open(self, run: str) -> None:
        self.session = grandstand.open_session(run, algorithm="bench", url=self.url, lossless=True)

    def log(self, step: int, values: dict[str, float]) -> None:
        self.session.log(values, step=step)

    def close(self) -> None:
        self.session.finish()
        if self.session.dropped:
            raise RuntimeError(f"{self.session.dropped} records were dropped")

    def _ask(self, query: str):
        return ask(f"{self.sessions}/{self.session.session_id}/series?{query}")

    def points(self) -> int:
        return sum(sum(s["count"]) for s in self._ask("max_points=1&x=step")["series"].values())

    def fill(self, name: str, points: int) -> None:
        for step in range(points):
            self.session.log({name: step * 0.37}, step=step)

    def read(self, name: str) -> int:
        found = self._ask(f"metrics={name}&x=step&max_points=100000")
        return len(found["series"][name]["x"])

    def shut(self) -> None:
        self.server.stop()
