"""Taking in what sessions report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grandstand.bus.base import Changed
from grandstand.errors import ValidationFailed
from grandstand.model.session import ENDED, Status, Wanted
from grandstand.model.telemetry import STATUS, Batch
from grandstand.service.access import Grant
from grandstand.service.ledger import Ledger, Unit
from grandstand.store import jobs
from grandstand.store import sessions as session_rows
from grandstand.store.log import Append, ended, superseded

REPORTABLE = {
    Status.STARTING,
    Status.RUNNING,
    Status.PAUSING,
    Status.PAUSED,
    Status.STOPPING,
}
"""Statuses a worker may report in an event; ends are told with `finish`."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a reporter gets once its batch is safe.

    Attributes:
        accepted: records stored now.
        last_seq: the newest seq of the batch.
        duplicate: the batch was known already; nothing was stored.
        wanted: what people want of the session.
    """

    accepted: int
    last_seq: int
    duplicate: bool
    warnings: list[str]
    wanted: Wanted


class Telemetry:
    """The way of every reported number."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def record(self, session_id: str, batch: Batch, grant: Grant) -> Receipt:
        """Store a batch; returns when it is committed and published.

        Raises:
            NotFound: no such session.
            Conflict: the session has ended, or a newer attempt has taken over.
            Unavailable: the store did not take it; nothing of it was stored.
        """
        changes = self._status(batch) if grant.attempt is not None else {}
        appended = await self._ledger.append(
            Append(
                session_id, batch, self._ledger.clock.now(), attempt=grant.attempt, changes=changes
            )
        )
        if appended.returned:
            await self._ledger.write(lambda unit: _tell_return(unit, session_id))
        if any(r.type == STATUS for r in appended.records):
            session = await self._ledger.database.read(
                lambda connection: session_rows.get(connection, session_id)
            )
            self._ledger.bus.publish(Changed(session))
            if grant.attempt is not None and any(
                r.type == STATUS and r.value["event"] == "checkpoint" for r in appended.records
            ):
                await self._ledger.write(lambda unit: _note_checkpoint(unit, session_id))
        return Receipt(
            sum(r.count for r in appended.records),
            appended.last_seq,
            appended.duplicate,
            batch.warnings,
            appended.wanted,
        )

    async def admit(self, session_id: str, grant: Grant) -> None:
        """Let in a report that is not stored, by the rules of those that are.

        Raises:
            NotFound: no such session.
            Conflict: the session has ended, or a newer attempt has taken over.
        """
        session = await self._ledger.database.read(lambda c: session_rows.get(c, session_id))
        if grant.attempt is not None and grant.attempt != session.attempt:
            raise superseded(session_id, grant.attempt, session.attempt)
        if session.status in ENDED:
            raise ended(session_id, session.status)

    def _status(self, batch: Batch) -> dict[str, Any]:
        """What a worker's own status events change in the session."""
        changes: dict[str, Any] = {}
        for record in batch.records:
            if record.type != STATUS or record.value.get("event") != "status":
                continue
            told = record.value.get("status")
            if not isinstance(told, str) or told not in REPORTABLE:
                raise ValidationFailed(
                    f"status: a worker does not report {told!r} in an event",
                    details={"field": "status", "allowed": sorted(s.value for s in REPORTABLE)},
                )
            changes["status"] = told
        return changes


def _note_checkpoint(unit: Unit, session_id: str) -> None:
    """A worker took a checkpoint: what asked for one is answered, if the session is still there."""
    if session_rows.find(unit.connection, session_id) is None:
        return
    row = session_rows.row_of(unit.connection, session_id)
    session_rows.change(unit.connection, row.pk, {"checkpoint_requested": False})
    if (job := jobs.of_session(unit.connection, row.pk)) is not None and job.failures:
        # It got further than the last time it failed: the count starts anew.
        jobs.change(unit.connection, job.id, failures=0)


def _tell_return(unit: Unit, session_id: str) -> None:
    """The event for watchers of a session that a record brought back, if it is still there."""
    session = session_rows.find(unit.connection, session_id)
    if session is not None and session.status is Status.RUNNING:
        told = {"status": Status.RUNNING.value, "previous": Status.LOST.value}
        unit.event(session_id, "status", {**told, "wanted": session.wanted.value})
