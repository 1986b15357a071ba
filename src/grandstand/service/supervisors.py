"""Supervisors, on this machine and on others: who takes jobs, and what becomes of one's jobs.

A supervisor says every heartbeat that it is there, takes jobs that its machine has the labels for,
and tells how its workers end. One that falls silent is not waited for: a job whose worker is silent
too goes back into the queue, and what that worker may still say is refused by its attempt.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from grandstand.clock import Clock
from grandstand.errors import Conflict, GrandstandError, NotFound, ValidationFailed
from grandstand.model.session import PERIODS_TO_LOST
from grandstand.service.access import Access
from grandstand.service.ledger import Ledger
from grandstand.service.training import Training
from grandstand.store import jobs
from grandstand.store import supervisors as rows
from grandstand.store.jobs import MOST_LABELS, Job, JobKind, JobStatus
from grandstand.store.supervisors import Supervisor

logger = logging.getLogger("grandstand.supervisors")

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
LABEL = re.compile(r"[A-Za-z0-9._-]{1,32}")
REMEMBERED = timedelta(days=1)
"""How long one on another machine that left without a word is still listed."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a supervisor says of itself.

    Attributes:
        instance: of its process, hexadecimal; another process of the same name is refused.
        labels: what its machine has.
        capacity: trainings it runs at once.
        running: trainings it runs now.
        version: of the program.
    """

    name: str
    instance: str
    labels: tuple[str, ...]
    capacity: int
    running: int
    version: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a supervisor is told: a job and the token for its worker, if there is one for it; and
    whether it is to take no more."""

    job: Job | None
    token: str | None
    draining: bool


def check_labels(labels: Sequence[str], field: str = "labels") -> tuple[str, ...]:
    """Labels without doubles, in order.

    Raises:
        ValidationFailed: one is no label, or there are too many.
    """
    for label in labels:
        if not LABEL.fullmatch(label):
            raise ValidationFailed(
                f"{field}: {label!r} is no label",
                detail="Letters, digits, dots, dashes and underscores, 1 to 32 of them.",
                details={"field": field},
            )
    unique = tuple(sorted(set(labels)))
    if len(unique) > MOST_LABELS:
        raise ValidationFailed(
            f"{field}: at most {MOST_LABELS}", details={"field": field, "max": MOST_LABELS}
        )
    return unique


class Supervisors:
    """Those who take jobs.

    Args:
        heartbeat_seconds: how often each says that it is there; silent for three, it is gone.
    """

    def __init__(
        self,
        ledger: Ledger,
        training: Training,
        access: Access,
        clock: Clock,
        *,
        heartbeat_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._training = training
        self._access = access
        self._clock = clock
        self.heartbeat_seconds = heartbeat_seconds
        self._limit = timedelta(seconds=PERIODS_TO_LOST * heartbeat_seconds)
        self._opened = clock.now()
        self._drained: dict[str, asyncio.Event] = {}

    async def report(self, told: Told, *, here: bool = False) -> Supervisor:
        """Note that a supervisor is there.

        Args:
            here: whether it is part of a server.

        Raises:
            ValidationFailed: the name or a label cannot be.
            Conflict: another process has the name (code ``name_taken``).
        """
        if not here and not NAME.fullmatch(told.name):
            raise ValidationFailed(
                "name: letters, digits, dots, dashes and underscores, 1 to 64 of them",
                details={"field": "name"},
            )
        labels = check_labels(told.labels)
        now = self._clock.now()

        def work(connection: Any) -> Supervisor:
            known = rows.get(connection, told.name)
            if known is not None and known.instance != told.instance and self._living(known, now):
                raise Conflict(
                    f"another supervisor is called {told.name}",
                    code="name_taken",
                    detail="Give this one a --name of its own; or, if that one was just ended, "
                    f"try again in {self._limit.total_seconds():g} s.",
                )
            same = known is not None and known.instance == told.instance
            fresh = Supervisor(
                name=told.name,
                instance=told.instance,
                labels=labels,
                capacity=told.capacity,
                running=told.running,
                draining=known.draining if same and known is not None else False,
                here=here,
                version=told.version,
                started_at=known.started_at if same and known is not None else now,
                last_seen_at=now,
            )
            rows.put(connection, fresh)
            return fresh

        return await self._ledger.database.write(work)

    async def take(
        self, told: Told, *, wait_seconds: float, room: bool = True, draining: bool = False
    ) -> Answer:
        """Note that a supervisor on another machine is there; give it a job if there is one.

        Args:
            room: whether it takes one now.
            wait_seconds: how long the answer is held while there is nothing to say.
            draining: what the supervisor knows of that; a change is told at once.

        Raises:
            ValidationFailed, Conflict: see `report`.
        """
        until = self._clock.monotonic() + wait_seconds
        first = True
        while True:
            work = self._training.work_waiting.coming()
            drain = self._drained.setdefault(told.name, asyncio.Event())
            now = await (self.report(told) if first else self._again(told))
            if now is None:  # it left while its request was held
                return Answer(None, None, draining)
            first = False
            job = None
            if room and not now.draining:
                job = await self._training.claim(JobKind.TRAIN, told.name, now.labels)
            if job is not None:
                token = self._access.worker_token(session_id=job.session_id, attempt=job.attempt)
                return Answer(job, token, now.draining)
            left = until - self._clock.monotonic()
            if left <= 0 or now.draining != draining or self._training.leaving:
                return Answer(None, None, now.draining)
            pause = min(left, self.heartbeat_seconds)
            tasks: list[asyncio.Future[Any]] = [
                asyncio.ensure_future(work.wait()),
                asyncio.ensure_future(drain.wait()),
                asyncio.ensure_future(self._clock.sleep(pause)),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()

    async def _again(self, told: Told) -> Supervisor | None:
        """The same of one whose request is held: it has not left as long as it is listed."""
        now = self._clock.now()

        def work(connection: Any) -> Supervisor | None:
            known = rows.get(connection, told.name)
            if known is None or known.instance != told.instance:
                return None
            rows.change(connection, told.name, last_seen_at=now)
            return known

        return await self._ledger.database.write(work)

    async def jobs_of(self, name: str) -> list[tuple[Job, float]]:
        """The jobs a supervisor has, and for how many seconds nothing was heard of each."""
        return await self.jobs_where(lambda other: other == name)

    async def jobs_where(self, theirs: Callable[[str], bool]) -> list[tuple[Job, float]]:
        """The same, of all supervisors whose names will do."""
        now = self._clock.now()
        return [
            (job, (now - max(job.heartbeat_at or self._opened, self._opened)).total_seconds())
            for job in await self._training.claimed()
            if job.claimed_by is not None and theirs(job.claimed_by)
        ]

    async def launched(self, name: str, job_id: int, attempt: int, handle: str) -> None:
        """Remember how the worker of a job is found again. See `Training.launched`.

        Raises:
            NotFound: that is none of its jobs any more.
        """
        await self._training.launched(await self._job(name, job_id, attempt), handle)

    async def gone(
        self,
        name: str,
        job_id: int,
        attempt: int,
        *,
        why: str,
        error: Mapping[str, Any] | None,
        counts: bool,
    ) -> None:
        """A supervisor says that a worker has ended. See `Training.worker_gone`.

        Raises:
            NotFound: that is none of its jobs any more: its end was told otherwise.
        """
        job = await self._job(name, job_id, attempt)
        await self._training.worker_gone(job, why=why, error=error, counts=counts)

    async def leave(self, name: str, instance: str) -> None:
        """Forget a supervisor that goes; jobs it still has go back once their workers are
        silent."""
        await self._ledger.database.write(lambda c: rows.remove(c, name, instance))

    async def bury(self, dead: Callable[[str], bool]) -> None:
        """Forget supervisors that are known to have died.

        Args:
            dead: says it of a name.
        """

        def work(connection: Any) -> None:
            for one in rows.listing(connection):
                if dead(one.name):
                    rows.remove(connection, one.name, one.instance)

        await self._ledger.database.write(work)

    async def listing(self) -> list[tuple[Supervisor, bool]]:
        """All of them by name, and whether each was heard of lately."""
        now = self._clock.now()
        found = await self._ledger.database.read(rows.listing)
        return [(one, self._living(one, now)) for one in found]

    async def drain(self, name: str, draining: bool) -> tuple[Supervisor, bool]:
        """Have a supervisor take no more jobs (those it has go on), or take some again.

        Raises:
            NotFound: there is none of that name.
        """

        def work(connection: Any) -> Supervisor | None:
            rows.change(connection, name, draining=draining)
            return rows.get(connection, name)

        found = await self._ledger.database.write(work)
        if found is None:
            raise NotFound(f"there is no supervisor {name}", code="supervisor_not_found")
        if (event := self._drained.pop(name, None)) is not None:
            event.set()
        self._training.work_waiting.set()
        return found, self._living(found, self._clock.now())

    async def rounds(self) -> None:
        """Look after jobs whose supervisor is gone with its machine, every heartbeat."""
        while True:
            await self._clock.sleep(self.heartbeat_seconds)
            try:
                await self.requeue_lost()
            except GrandstandError:
                logger.warning("cannot look after jobs of lost machines", exc_info=True)

    async def requeue_lost(self) -> None:
        """Put jobs back whose worker is silent and whose supervisor is silent too."""
        now = self._clock.now()
        known = {one.name: one for one in await self._ledger.database.read(rows.listing)}
        for job in await self._training.claimed():
            heard = max(job.heartbeat_at or self._opened, self._opened)
            owner = known.get(job.claimed_by or "")
            # A living one ends its silent worker itself; it is given as long again for that.
            patience = self._limit * (2 if owner and self._living(owner, now) else 1)
            if job.session_id is None or now - heard <= patience:
                continue
            why = f"the machine of supervisor {job.claimed_by} is silent"
            logger.warning("session %s: %s; it goes back into the queue", job.session_id, why)
            # Claimed but never begun: the answer that gave it away did not arrive.
            await self._training.worker_gone(job, why=why, counts=job.handle is not None)
        await self._ledger.database.write(
            lambda c: rows.forget(c, now - REMEMBERED, here_before=now - 4 * self._limit)
        )

    async def _job(self, name: str, job_id: int, attempt: int) -> Job:
        job = await self._ledger.database.read(lambda c: jobs.get(c, job_id))
        if (
            job is None
            or job.claimed_by != name
            or job.attempt != attempt
            or job.status is not JobStatus.CLAIMED
        ):
            raise NotFound(f"{name} has no job {job_id} any more", code="job_not_found")
        return job

    def _living(self, one: Supervisor, now: datetime) -> bool:
        return now - one.last_seen_at <= self._limit
