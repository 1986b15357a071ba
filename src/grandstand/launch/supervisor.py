"""The supervisor: takes jobs from the queue, starts workers, and notices when one is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

from grandstand.clock import Clock
from grandstand.launch.base import Launcher, Task, Worker
from grandstand.launch.local import kill_process, same_process
from grandstand.launch.runtime import Runtime
from grandstand.service.access import Access
from grandstand.service.sessions import PERIODS_TO_LOST
from grandstand.service.training import Training
from grandstand.store.jobs import Job, JobKind

logger = logging.getLogger("grandstand.supervisor")

LOG_LINES = 40
LEAVE_SECONDS = 8.0
"""How long a worker gets to take a checkpoint and leave when the server stops."""


class Supervisor:
    """Keeps as many workers going as there is room for.

    Args:
        capacity: trainings at once; evaluations have one place of their own beside them.
        folder: the models folder; each worker's output goes to its session's folder in it.
    """

    def __init__(
        self,
        training: Training,
        access: Access,
        launcher: Launcher,
        runtime: Runtime,
        clock: Clock,
        *,
        capacity: int,
        heartbeat_seconds: float,
        folder: Path,
        environment: dict[str, str],
    ) -> None:
        self._training = training
        self._access = access
        self._launcher = launcher
        self._runtime = runtime
        self._clock = clock
        self._capacity = {JobKind.TRAIN: capacity, JobKind.EVALUATE: 1}
        self._heartbeat = heartbeat_seconds
        self._folder = folder
        self._environment = environment
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._workers: dict[int, tuple[Job, Worker]] = {}
        self._foreign: dict[int, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._url = ""
        self._leaving = False

    async def open(self, url: str) -> None:
        """Start supervising; workers report to `url`.

        Trainings whose worker died with the last server go on from their checkpoint at once; a
        worker that outlived it is left at work.
        """
        self._url = url
        for job in await self._training.claimed():
            if same_process(job.pid, job.process_started_at):
                logger.info("worker %s is still at %s", job.pid, _name(job))
                self._foreign[job.id] = job
            else:
                await self._training.worker_gone(
                    job, why="the server stopped while it ran", counts=False
                )
        self._spawn(self._claim_forever())
        self._spawn(self._watch_forever())

    async def aclose(self) -> None:
        """Have every worker take a checkpoint and leave; kill those that do not in time."""
        self._leaving = True
        workers = [worker for _, worker in self._workers.values()]
        for worker in workers:
            worker.terminate()
        waiting = [asyncio.ensure_future(w.wait()) for w in workers]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=LEAVE_SECONDS)
            if late:
                logger.warning("%d workers did not leave in time and are killed", len(late))
                for worker in workers:
                    worker.kill()
                await asyncio.wait(late, timeout=1.0)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def running(self) -> int:
        """How many workers are at work."""
        return len(self._workers) + len(self._foreign)

    async def _claim_forever(self) -> None:
        while True:
            self._training.work_waiting.clear()
            if self._runtime.ready() and not self._leaving:
                for kind in JobKind:
                    while self._room(kind):
                        job = await self._training.claim(kind, self.name)
                        if job is None:
                            break
                        await self._start(job)
            await self._pause(self._heartbeat)

    async def _pause(self, seconds: float) -> None:
        """Wait for work, or for `seconds`."""
        waiting = asyncio.ensure_future(self._training.work_waiting.wait())
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((waiting, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            timer.cancel()

    def _room(self, kind: JobKind) -> bool:
        busy = [job for job, _ in self._workers.values()] + list(self._foreign.values())
        return sum(job.kind is kind for job in busy) < self._capacity[kind]

    async def _start(self, job: Job) -> None:
        if job.session_id is not None:
            token = self._access.worker_token(session_id=job.session_id, attempt=job.attempt)
        else:
            token = self._access.worker_token(evaluation_id=job.evaluation_id)
        task = Task(_name(job), token, self._url, self._log_file(job), self._environment)
        try:
            worker = await self._launcher.launch(task)
        except OSError as error:
            await self._training.worker_gone(job, why=f"the worker did not start: {error}")
            return
        self._workers[job.id] = (job, worker)
        logger.info("worker %d started for %s", worker.pid, _name(job))
        await self._training.launched(job, worker.pid, worker.started_at)
        self._spawn(self._see_out(job, worker))

    async def _see_out(self, job: Job, worker: Worker) -> None:
        code = await worker.wait()
        self._workers.pop(job.id, None)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        logger.info("worker %d for %s ended (%s)", worker.pid, _name(job), how)
        error = {
            "message": f"the worker ended without a word ({how})",
            "exit_code": code,
            "last_output": self._last_output(job),
        }
        # A worker that said how it ended has no claim any more, and this changes nothing.
        await self._training.worker_gone(
            job,
            why=f"the worker ended unexpectedly ({how})",
            error=error,
            counts=not self._leaving,
        )
        self._training.work_waiting.set()

    async def _watch_forever(self) -> None:
        """Look after workers: silent ones are ended, those of an earlier server seen out."""
        opened = self._clock.now()
        limit = timedelta(seconds=PERIODS_TO_LOST * self._heartbeat)
        while True:
            await self._clock.sleep(self._heartbeat)
            now = self._clock.now()
            claimed = {job.id: job for job in await self._training.claimed()}
            for job_id in [j for j in self._foreign if j not in claimed]:
                del self._foreign[job_id]
                self._training.work_waiting.set()
            for job in claimed.values():
                heard = max(job.heartbeat_at or opened, opened)
                foreign = job.id in self._foreign
                if foreign and not same_process(job.pid, job.process_started_at):
                    del self._foreign[job.id]
                    await self._training.worker_gone(job, why="the worker ended unexpectedly")
                elif job.session_id is not None and now - heard > limit:
                    await self._end_silent(job)

    async def _end_silent(self, job: Job) -> None:
        why = f"the worker was silent for {PERIODS_TO_LOST} heartbeats"
        logger.warning("%s: %s", _name(job), why)
        if job.id in self._workers:
            self._workers[job.id][1].kill()  # `_see_out` requeues it
        elif self._foreign.pop(job.id, None) is not None:
            if job.pid is not None and job.process_started_at is not None:
                kill_process(job.pid, job.process_started_at)
            await self._training.worker_gone(job, why=why)
        elif job.claimed_by == self.name:
            await self._training.worker_gone(job, why=why)

    def _log_file(self, job: Job) -> Path:
        if job.session_id is not None:
            return self._folder / "sessions" / job.session_id / "worker.log"
        return self._folder / "evaluations" / f"{job.evaluation_id}.log"

    def _last_output(self, job: Job) -> list[str]:
        with contextlib.suppress(OSError):
            text = self._log_file(job).read_text(encoding="utf-8", errors="replace")
            return text.splitlines()[-LOG_LINES:]
        return []

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


def _name(job: Job) -> str:
    if job.session_id is not None:
        return f"session:{job.session_id}"
    return f"evaluation:{job.evaluation_id}"
