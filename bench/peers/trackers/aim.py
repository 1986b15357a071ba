"""Aim: a run in a local repository (RocksDB).

Read through the run that wrote it: aim 3.29 gave nothing back from a closed run here.
"""

from importlib.metadata import version
from pathlib import Path

import aim


class Tracker:
    version = version("aim")

    def __init__(self, folder: Path, server_core: int) -> None:
        self.data = folder / "aim"
        self.data.mkdir(parents=True)

    def open(self, run: str) -> None:
        self.run = aim.Run(
            repo=str(self.data),
            experiment=run,
            system_tracking_interval=None,
            log_system_params=False,
            capture_terminal_logs=False,
        )

    def log(self, step: int, values: dict[str, float]) -> None:
        self.run.track(values, step=step)

    def close(self) -> None:
        """`track` writes as it is called: nothing waits."""

    def _series(self):
        return {metric.name: metric.values.sparse_list()[0] for metric in self.run.metrics()}

    def points(self) -> int:
        return sum(len(steps) for steps in self._series().values())

    def fill(self, name: str, points: int) -> None:
        for step in range(points):
            self.run.track(step * 0.37, name=name, step=step)

    def read(self, name: str) -> int:
        return len(self._series()[name])

    def shut(self) -> None:
        self.run.close()
