"""The supervisor: takes jobs from a desk, starts workers, and notices when one is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from grandstand.clock import Clock
from grandstand.launch.base import Desk, Launcher, Task, Worker
from grandstand.model.assignments import Assignment
from grandstand.model.session import PERIODS_TO_LOST

logger = logging.getLogger("grandstand.supervisor")

LEAVE_SECONDS = 7.0
"""How long a worker gets to take a checkpoint and leave when the supervisor stops."""


class Supervisor:
    """Keeps as many workers going as there is room for.

    Args:
        desk: has the jobs.
        launcher: starts the workers of trainings.
        evaluator: starts those of evaluations.
        ready: whether workers of trainings (True) or evaluations (False) could start now.
        clock: for the spans.
        capacity: trainings at once.
        evaluations: evaluations at once, beside them.
        folder: each worker's output goes to its session's folder in it.
        environment: further variables of workers.
    """

    def __init__(
        self,
        desk: Desk,
        launcher: Launcher,
        evaluator: Launcher,
        ready: Callable[[bool], bool],
        clock: Clock,
        *,
        capacity: int,
        evaluations: int,
        heartbeat_seconds: float,
        folder: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._desk = desk
        self._launchers = {True: launcher, False: evaluator}
        self._ready = ready
        self._clock = clock
        self._capacity = {True: capacity, False: evaluations}
        self._heartbeat = heartbeat_seconds
        self._folder = folder
        self._environment = environment
        self._workers: dict[int, tuple[Assignment, Worker]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._url = ""
        self._leaving = False
        self._freed = asyncio.Event()

    async def open(self, url: str) -> None:
        """Start supervising; workers report to `url`.

        Trainings whose worker died with the last supervisor go on from their checkpoint at once; a
        worker that outlived it is left at work.

        Raises:
            GrandstandError: the desk does not want this supervisor.
        """
        self._url = url
        for job in await self._desk.held() or ():
            launcher = self._launchers[job.training]
            worker = await launcher.find(job.handle, self._task(job)) if job.handle else None
            if worker is None:
                await self._desk.gone(job, why="the server stopped while it ran", counts=False)
                continue
            logger.info("worker %s is still at %s", worker.handle, job.task)
            self._workers[job.id] = (job, worker)
            self._spawn(self._see_out(job, worker))
        await self._desk.open(self._training_count())
        self._spawn(self._take_forever())
        self._spawn(self._watch_forever())

    async def aclose(self) -> None:
        """Have every worker take a checkpoint and leave; kill those that do not in time."""
        self._leaving = True
        workers = [worker for _, worker in self._workers.values()]
        for worker in workers:
            await worker.terminate()
        waiting = [asyncio.ensure_future(w.wait()) for w in workers]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=LEAVE_SECONDS)
            if late:
                logger.warning("%d workers did not leave in time and are killed", len(late))
                for worker in workers:
                    await worker.kill()
                await asyncio.wait(late, timeout=1.0)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._desk.aclose()

    @property
    def running(self) -> int:
        """How many workers are at work."""
        return len(self._workers)

    async def _take_forever(self) -> None:
        while True:
            self._freed.clear()
            if not self._leaving:
                for training in (True, False):
                    while self._ready(training) and self._room(training=training):
                        job = await self._desk.take(
                            training=training, running=self._training_count()
                        )
                        if job is None:
                            break
                        await self._start(job)
            await self._pause()

    async def _pause(self) -> None:
        """Wait for work, or a free place, or a heartbeat."""
        waiting = asyncio.ensure_future(
            self._desk.wait(
                self._heartbeat,
                running=self._training_count(),
                training_room=self._ready(True) and self._room(training=True),
                evaluation_room=self._ready(False) and self._room(training=False),
            )
        )
        freed = asyncio.ensure_future(self._freed.wait())
        try:
            await asyncio.wait((waiting, freed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            freed.cancel()
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting

    def _room(self, *, training: bool) -> bool:
        return not self._leaving and self._count(training=training) < self._capacity[training]

    def _count(self, *, training: bool) -> int:
        return sum(job.training is training for job, _ in self._workers.values())

    def _training_count(self) -> int:
        return self._count(training=True)

    async def _start(self, job: Assignment) -> None:
        try:
            worker = await self._launchers[job.training].launch(self._task(job))
        except OSError as error:
            await self._desk.gone(job, why=f"the worker did not start: {error}")
            return
        self._workers[job.id] = (job, worker)
        logger.info("worker %s started for %s", worker.handle, job.task)
        await self._desk.launched(job, worker.handle)
        self._spawn(self._see_out(job, worker))

    async def _see_out(self, job: Assignment, worker: Worker) -> None:
        how = await worker.wait()
        self._workers.pop(job.id, None)
        logger.info("worker %s for %s ended (%s)", worker.handle, job.task, how)
        error = {
            "message": f"the worker ended without a word ({how})",
            "last_output": await worker.last_output(),
        }
        # A worker that said how it ended has no claim any more, and this changes nothing.
        await self._desk.gone(
            job,
            why=f"the worker ended unexpectedly ({how})",
            error=error,
            counts=not self._leaving,
        )
        self._freed.set()

    async def _watch_forever(self) -> None:
        """End workers that have fallen silent."""
        limit = PERIODS_TO_LOST * self._heartbeat
        while True:
            await self._clock.sleep(self._heartbeat)
            for job in await self._desk.held() or ():
                if job.training and job.silent_seconds > limit:
                    await self._end_silent(job)

    async def _end_silent(self, job: Assignment) -> None:
        why = f"the worker was silent for {PERIODS_TO_LOST} heartbeats"
        logger.warning("%s: %s", job.task, why)
        if job.id in self._workers:
            await self._workers[job.id][1].kill()  # `_see_out` says that it is gone
        else:
            await self._desk.gone(job, why=why)

    def _task(self, job: Assignment) -> Task:
        kind, _, task_id = job.task.partition(":")
        if kind == "session":
            log_file = self._folder / "sessions" / task_id / "worker.log"
        else:
            log_file = self._folder / "evaluations" / f"{task_id}.log"
        return Task(job.task, job.token or "", self._url, log_file, self._environment, job.labels)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception:
                logger.exception("the supervisor stumbled")

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
