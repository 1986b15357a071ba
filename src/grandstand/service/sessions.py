"""Sessions: made, found, changed, steered, ended."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from grandstand.errors import Conflict, ValidationFailed
from grandstand.model.session import (
    ALIVE,
    ENDED,
    PERIODS_TO_LOST,
    Kind,
    Session,
    Status,
    Wanted,
    check_change,
    new_id,
    session_id_of,
)
from grandstand.model.telemetry import finite_or_name
from grandstand.service.ledger import Ledger, Unit
from grandstand.store import jobs
from grandstand.store import sessions as rows
from grandstand.store.jobs import JobStatus
from grandstand.store.session_list import Page, listing

logger = logging.getLogger("grandstand.sessions")

VERBS = ("pause", "resume", "stop", "checkpoint")


@dataclass(frozen=True, slots=True)
class NewSession:
    """What it takes to open an external session."""

    algorithm: str
    training_session_id: str | None = None
    model_generation: int = 1
    total_episodes: int | None = None
    name: str | None = None
    notes: str = ""
    tags: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    room_code: str | None = None
    enable_spectators: bool = True
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """The answer to a verb.

    Attributes:
        changed: whether the wish is new; asking twice is harmless.
    """

    session_id: str
    status: Status
    wanted: Wanted
    changed: bool


class Sessions:
    """The verbs of sessions.

    Args:
        models_dir: where the model files of managed sessions lie.
        heartbeat_seconds: how often a reporter should be heard.
    """

    def __init__(self, ledger: Ledger, models_dir: Path, heartbeat_seconds: float) -> None:
        self._ledger = ledger
        self._models_dir = models_dir
        self._heartbeat = heartbeat_seconds
        self.watching: Callable[[str], int] = lambda session_id: 0
        """How many spectators a session has; the stands put themselves here."""

    async def create(self, new: NewSession) -> Session:
        """Open an external session; it is running at once.

        Raises:
            Conflict: the id is taken, or (with `resume`) it is a managed one.
        """
        told = new.training_session_id
        session_id = session_id_of(told) if told else new_id()

        def work(unit: Unit) -> Session:
            if new.resume and (old := rows.find(unit.connection, session_id)) is not None:
                return self._reopen(unit, old)
            rows.insert_session(
                unit.connection,
                {
                    "session_id": session_id,
                    "training_session_id": told or session_id,
                    "kind": Kind.EXTERNAL.value,
                    "name": new.name or told or session_id,
                    "notes": new.notes,
                    "algorithm": new.algorithm,
                    "model_generation": new.model_generation,
                    "status": Status.RUNNING.value,
                    "wanted": Wanted.RUNNING.value,
                    "created_at": unit.at,
                    "start_time": unit.at,
                    "last_seen_at": unit.at,
                    "total_episodes": new.total_episodes,
                    "room_code": new.room_code,
                    "enable_spectators": new.enable_spectators,
                    "tags": list(new.tags),
                    "config": finite_or_name(dict(new.config)),
                },
            )
            unit.event(session_id, "status", {"status": Status.RUNNING.value, "previous": None})
            return unit.session(session_id)

        return self._dress(await self._ledger.write(work))

    async def get(self, session_id: str) -> Session:
        """One session.

        Raises:
            NotFound: no such session.
        """
        return self._dress(
            await self._ledger.database.read(lambda connection: rows.get(connection, session_id))
        )

    async def key(self, session_id: str) -> int:
        """The session's primary key in the store.

        Raises:
            NotFound: no such session.
        """
        row = await self._ledger.database.read(lambda c: rows.row_of(c, session_id))
        return int(row.pk)

    async def listing(self, **filters: Any) -> Page:
        """A page of sessions; the arguments are those of `store.session_list.listing`.

        Raises:
            ValidationFailed: an argument makes no sense.
        """
        page = await self._ledger.database.read(lambda c: listing(c, **filters))
        return replace(page, sessions=[self._dress(s) for s in page.sessions])

    async def update(self, session_id: str, changes: Mapping[str, Any]) -> Session:
        """Change what a session says of itself; `status` of a managed one is a wish.

        Args:
            changes: any of status, current_episode, total_episodes, end_time, name, notes, tags,
                archived.

        Raises:
            NotFound: no such session.
            Conflict: the status cannot follow the present one.
            ValidationFailed: a managed session was given a status that nobody can wish for.
        """
        values = dict(changes)
        status = Status(values.pop("status")) if values.get("status") else None
        values.pop("status", None)
        session = await self.get(session_id)
        if status is not None and session.kind is Kind.MANAGED and status != session.status:
            wishes = {
                Status.RUNNING: "resume",
                Status.PAUSED: "pause",
                Status.PAUSING: "pause",
                Status.STOPPED: "stop",
                Status.STOPPING: "stop",
            }
            if status not in wishes:
                raise ValidationFailed(
                    f"status: a managed session cannot be set to {status.value}",
                    detail="Ask for running, paused or stopped.",
                    details={"field": "status", "allowed": ["running", "paused", "stopped"]},
                )
            await self.ask(session_id, wishes[status])
            status = None

        def work(unit: Unit) -> Session:
            now = unit.session(session_id)
            if status is not None and status != now.status:
                self.end_or_move(unit, now, status, values.pop("end_time", None))
            if values:
                rows.change(
                    unit.connection, rows.row_of(unit.connection, session_id).pk, dict(values)
                )
                unit.touch(session_id)
            return unit.session(session_id)

        return self._dress(await self._ledger.write(work))

    async def ask(self, session_id: str, verb: str) -> Asked:
        """Wish that a managed session pause, resume, stop or take a checkpoint.

        The worker hears of it at its next heartbeat (at once, as a rule) and obeys at the next
        update boundary. Wishing again what is wished already changes nothing.

        Raises:
            NotFound: no such session.
            Conflict: it is external, or its status does not allow the verb.
        """
        return await self._ledger.write(lambda unit: self.order(unit, session_id, verb))

    async def delete(self, session_id: str, *, force: bool = False, files: bool = False) -> None:
        """Delete a session with all its records.

        Args:
            force: also when it is managed and running; its worker is told to leave.
            files: also its model files and checkpoints.

        Raises:
            NotFound: no such session.
            Conflict: managed and running, and not forced.
        """

        def work(unit: Unit) -> None:
            session = unit.session(session_id)
            busy = session.kind is Kind.MANAGED and session.status in ALIVE
            if busy and not force:
                raise Conflict(
                    f"session {session_id} is {session.status.value}",
                    code="session_running",
                    detail="Stop it first, or delete it with ?force=true.",
                    details={"session_id": session_id, "status": session.status.value},
                )
            rows.remove(unit.connection, rows.row_of(unit.connection, session_id).pk)
            unit.deleted.append(session_id)

        await self._ledger.write(work)
        if files:
            shutil.rmtree(self.folder(session_id), ignore_errors=True)

    def folder(self, session_id: str) -> Path:
        """Where a session's model files and checkpoints lie."""
        return self._models_dir / "sessions" / session_id_of(session_id)

    async def finish(
        self,
        session_id: str,
        status: Status,
        *,
        reason: str | None = None,
        error: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Session:
        """End a session. Ending it again the same way changes nothing.

        Raises:
            NotFound: no such session.
            Conflict: it ended otherwise before.
        """

        def work(unit: Unit) -> Session:
            now = unit.session(session_id)
            if now.status is not status:
                self.end_or_move(unit, now, status, None, reason=reason, error=error, data=data)
            return unit.session(session_id)

        return self._dress(await self._ledger.write(work))

    async def lose_silent(self) -> list[str]:
        """Mark external sessions lost that missed three heartbeats; returns their ids."""
        limit = self._ledger.clock.now() - timedelta(seconds=PERIODS_TO_LOST * self._heartbeat)
        silent = await self._ledger.database.read(
            lambda c: rows.silent_since(c, limit, Kind.EXTERNAL)
        )
        if not silent:
            return []

        def work(unit: Unit) -> list[str]:
            still = set(rows.silent_since(unit.connection, limit, Kind.EXTERNAL))
            lost = []
            for session_id in sorted(still):
                session = unit.session(session_id)
                # Another instance may have been first, while we waited for the row.
                if session.status in ALIVE:
                    self.move(unit, session, Status.LOST)
                    lost.append(session_id)
            return lost

        return await self._ledger.write(work)

    async def heard(self, session_id: str) -> None:
        """Note that a session's reporter is alive.

        Raises:
            NotFound: no such session.
        """

        def work(unit: Unit) -> None:
            session = unit.session(session_id)
            row = rows.row_of(unit.connection, session_id)
            rows.change(unit.connection, row.pk, {"last_seen_at": unit.at})
            if session.kind is Kind.EXTERNAL and session.status is Status.LOST:
                self.move(unit, session, Status.RUNNING)

        await self._ledger.write(work)

    # Pieces for services that need them within a larger transaction.

    def move(
        self,
        unit: Unit,
        session: Session,
        status: Status,
        data: Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Change a session's status, with the event that says so.

        Raises:
            Conflict: the table of statuses does not allow it.
        """
        check_change(session.session_id, session.status, status)
        told = {
            "status": status.value,
            "previous": session.status.value,
            "wanted": (changes or {}).get("wanted", session.wanted.value),
            **(data or {}),
        }
        unit.event(session.session_id, "status", told, {**(changes or {}), "status": status.value})

    def end_or_move(
        self,
        unit: Unit,
        session: Session,
        status: Status,
        end_time: datetime | None,
        *,
        reason: str | None = None,
        error: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Change a session's status and, where it is an end, say when and why.

        Raises:
            Conflict: the table of statuses does not allow it.
        """
        changes: dict[str, Any] = {}
        told = dict(data or {})
        if status in ENDED:
            changes = {
                "end_time": end_time or unit.at,
                "stop_reason": reason or status.value,
                "error": finite_or_name(dict(error)) if error else None,
                "wanted": Wanted.STOPPED.value,
                "checkpoint_requested": False,
            }
            told["reason"] = reason or status.value
            if error:
                told["error"] = error
        elif session.status in ENDED:
            changes = {
                "end_time": None,
                "stop_reason": None,
                "error": None,
                "wanted": Wanted.RUNNING.value,
            }
        if session.kind is Kind.EXTERNAL and status is Status.RUNNING:
            changes["last_seen_at"] = unit.at  # its silence starts anew
        if session.kind is Kind.MANAGED:
            told.setdefault("scenario_name", session.scenario_name)
            told.setdefault("episodes_completed", session.current_episode)
            told.setdefault("total_episodes", session.total_episodes)
        self.move(unit, session, status, told, changes)

    def order(self, unit: Unit, session_id: str, verb: str) -> Asked:
        """`ask` within a larger transaction."""
        session = unit.session(session_id)
        external = session.kind is Kind.EXTERNAL
        if external and (verb == "checkpoint" or not (session.verbs or session.status in ENDED)):
            raise Conflict(
                f"session {session_id} is run by its own script, which does not look out for "
                f"{verb}",
                code="external_session",
                detail="A script that calls should_stop() or wait_if_paused() may be asked to stop "
                "and to pause; this one is to be ended by itself.",
                details={"session_id": session_id},
            )
        if verb == "checkpoint":
            return self._ask_checkpoint(unit, session)
        wanted = {"pause": Wanted.PAUSED, "resume": Wanted.RUNNING, "stop": Wanted.STOPPED}[verb]
        lost = verb == "resume" and session.status is Status.LOST
        if session.wanted is wanted and not lost:
            return Asked(session_id, session.status, session.wanted, False)
        if verb not in session.verbs:
            raise Conflict(
                f"session {session_id} is {session.status.value}; it cannot {verb}",
                code="status_conflict",
                detail=f"Now it may: {', '.join(session.verbs) or 'nothing'}.",
                details={"status": session.status.value, "verbs": session.verbs},
            )
        row = rows.row_of(unit.connection, session_id)
        job = jobs.of_session(unit.connection, row.pk)
        claimed = job is not None and job.status is JobStatus.CLAIMED
        changes: dict[str, Any] = {"wanted": wanted.value}
        if external:
            on_the_way = {
                "pause": Status.PAUSING,
                "resume": Status.RUNNING,
                "stop": Status.STOPPING,
            }
            self.move(unit, session, on_the_way[verb], changes=changes)
        elif verb == "stop" and not claimed:
            # Nobody is at work on it: the wish is fulfilled as soon as it is said.
            if job is not None:
                jobs.change(
                    unit.connection, job.id, status=JobStatus.CANCELLED, finished_at=unit.at
                )
            self.end_or_move(unit, session, Status.STOPPED, None, reason="stopped before it ran")
        elif verb == "stop":
            self.move(unit, session, Status.STOPPING, changes=changes)
        elif verb == "pause":
            self.move(unit, session, Status.PAUSING, changes=changes)
        elif claimed and session.status in ALIVE:
            self.move(unit, session, Status.RUNNING, changes=changes)
        else:
            if job is not None:
                jobs.change(
                    unit.connection, job.id, status=JobStatus.QUEUED, failures=0, finished_at=None
                )
            self.move(
                unit,
                session,
                Status.QUEUED,
                changes={**changes, "end_time": None, "stop_reason": None, "error": None},
            )
        after = unit.session(session_id)
        return Asked(session_id, after.status, after.wanted, True)

    def _ask_checkpoint(self, unit: Unit, session: Session) -> Asked:
        if "checkpoint" not in session.verbs:
            raise Conflict(
                f"session {session.session_id} is {session.status.value}; nothing to save",
                code="status_conflict",
                details={"status": session.status.value, "verbs": session.verbs},
            )
        row = rows.row_of(unit.connection, session.session_id)
        changed = not row.checkpoint_requested
        if changed:
            unit.event(
                session.session_id,
                "control",
                {"asked": "checkpoint"},
                {"checkpoint_requested": True},
            )
        return Asked(session.session_id, session.status, session.wanted, changed)

    def _reopen(self, unit: Unit, session: Session) -> Session:
        if session.kind is Kind.MANAGED:
            raise Conflict(
                f"session {session.session_id} is a managed training",
                code="session_exists",
                detail="Resume it with POST /api/training/sessions/{id}/resume.",
            )
        # Another script goes on, of which nothing is known yet.
        row = rows.row_of(unit.connection, session.session_id)
        fresh = {"listens": "", "wanted": Wanted.RUNNING.value}
        if session.status is Status.STOPPING:
            self.end_or_move(unit, session, Status.STOPPED, None)
        rows.change(unit.connection, row.pk, fresh)
        session = unit.session(session.session_id)
        if session.status is not Status.RUNNING:
            self.end_or_move(unit, session, Status.RUNNING, None)
        return unit.session(session.session_id)

    def _dress(self, session: Session) -> Session:
        count = self.watching(session.session_id)
        return msgspec.structs.replace(session, spectator_count=count) if count else session
