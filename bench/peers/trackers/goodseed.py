"""GoodSeed: a run in local storage, read through its own server as its page does."""

import sys
from importlib.metadata import version
from pathlib import Path

import goodseed

from trackers.beside import Beside, ask, free_port

SERVE = "import sys; from goodseed.cli import main; sys.exit(main())"


class Tracker:
    version = version("goodseed")

    def __init__(self, folder: Path, server_core: int) -> None:
        self.data = folder / "goodseed"
        self.port = free_port()
        self.server = Beside(
            [sys.executable, "-c", SERVE, "serve", self.data / "projects", "--port", self.port],
            server_core,
            folder / "server.log",
        )

    def open(self, run: str) -> None:
        self.name = run
        self.run = goodseed.Run(
            project="bench",
            run_id=run,
            goodseed_home=self.data,
            storage="local",
            capture_hardware_metrics=False,
            capture_stdout=False,
            capture_stderr=False,
        )
        self.server.wait_for(f"http://127.0.0.1:{self.port}/api/projects")

    def log(self, step: int, values: dict[str, float]) -> None:
        self.run.log_metrics(values, step=step)

    def close(self) -> None:
        self.run.close()

    def _ask(self, what: str):
        return ask(f"http://127.0.0.1:{self.port}/api/runs/bench/{self.name}/{what}")

    def points(self) -> int:
        return len(self._ask("metrics")["metrics"])

    def fill(self, name: str, points: int) -> None:
        for step in range(points):
            self.run[name].log(step * 0.37, step=step)

    def read(self, name: str) -> int:
        return len(self._ask(f"metrics?path={name}")["metrics"])

    def shut(self) -> None:
        self.server.stop()
