"""Trackio against a server of its own over HTTP, as a team would run it."""

import sys
from importlib.metadata import version
from pathlib import Path

import trackio

from trackers.beside import Beside, ask, free_port

SERVE = "import sys, trackio; trackio.show(open_browser=False, server_port=int(sys.argv[1]))"


class Tracker:
    version = version("trackio")

    def __init__(self, folder: Path, server_core: int) -> None:
        self.data = folder / "trackio"
        self.port = free_port()
        self.server = Beside(
            [sys.executable, "-c", SERVE, self.port],
            server_core,
            folder / "server.log",
            {"TRACKIO_DIR": str(self.data)},
        )
        self.url = f"http://127.0.0.1:{self.port}"
        self.server.wait_for(self.url)
        self.with_token = self.server.said(rf"{self.url}\S*write_token=[\w-]+")

    def open(self, run: str) -> None:
        self.name = run
        trackio.init(
            project="bench",
            name=run,
            server_url=self.with_token,
            auto_log_cpu=False,
            auto_log_gpu=False,
            embed=False,
        )

    def log(self, step: int, values: dict[str, float]) -> None:
        trackio.log(values, step=step)

    def close(self) -> None:
        trackio.finish()

    def points(self) -> int:
        return self.read("kl") * 10  # each call has the same ten

    def fill(self, name: str, points: int) -> None:
        for step in range(points):
            trackio.log({name: step * 0.37}, step=step)

    def read(self, name: str) -> int:
        asked = {"project": "bench", "run": self.name, "metric_name": name}
        return len(ask(f"{self.url}/api/get_metric_values", asked)["data"])

    def shut(self) -> None:
        self.server.stop()
