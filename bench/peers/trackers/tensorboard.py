"""TensorBoard: a SummaryWriter (tensorboardX, which needs no PyTorch), read as TensorBoard does."""

from importlib.metadata import version
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboardX import SummaryWriter


class Tracker:
    version = f"{version('tensorboard')}, tensorboardX {version('tensorboardX')}"

    def __init__(self, folder: Path, server_core: int) -> None:
        self.data = folder

    def open(self, run: str) -> None:
        self.run = str(self.data / run)
        self.writer = SummaryWriter(self.run)

    def log(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()

    def _loaded(self) -> EventAccumulator:
        events = EventAccumulator(self.run, size_guidance={"scalars": 0})
        events.Reload()
        return events

    def points(self) -> int:
        events = self._loaded()
        return sum(len(events.Scalars(tag)) for tag in events.Tags()["scalars"])

    def fill(self, name: str, points: int) -> None:
        for step in range(points):
            self.writer.add_scalar(name, step * 0.37, step)

    def read(self, name: str) -> int:
        return len(self._loaded().Scalars(name))

    def shut(self) -> None:
        self.writer.close()
