"""MLflow: a tracking server on SQLite, `log_metrics` over HTTP."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] = "false"  # as it is unless asked for

import mlflow
from mlflow.entities import Metric

from trackers.beside import Beside, free_port


class Tracker:
    version = version("mlflow")

    def __init__(self, folder: Path, server_core: int) -> None:
        self.data = folder / "mlflow"
        self.data.mkdir(parents=True)
        port = free_port()
        self.server = Beside(
            [
                sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port,
                "--backend-store-uri", f"sqlite:///{self.data}/mlflow.db",
                "--default-artifact-root", self.data / "artifacts", "--workers", "1",
            ],
            server_core,
            folder / "server.log",
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        self.server.wait_for(f"{url}/health")
        mlflow.set_tracking_uri(url)
        mlflow.set_experiment("bench")
        self.client = mlflow.MlflowClient()

    def open(self, run: str) -> None:
        self.run = mlflow.start_run(run_name=run).info.run_id
        self.names: set[str] = set()

    def log(self, step: int, values: dict[str, float]) -> None:
        mlflow.log_metrics(values, step=step)
        self.names.update(values)

    def close(self) -> None:
        mlflow.end_run()

    def points(self) -> int:
        return sum(self.read(name) for name in self.names)

    def fill(self, name: str, points: int) -> None:
        for start in range(0, points, 1000):
            steps = range(start, min(start + 1000, points))
            self.client.log_batch(self.run, [Metric(name, s * 0.37, 0, s) for s in steps])

    def read(self, name: str) -> int:
        return len(self.client.get_metric_history(self.run, name))

    def shut(self) -> None:
        self.server.stop()
