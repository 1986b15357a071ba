"""What a launcher promises: a worker process for a task, and news of its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is started for.

    Attributes:
        name: ``session:ID`` or ``evaluation:ID``.
        token: what it reports with.
        url: where it reports to.
        log_file: what it prints goes here.
        environment: further variables.
    """

    name: str
    token: str
    url: str
    log_file: Path
    environment: Mapping[str, str]


class Worker(Protocol):
    """A worker that was started."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def started_at(self) -> float:
        """When its process started, epoch seconds."""

    async def wait(self) -> int:
        """Its exit code, once it has ended; negative is the signal that ended it."""

    def terminate(self) -> None:
        """Ask it to take a checkpoint and leave."""

    def kill(self) -> None:
        """End it at once."""


class Launcher(Protocol):
    """Starts workers."""

    async def launch(self, task: Task) -> Worker:
        """Start a worker for `task`.

        Raises:
            OSError: the process cannot be started.
        """
