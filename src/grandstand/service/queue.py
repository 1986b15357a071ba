"""The queue of trainings that wait for a free place: seen, reordered, left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grandstand.errors import Conflict
from grandstand.model.session import Session
from grandstand.service.ledger import Ledger, Unit
from grandstand.service.sessions import Sessions
from grandstand.store import jobs
from grandstand.store import sessions as rows
from grandstand.store.jobs import Job, JobKind, JobStatus


@dataclass(frozen=True, slots=True)
class Waiting:
    """One training in the queue.

    Attributes:
        position: 1 goes next.
        priority: -1000…1000, the highest goes first.
    """

    position: int
    priority: int
    session: Session


class Queue:
    """The verbs of the queue. Its order is priority, then place (see `jobs.ORDER`)."""

    def __init__(self, ledger: Ledger, sessions: Sessions) -> None:
        self._ledger = ledger
        self._sessions = sessions

    async def listing(self) -> list[Waiting]:
        """What waits, the next one first."""

        def work(connection: Any) -> list[Waiting]:
            return [
                Waiting(position, job.priority, rows.get(connection, str(job.session_id)))
                for position, job in enumerate(_waiting(connection), 1)
            ]

        return await self._ledger.database.read(work)

    async def move(
        self,
        session_id: str,
        *,
        priority: int | None = None,
        before: str | None = None,
        after: str | None = None,
    ) -> list[Waiting]:
        """Give a waiting training another priority or place; the queue as it then is.

        Args:
            session_id: the one that moves.
            priority: its new one; it goes behind those that have it already.
            before, after: instead, the waiting session beside which it goes, with that one's
                priority.

        Raises:
            NotFound: no such session.
            Conflict: it, or the one it is to stand beside, does not wait (code ``not_waiting``).
        """

        def work(unit: Unit) -> None:
            waiting = _waiting(unit.connection)
            mover = self._waits(unit, waiting, session_id)
            others = [job for job in waiting if job.id != mover.id]
            if beside := before or after:
                if beside == session_id:
                    return
                anchor = self._waits(unit, waiting, beside)
                group = [job for job in others if job.priority == anchor.priority]
                at = [job.id for job in group].index(anchor.id) + (0 if before else 1)
                wanted = anchor.priority
            else:
                wanted = mover.priority if priority is None else priority
                if wanted == mover.priority:
                    return
                group = [job for job in others if job.priority == wanted]
                at = len(group)
            jobs.put_in_order(unit.connection, [*group[:at], mover, *group[at:]], wanted)
            unit.event(session_id, "control", {"asked": "move", "priority": wanted})

        await self._ledger.write(work)
        return await self.listing()

    async def cancel(self, session_id: str) -> Session:
        """Take a training out of the queue; its session is then stopped.

        Raises:
            NotFound: no such session.
            Conflict: it does not wait (code ``not_waiting``).
        """

        def check(unit: Unit) -> None:
            self._waits(unit, _waiting(unit.connection), session_id)
            self._sessions.order(unit, session_id, "stop")

        await self._ledger.write(check)
        return await self._sessions.get(session_id)

    @staticmethod
    def _waits(unit: Unit, waiting: list[Job], session_id: str) -> Job:
        session = unit.session(session_id)
        for job in waiting:
            if job.session_id == session_id:
                return job
        raise Conflict(
            f"session {session_id} is {session.status.value}; it does not wait in the queue",
            code="not_waiting",
            detail="GET /api/training/queue lists what does.",
            details={"session_id": session_id, "status": session.status.value},
        )


def _waiting(connection: Any) -> list[Job]:
    return [
        job
        for job in jobs.in_status(connection, JobStatus.QUEUED)
        if job.kind is JobKind.TRAIN and job.session_id is not None
    ]
