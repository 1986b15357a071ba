"""What a supervisor needs: a launcher that starts workers, and a desk that has jobs for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from grandstand.model.assignments import Assignment


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is started for.

    Attributes:
        name: ``session:ID`` or ``evaluation:ID``.
        token: what it reports with.
        url: where it reports to.
        log_file: what it prints goes here.
        environment: further variables.
        labels: what its machine must have.
    """

    name: str
    token: str
    url: str
    log_file: Path
    environment: Mapping[str, str]
    labels: Sequence[str] = ()


class Worker(Protocol):
    """A worker that was started."""

    @property
    def handle(self) -> str:
        """By which its launcher finds it again, also after a restart."""

    async def wait(self) -> str:
        """How it ended, in words, once it has; never fails."""

    async def last_output(self) -> list[str]:
        """The last lines that it printed."""

    async def terminate(self) -> None:
        """Ask it to take a checkpoint and leave."""

    async def kill(self) -> None:
        """End it at once."""


class Launcher(Protocol):
    """Starts workers."""

    async def launch(self, task: Task) -> Worker:
        """Start a worker for `task`.

        Raises:
            OSError: it cannot be started.
        """

    async def find(self, handle: str, task: Task) -> Worker | None:
        """The worker of this handle, where it is still at work.

        Args:
            task: as it was started for; its token may be another.
        """


class Desk(Protocol):
    """Where a supervisor gets jobs, and says what becomes of them."""

    async def open(self, running: int) -> None:
        """Make oneself known.

        Args:
            running: trainings that run already.

        Raises:
            GrandstandError: one may not.
        """

    async def take(self, *, training: bool, running: int) -> Assignment | None:
        """The next job of a kind, if there is one; never raises because nobody answers.

        Args:
            training: the kind.
            running: trainings that run now.
        """

    async def wait(
        self, seconds: float, *, running: int, training_room: bool, evaluation_room: bool
    ) -> None:
        """Wait until there may be a job of a kind that there is room for, or for so long."""

    async def launched(self, job: Assignment, handle: str) -> None:
        """Say by which handle its worker is found again."""

    async def gone(
        self,
        job: Assignment,
        *,
        why: str,
        error: Mapping[str, object] | None = None,
        counts: bool = True,
    ) -> None:
        """Say that a worker has ended; harmless when it said itself how.

        Args:
            why: a sentence.
            error: what is known of the failure.
            counts: False where the training is not to blame.
        """

    async def held(self) -> Sequence[Assignment] | None:
        """The jobs one has; None when nobody answers."""

    async def aclose(self) -> None:
        """Say that one leaves."""
