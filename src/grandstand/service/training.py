"""Managed trainings: asked for by people, carried out by workers.

People change what is *wanted*; a worker reads that with its heartbeat and reports what *is*.
A worker belongs to one `attempt` at a session: once a newer one has claimed it, the older one's
reports are refused and it leaves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from grandstand.bus.base import Changed, Deleted, News
from grandstand.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    TrainingBusy,
    Unavailable,
    ValidationFailed,
)
from grandstand.model.cores import check_ranks
from grandstand.model.scenarios import Scenario
from grandstand.model.session import ENDED, Kind, Session, Status, Wanted, new_id
from grandstand.model.telemetry import finite_or_name
from grandstand.service.access import Grant
from grandstand.service.evaluations import Evaluations
from grandstand.service.ledger import Ledger, Unit
from grandstand.service.places import Bell, places_for
from grandstand.service.scenarios import Scenarios
from grandstand.service.sessions import Sessions
from grandstand.service.shelf import Shelf
from grandstand.store import jobs, supervisors
from grandstand.store import sessions as rows
from grandstand.store.jobs import Job, JobKind, JobStatus

logger = logging.getLogger("grandstand.training")

STOP_WAIT_SECONDS = 5.0
PROGRESS = {
    "episode": "episode",
    "total_episodes": "total_episodes",
    "avg_reward": "average_reward",
    "avg_duration": "extra.avg_duration",
    "avg_cash": "extra.avg_cash",
    "avg_invested": "extra.avg_invested",
    "stability": "extra.stability",
    "goal_adherence": "extra.goal_adherence",
    "elapsed_time": "training_time_elapsed",
}
"""The nine figures of a training's progress, and where a metrics record holds each."""


@dataclass(frozen=True, slots=True)
class NewTraining:
    """What it takes to start a training. Counts left out are the scenario's."""

    scenario_name: str
    num_episodes: int | None = None
    save_interval: int = 100
    eval_episodes: int = 10
    seed: int | None = None
    queue: bool = False
    priority: int = 0
    name: str | None = None
    tags: tuple[str, ...] = ()
    device: str = "auto"
    ranks: int | None = None
    pace: float | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    resume_from: Mapping[str, Any] | None = None
    early_stopping: Mapping[str, Any] | None = None
    labels: tuple[str, ...] = ()
    """What its machine must have."""


@dataclass(frozen=True, slots=True)
class Started:
    """The answer to a start."""

    session: Session
    queue_position: int
    num_episodes: int


def progress_of(latest: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The nine figures of the newest metrics; None before there are any."""
    if not latest:
        return None
    extra = latest.get("extra") or {}
    found = {
        name: extra.get(where[6:]) if where.startswith("extra.") else latest.get(where)
        for name, where in PROGRESS.items()
    }
    return found if found["avg_reward"] is not None else None


class Training:
    """The verbs of managed trainings.

    Args:
        capacity: trainings that run at once on this machine; supervisors on others have their own.
        labels: what this machine has.
        cores: of the machine the workers run on; a training has at most so many ranks.
        missing: says what keeps trainings from running here (the learning part is not
            installed), None when nothing does; asked with whether the training may wait, and for
            the algorithm.
    """

    def __init__(
        self,
        ledger: Ledger,
        sessions: Sessions,
        scenarios: Scenarios,
        shelf: Shelf,
        evaluations: Evaluations,
        *,
        capacity: int,
        labels: Sequence[str] = (),
        cores: Callable[[], int],
        heartbeat_seconds: float,
        threads_per_worker: int,
        max_attempts: int,
        keep_checkpoints: int,
        missing: Callable[[bool, str], Unavailable | None],
    ) -> None:
        self._ledger = ledger
        self._sessions = sessions
        self._scenarios = scenarios
        self._shelf = shelf
        self._evaluations = evaluations
        self._capacity = capacity
        self._labels = tuple(labels)
        self._cores = cores
        self._heartbeat = heartbeat_seconds
        self._threads = threads_per_worker
        self._max_attempts = max_attempts
        self.restarts = 0  # trainings that went back into the queue since the start
        self._keep_checkpoints = keep_checkpoints
        self._missing = missing
        self._news: dict[str, asyncio.Event] = {}
        self.leaving = False
        self.work_waiting = Bell()
        """Rung when a job was put in the queue, for supervisors."""
        ledger.bus.subscribe(self._hear)

    # What people ask.

    async def start(self, new: NewTraining) -> Started:
        """Queue a training; the supervisor takes it up at once if there is room.

        Raises:
            NotFound: no such scenario, or no session to resume from.
            ValidationFailed: `overrides` do not fit the scenario, there are fewer cores than
                ranks, or the checkpoint to resume from has all the episodes already.
            TrainingBusy: one is running or waiting already and `queue` is false.
            Unavailable: trainings cannot run here (code ``training_unavailable``).
        """
        source = await self._source(new.resume_from)
        before: Mapping[str, Any] = source.pop("order") if source else {}
        scenario = self._scenarios.get(new.scenario_name)
        if before and before["scenario"]["name"] == scenario.name:
            # What goes on exactly goes on with the very scenario it began with, overrides and all.
            scenario = Scenario.from_mapping(before["scenario"])
        ranks = {} if new.ranks is None else {"ranks": new.ranks}
        scenario = scenario.with_overrides({**new.overrides, **ranks})
        check_ranks(scenario, self._cores())
        places = await self._ledger.database.read(
            lambda c: places_for(
                supervisors.listing(c),
                new.labels,
                at=self.now,
                heartbeat_seconds=self._heartbeat,
                own=(self._capacity, self._labels),
            )
        )
        if not places.elsewhere and (self._capacity or not new.queue):
            missing = self._missing(new.queue, scenario.training.algorithm)
            if missing is not None:
                raise missing
        episodes = new.num_episodes or before.get("num_episodes") or scenario.training.num_episodes
        done = source["checkpoint"] if source else None
        if done is not None and episodes <= done:
            raise ValidationFailed(
                f"num_episodes is {episodes}, but the checkpoint to go on from has {done} already",
                detail="Ask for more episodes than that, or go on from an earlier checkpoint.",
                details={
                    "errors": [{"field": "num_episodes", "value": episodes, "bound": f"> {done}"}]
                },
            )
        session_id = new_id()
        payload = {
            "scenario": scenario.to_mapping(),
            "num_episodes": episodes,
            "save_interval": new.save_interval,
            "eval_episodes": new.eval_episodes,
            "seed": new.seed if new.seed is not None else int.from_bytes(_random_bytes(), "big"),
            "pace": new.pace,
            "device": new.device,
            "overrides": dict(new.overrides),
            "resume_from": source,
            "early_stopping": new.early_stopping,
        }

        def work(unit: Unit) -> Started:
            waiting = jobs.in_status(unit.connection, JobStatus.QUEUED)
            waiting = [j for j in waiting if j.kind is JobKind.TRAIN and places.wanted_by(j)]
            running = [
                j
                for j in jobs.in_status(unit.connection, JobStatus.CLAIMED)
                if j.kind is JobKind.TRAIN and places.taken_by(j)
            ]
            if not new.queue and len(running) + len(waiting) >= places.capacity:
                raise TrainingBusy(
                    "a training is already running"
                    if running or waiting
                    else "there is no machine for this training now",
                    detail="Stop it first, or send queue=true to have this one wait its turn."
                    if running or waiting
                    else "Send queue=true to have it wait, and start `grandstand supervise` on a "
                    "machine with these labels.",
                    details={
                        "running": len(running),
                        "waiting": len(waiting),
                        "labels": list(new.labels),
                    },
                )
            pk = rows.insert_session(
                unit.connection,
                {
                    "session_id": session_id,
                    "training_session_id": session_id,
                    "kind": Kind.MANAGED.value,
                    "name": new.name or f"{scenario.name}, seed {payload['seed']}",
                    "algorithm": scenario.training.algorithm,
                    "scenario_name": scenario.name,
                    "status": Status.QUEUED.value,
                    "wanted": Wanted.RUNNING.value,
                    "created_at": unit.at,
                    "total_episodes": episodes,
                    "tags": list(new.tags),
                    "config": finite_or_name(payload),
                    "parent_session_id": source["session_id"] if source else None,
                },
            )
            jobs.add(
                unit.connection,
                JobKind.TRAIN,
                unit.at,
                payload,
                session_pk=pk,
                priority=new.priority,
                needs=new.labels,
            )
            unit.event(
                session_id,
                "status",
                {
                    "status": Status.QUEUED.value,
                    "previous": None,
                    "scenario_name": scenario.name,
                    "num_episodes": episodes,
                },
            )
            ahead = sum(j.priority >= new.priority for j in waiting)
            # Those ahead that the free places will take do not wait either.
            position = max(0, ahead + 1 - (places.capacity - len(running)))
            return Started(unit.session(session_id), position, episodes)

        started = await self._ledger.write(work)
        self.work_waiting.set()
        return started

    async def stop(self, session_id: str | None, *, closed: Set[str] = frozenset()) -> Session:
        """Stop a training and wait a little for it to have stopped.

        Args:
            session_id: which; None means the only one there is.
            closed: sessions that are not meant by that.

        Raises:
            BadRequest: none is active (code ``no_active_training``).
            Conflict: several are active and none was named.
            NotFound: no such session.
        """
        if session_id is None:
            active = [s for s in await self.active() if s.session_id not in closed]
            if not active:
                raise BadRequest(
                    "no training is running",
                    code="no_active_training",
                    detail="Start one with POST /api/training/start.",
                )
            if len(active) > 1:
                ids = [s.session_id for s in active]
                raise Conflict(
                    f"{len(active)} trainings are active; say which one",
                    code="several_active",
                    detail="Send session_id.",
                    details={"session_ids": ids},
                )
            session_id = active[0].session_id
        await self._sessions.ask(session_id, "stop")
        return await self.wait_until(session_id, lambda s: s.status in ENDED, STOP_WAIT_SECONDS)

    async def active(self) -> list[Session]:
        """Managed sessions with a worker at them, newest first."""
        return await self._ledger.database.read(rows.at_work)

    async def status(self, closed: Set[str] = frozenset()) -> dict[str, Any]:
        """What `GET /api/training/status` answers.

        Args:
            closed: sessions of which nothing is told.
        """
        active, queued = await self._ledger.database.read(
            lambda c: (rows.at_work(c), jobs.count(c, JobKind.TRAIN, JobStatus.QUEUED))
        )
        active = [session for session in active if session.session_id not in closed]
        if not active:
            return {
                "is_training": False,
                "session_id": None,
                "status": "idle",
                "scenario_name": None,
                "current_episode": 0,
                "total_episodes": 0,
                "start_time": None,
                "latest_progress": None,
                "active": [],
                "queue_length": queued,
            }

        def brief(session: Session) -> dict[str, Any]:
            return {
                "session_id": session.session_id,
                "status": session.status,
                "scenario_name": session.scenario_name,
                "current_episode": session.current_episode,
                "total_episodes": session.total_episodes,
                "start_time": session.start_time,
                "latest_progress": progress_of(session.latest),
            }

        return {
            "is_training": True,
            **brief(active[0]),
            "active": [{**brief(s), "name": s.name} for s in active],
            "queue_length": queued,
        }

    async def wait_until(
        self, session_id: str, done: Callable[[Session], bool], seconds: float
    ) -> Session:
        """The session once `done` says so, or as it is after `seconds`.

        Raises:
            NotFound: no such session.
        """
        clock = self._ledger.clock
        until = clock.monotonic() + seconds
        while True:
            event = self._news.setdefault(session_id, asyncio.Event())
            session = await self._sessions.get(session_id)
            left = until - clock.monotonic()
            if done(session) or left <= 0 or self.leaving:
                return session
            waiting = asyncio.ensure_future(event.wait())
            timer = asyncio.ensure_future(clock.sleep(left))
            try:
                await asyncio.wait((waiting, timer), return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                timer.cancel()

    def answer_held(self) -> None:
        """Answer whoever waits for an order or a job, and hold nobody any more."""
        self.leaving = True
        held, self._news = self._news, {}
        for event in held.values():
            event.set()
        self.work_waiting.set()

    # What a worker asks.

    async def at_work(self, session_id: str, grant: Grant) -> Session:
        """The session, for its worker alone.

        Raises:
            NotFound: no such session.
            Forbidden: this is not the token of a session's worker (code ``workers_only``).
            Conflict: it is external, or the attempt was superseded, or it has ended.
        """
        _, session = await self._job(session_id, grant)
        if grant.attempt is None:
            raise Forbidden("only the worker of this session may do that", code="workers_only")
        if session.status in ENDED:
            raise Conflict(
                f"session {session_id} is {session.status} already", code="session_ended"
            )
        return session

    async def order(self, session_id: str, grant: Grant) -> dict[str, Any]:
        """What a worker is to do.

        Raises:
            NotFound: no such session.
            Conflict: it is external, or the attempt was superseded.
        """
        job, session = await self._job(session_id, grant)
        folder = self._sessions.folder(session_id)
        order: dict[str, Any] = {
            **job.payload,
            "session_id": session_id,
            "attempt": session.attempt,
            "wanted": session.wanted,
            "threads": self._threads,
            "heartbeat_seconds": self._heartbeat,
            "keep_checkpoints": self._keep_checkpoints,
            "folder": str(folder.resolve()),
            "cache_folder": str(self._evaluations.cache_folder.resolve()),
            "last_seq": session.last_seq,
            "current_episode": session.current_episode,
        }
        if source := order.get("resume_from"):
            source_folder = self._sessions.folder(source["session_id"]).resolve()
            order["resume_from"] = {**source, "folder": str(source_folder)}
        return order

    async def heartbeat(
        self,
        session_id: str,
        grant: Grant,
        *,
        known: Wanted | None = None,
        wait_seconds: float = 0.0,
        listens: Sequence[str] = (),
        paused: bool | None = None,
    ) -> dict[str, Any]:
        """Note that the worker is alive and say what is wanted of it.

        Args:
            known: the wish the worker knows; with `wait_seconds` the answer is held until there
                is another one, so that an order arrives at once.
            listens: of a script: the verbs it looks out for, which may be asked from now on.
            paused: of a script: whether it waits now.

        Raises:
            NotFound: no such session.
            Conflict: the attempt was superseded (code ``attempt_superseded``).
        """

        def work(unit: Unit) -> None:
            session = unit.session(session_id)
            self._fence(session, grant)
            row = rows.row_of(unit.connection, session_id)
            rows.change(unit.connection, row.pk, {"last_seen_at": unit.at})
            if session.kind is Kind.EXTERNAL and session.status is Status.LOST:
                self._sessions.move(unit, session, Status.RUNNING)
                session = unit.session(session_id)
            if session.kind is Kind.EXTERNAL:
                self._hear_script(unit, session, row, listens, paused)
            if (job := jobs.of_session(unit.connection, row.pk)) is not None:
                jobs.change(unit.connection, job.id, heartbeat_at=unit.at)

        await self._ledger.write(work)

        def news(session: Session) -> bool:
            superseded = grant.attempt is not None and grant.attempt != session.attempt
            return superseded or session.wanted is not known or session.status in ENDED

        session = await self.wait_until(session_id, news, wait_seconds if known else 0.0)
        self._fence(session, grant)
        row = await self._ledger.database.read(lambda c: rows.row_of(c, session_id))
        return {
            "wanted": session.wanted,
            "status": session.status,
            "attempt": session.attempt,
            "checkpoint_requested": bool(row.checkpoint_requested),
            "heartbeat_seconds": self._heartbeat,
        }

    def _hear_script(
        self,
        unit: Unit,
        session: Session,
        row: Any,
        listens: Sequence[str],
        paused: bool | None,
    ) -> None:
        """What a script says of itself, beside that it lives."""
        heard = {verb for verb in row.listens.split(",") if verb} | set(listens)
        if (told := ",".join(sorted(heard))) != row.listens:
            rows.change(unit.connection, row.pk, {"listens": told})
            unit.event(session.session_id, "listens", {"verbs": sorted(heard)})
        # Also one that was lost while it waited, as when its machine slept: it waits on.
        here = session.status in (Status.PAUSING, Status.RUNNING)
        if paused and here and session.wanted is Wanted.PAUSED:
            self._sessions.move(unit, session, Status.PAUSED)

    async def finish(
        self,
        session_id: str,
        grant: Grant,
        status: str,
        *,
        reason: str | None = None,
        error: Mapping[str, Any] | None = None,
        final_metrics: Mapping[str, Any] | None = None,
        models: Mapping[str, Any] | None = None,
    ) -> Session:
        """End a session as its reporter says; ``released`` puts a managed one back in the queue.

        Raises:
            NotFound: no such session.
            Conflict: the attempt was superseded, or it ended otherwise before.
        """
        session = await self._sessions.get(session_id)
        if session.kind is Kind.EXTERNAL:
            if status == "released":
                raise Conflict("only a managed session can be released", code="external_session")
            return await self._sessions.finish(
                session_id,
                Status(status),
                reason=reason,
                error=error,
                data=final_metrics and {"final_metrics": finite_or_name(dict(final_metrics))},
            )

        def work(unit: Unit) -> Session:
            now = unit.session(session_id)
            self._fence(now, grant)
            row = rows.row_of(unit.connection, session_id)
            job = jobs.of_session(unit.connection, row.pk)
            if job is None:
                raise Conflict(f"session {session_id} has no job", code="no_job")
            if status == "released":
                if job.status is JobStatus.CLAIMED:
                    self._requeue(unit, job, now, reason or "the server stopped")
                return unit.session(session_id)
            ended = Status(status)
            if now.status is not ended:
                data = {
                    "final_metrics": final_metrics or progress_of(now.latest),
                    "models": models or {},
                }
                self._sessions.end_or_move(
                    unit, now, ended, None, reason=reason, error=error, data=finite_or_name(data)
                )
                done = JobStatus.FAILED if ended is Status.FAILED else JobStatus.DONE
                jobs.change(unit.connection, job.id, status=done, finished_at=unit.at)
            return unit.session(session_id)

        session = await self._ledger.write(work)
        if session.status in ENDED:
            self._shelf.show_newest(session)
        self.work_waiting.set()
        return session

    # What a supervisor asks.

    async def claim(self, kind: JobKind, supervisor: str, labels: Sequence[str] = ()) -> Job | None:
        """Take the next waiting job, if there is one; a training's session is then starting.

        Args:
            labels: what the supervisor's machine has; jobs that need others are left.
        """

        def work(unit: Unit) -> Job | None:
            if not jobs.waits(unit.connection, kind, labels):
                return None
            job = jobs.claim(unit.connection, kind, supervisor, unit.at, labels)
            if job is None or job.session_id is None:
                return job
            session = unit.session(job.session_id)
            changes = {
                "attempt": session.attempt + 1,
                "last_seen_at": unit.at,
                "start_time": session.start_time or unit.at,
            }
            data = {"attempt": session.attempt + 1, "scenario_name": session.scenario_name}
            self._sessions.move(unit, session, Status.STARTING, data, changes)
            return jobs.get(unit.connection, job.id)

        job = await self._ledger.write(work)
        if job is not None and job.session_id is not None:
            session = await self._sessions.get(job.session_id)
            self._shelf.show_checkpoints(session)
        return job

    async def waits(self, kind: JobKind, labels: Sequence[str]) -> bool:
        """Whether a job waits that a machine with these labels will do for."""
        return await self._ledger.database.read(lambda c: jobs.waits(c, kind, labels))

    async def launched(self, job: Job, handle: str) -> None:
        """Remember by which handle a job's worker is found again."""
        await self._ledger.write(lambda unit: jobs.change(unit.connection, job.id, handle=handle))

    async def claimed(self) -> list[Job]:
        """Jobs that some worker should be at."""
        return await self._ledger.database.read(lambda c: jobs.in_status(c, JobStatus.CLAIMED))

    async def worker_gone(
        self, job: Job, *, why: str, error: Mapping[str, Any] | None = None, counts: bool = True
    ) -> None:
        """A worker ended without a word: requeue its training, or give up after too many times.

        Args:
            why: a sentence for the events.
            error: what is known of the failure.
            counts: False when the training itself is not to blame (the machine went down).
        """

        def work(unit: Unit) -> bool:
            if job.session_id is not None and rows.find(unit.connection, job.session_id):
                # Held first: of several instances that notice, one finds the job still claimed.
                unit.session(job.session_id)
            now = jobs.get(unit.connection, job.id)
            if now is None or now.status is not JobStatus.CLAIMED or now.attempt != job.attempt:
                return False
            if now.session_id is None:
                self._evaluations.fail(unit, now, why, error)
                return False
            session = unit.session(now.session_id)
            failures = now.failures + (1 if counts else 0)
            if session.wanted is Wanted.STOPPED:
                self._sessions.end_or_move(
                    unit, session, Status.STOPPED, None, reason=f"stopped; {why}"
                )
                jobs.change(
                    unit.connection, now.id, status=JobStatus.CANCELLED, finished_at=unit.at
                )
            elif failures >= self._max_attempts:
                self._sessions.end_or_move(
                    unit,
                    session,
                    Status.FAILED,
                    None,
                    reason=f"{why} ({failures} times)",
                    error=dict(error or {"message": why}),
                )
                jobs.change(
                    unit.connection,
                    now.id,
                    status=JobStatus.FAILED,
                    failures=failures,
                    finished_at=unit.at,
                )
            else:
                self._requeue(unit, now, session, why, failures, error)
                return True
            return False

        self.restarts += await self._ledger.write(work)
        self.work_waiting.set()

    # Inside.

    def _requeue(
        self,
        unit: Unit,
        job: Job,
        session: Session,
        why: str,
        failures: int | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> None:
        jobs.change(
            unit.connection,
            job.id,
            status=JobStatus.QUEUED,
            claimed_by=None,
            handle=None,
            failures=job.failures if failures is None else failures,
        )
        if session.status not in (Status.LOST, Status.QUEUED):
            unlucky = failures is not None
            if unlucky:
                self._sessions.move(unit, session, Status.LOST, {"reason": why})
                session = unit.session(session.session_id)
        data: dict[str, Any] = {"reason": why}
        if error:
            data["error"] = dict(error)
        if session.status is not Status.QUEUED:
            self._sessions.move(unit, session, Status.QUEUED, finite_or_name(data))

    async def _job(self, session_id: str, grant: Grant) -> tuple[Job, Session]:
        session = await self._sessions.get(session_id)
        self._fence(session, grant)
        pk = await self._sessions.key(session_id)
        job = await self._ledger.database.read(lambda c: jobs.of_session(c, pk))
        if job is None:
            raise Conflict(
                f"session {session_id} is external: it has no order",
                code="external_session",
                details={"session_id": session_id},
            )
        return job, session

    @staticmethod
    def _fence(session: Session, grant: Grant) -> None:
        if grant.attempt is not None and grant.attempt != session.attempt:
            raise Conflict(
                f"attempt {grant.attempt} of session {session.session_id} was superseded",
                code="attempt_superseded",
                detail="A newer worker has claimed this session; this one should leave.",
                details={"attempt": session.attempt},
            )

    async def _source(self, told: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if not told:
            return None
        source = await self._sessions.get(str(told["session_id"]))
        folder: Path = self._sessions.folder(source.session_id)
        if not folder.is_dir():  # noqa: ASYNC240 - one stat of a local folder
            raise NotFound(
                f"session {source.session_id} has no checkpoints", code="checkpoint_not_found"
            )
        pk = await self._sessions.key(source.session_id)
        job = await self._ledger.database.read(lambda c: jobs.of_session(c, pk))
        return {
            "session_id": source.session_id,
            "checkpoint": told.get("checkpoint"),
            "order": job.payload if job is not None else {},
        }

    def _hear(self, news: News) -> None:
        if isinstance(news, Changed):
            session_id = news.session.session_id
            if news.session.status is Status.QUEUED:
                self.work_waiting.set()
        elif isinstance(news, Deleted):
            session_id = news.session_id
        else:
            return
        if (event := self._news.pop(session_id, None)) is not None:
            event.set()

    @property
    def now(self) -> datetime:
        """The present."""
        return self._ledger.clock.now()


def _random_bytes() -> bytes:
    import secrets

    return secrets.token_bytes(4)
