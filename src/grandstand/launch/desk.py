"""The desk of a server's own supervisor: the services themselves."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

import grandstand
from grandstand.clock import Clock
from grandstand.errors import GrandstandError
from grandstand.model.assignments import Assignment
from grandstand.service.access import Access
from grandstand.service.supervisors import Supervisors, Told
from grandstand.service.training import Training
from grandstand.store.jobs import Job, JobKind

logger = logging.getLogger("grandstand.supervisor")


class OwnDesk:
    """Jobs from the services of this process.

    Args:
        capacity: trainings at once.
        labels: what this machine has.
    """

    def __init__(
        self,
        training: Training,
        supervisors: Supervisors,
        access: Access,
        clock: Clock,
        *,
        capacity: int,
        labels: Sequence[str],
    ) -> None:
        self._training = training
        self._supervisors = supervisors
        self._access = access
        self._clock = clock
        self._capacity = capacity
        self._labels = tuple(labels)
        self._instance = secrets.token_hex(8)
        self._host = socket.gethostname()
        # A colon is in no name that another machine's supervisor may have.
        self.name = f"{self._host}:{os.getpid()}"
        self._jobs: dict[int, Job] = {}
        self._draining = False

    async def open(self, running: int) -> None:
        """See `Desk.open`."""
        # One that was killed could not say that it left, and its places are ours now.
        await self._supervisors.bury(lambda name: name != self.name and self._mine(name))
        await self._report(running)

    async def take(self, *, training: bool, running: int) -> Assignment | None:
        """See `Desk.take`."""
        kind = JobKind.TRAIN if training else JobKind.EVALUATE
        if training and self._draining:
            return None
        job = await self._training.claim(kind, self.name, self._labels)
        return self._assignment(job) if job is not None else None

    async def wait(
        self, seconds: float, *, running: int, training_room: bool, evaluation_room: bool
    ) -> None:
        """See `Desk.wait`."""
        bell = self._training.work_waiting.coming()
        await self._report(running)
        for kind, room in (
            (JobKind.TRAIN, training_room and not self._draining),
            (JobKind.EVALUATE, evaluation_room),
        ):
            if room and await self._training.waits(kind, self._labels):
                return
        waiting = asyncio.ensure_future(bell.wait())
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((waiting, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            timer.cancel()

    async def launched(self, job: Assignment, handle: str) -> None:
        """See `Desk.launched`."""
        await self._training.launched(self._jobs[job.id], handle)

    async def gone(
        self,
        job: Assignment,
        *,
        why: str,
        error: Mapping[str, Any] | None = None,
        counts: bool = True,
    ) -> None:
        """See `Desk.gone`."""
        await self._training.worker_gone(self._jobs[job.id], why=why, error=error, counts=counts)

    async def held(self) -> Sequence[Assignment]:
        """See `Desk.held`: also those of a server that ran on this machine before."""
        found = await self._supervisors.jobs_where(self._mine)
        return [self._assignment(job, silent) for job, silent in found]

    async def aclose(self) -> None:
        """See `Desk.aclose`."""
        try:
            await self._supervisors.leave(self.name, self._instance)
        except GrandstandError as error:  # it is seen as silent soon
            logger.warning("cannot tell that this supervisor leaves: %s", error.message)

    def _mine(self, name: str) -> bool:
        """Whether a name is this supervisor's, or that of one that died on this machine."""
        host, _, pid = name.rpartition(":")
        if host != self._host or not pid.isdigit():
            return False
        return int(pid) == os.getpid() or not psutil.pid_exists(int(pid))

    async def _report(self, running: int) -> None:
        told = Told(
            self.name,
            self._instance,
            self._labels,
            self._capacity,
            running,
            grandstand.__version__,
        )
        try:
            self._draining = (await self._supervisors.report(told, here=True)).draining
        except GrandstandError as error:  # the store is away; jobs can wait until it is back
            logger.warning("cannot tell that this supervisor is there: %s", error.message)

    def _assignment(self, job: Job, silent_seconds: float = 0.0) -> Assignment:
        self._jobs[job.id] = job
        if job.session_id is not None:
            task = f"session:{job.session_id}"
            token = self._access.worker_token(session_id=job.session_id, attempt=job.attempt)
        else:
            task = f"evaluation:{job.evaluation_id}"
            token = self._access.worker_token(evaluation_id=job.evaluation_id)
        return Assignment(
            job.id,
            task,
            job.kind is JobKind.TRAIN,
            job.attempt,
            token,
            job.handle,
            silent_seconds,
            job.needs,
        )
