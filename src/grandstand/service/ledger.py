"""Commit, then publish: the one way in which services write.

Work runs in the writer thread with a `Unit`; what it appends and changes is told to the bus once
the commit is through, in the order of the seqs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from grandstand.bus.base import Bus, Changed, Committed, Deleted
from grandstand.clock import Clock
from grandstand.model.session import Session
from grandstand.model.telemetry import STATUS, make_batch, make_record
from grandstand.store import log
from grandstand.store import sessions as session_rows
from grandstand.store.database import Connection, Database

T = TypeVar("T")


class Unit:
    """One transaction in the making.

    Attributes:
        connection: for the functions of `store/`.
        at: the moment of the transaction.
    """

    def __init__(self, connection: Connection, at: datetime) -> None:
        self.connection = connection
        self.at = at
        self.appended: list[log.Appended] = []
        self.touched: dict[str, None] = {}
        self.deleted: list[str] = []

    def event(
        self,
        session_id: str,
        event: str,
        data: Mapping[str, Any] | None = None,
        changes: dict[str, Any] | None = None,
    ) -> None:
        """Append a `training_status` event to a session, changing columns of its row with it.

        Raises:
            NotFound, Conflict: see `store.log.append_many`.
        """
        record = make_record(STATUS, {"event": event, **(data or {})})
        self.appended.append(
            log.append(
                self.connection,
                log.Append(
                    session_id,
                    make_batch([record]),
                    self.at,
                    ended_too=True,
                    changes=changes or {},
                ),
            )
        )
        self.touched[session_id] = None

    def touch(self, session_id: str) -> None:
        """Tell watchers that the session's row changed."""
        self.touched[session_id] = None

    def session(self, session_id: str) -> Session:
        """The session as it stands in this transaction, held until its end.

        Raises:
            NotFound: no such session.
        """
        return session_rows.get(self.connection, session_id, to_change=True)


class Ledger:
    """The store and the bus, as one."""

    def __init__(self, database: Database, bus: Bus, clock: Clock) -> None:
        self.database = database
        self.bus = bus
        self.clock = clock
        self.batches = self.records = self.duplicates = 0  # reported since the start

    async def write(self, work: Callable[[Unit], T]) -> T:
        """Run `work` in one transaction; publish what it did once committed.

        Raises:
            whatever `work` raises (then nothing was stored), `Unavailable` if the commit fails.
        """
        at = self.clock.now()

        def run(connection: Connection) -> tuple[T, Unit, list[Session]]:
            unit = Unit(connection, at)
            result = work(unit)
            changed = [unit.session(s) for s in unit.touched if s not in unit.deleted]
            return result, unit, changed

        result, unit, changed = await self.database.write(run)
        for appended in unit.appended:
            self.publish(appended)
        for session in changed:
            self.bus.publish(Changed(session))
        for session_id in unit.deleted:
            self.bus.publish(Deleted(session_id))
        return result

    async def append(self, append: log.Append) -> log.Appended:
        """Store a reporter's batch, sharing a transaction with whoever waits beside it.

        Raises:
            NotFound, Conflict: see `store.log.append_many`.
            Unavailable: the commit failed.
        """
        appended: log.Appended = await self.database.write_many(log.append_many, append)
        if appended.records:
            self.batches += 1
            self.records += appended.last_seq - appended.first_seq + 1
        else:
            self.duplicates += appended.duplicate
        self.publish(appended)
        return appended

    def publish(self, appended: log.Appended) -> None:
        """Tell the bus what was stored."""
        if appended.records:
            self.bus.publish(
                Committed(
                    appended.session_pk,
                    appended.session_id,
                    appended.first_seq,
                    appended.last_seq,
                    tuple(appended.records),
                    appended.at,
                )
            )
