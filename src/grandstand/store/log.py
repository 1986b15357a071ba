"""The log: every accepted batch, in order, as it came.

`seq` is taken in the transaction that stores the row, so a session's seqs have no gap and no
double, and whoever reads up to one has read everything before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Update, bindparam, select, update

from grandstand.errors import Conflict, NotFound, ValidationFailed
from grandstand.model.media import MEDIA
from grandstand.model.session import ENDED, Kind, Status, Wanted, check_change
from grandstand.model.telemetry import (
    DECISION,
    GRAPH,
    METRICS,
    STATUS,
    Batch,
    Columns,
    Record,
    merge_latest,
    newest,
)
from grandstand.store import decisions, graphs
from grandstand.store.bulk import insert_rows
from grandstand.store.repeats import stored_before
from grandstand.store.tables import log, media, record_keys, sessions
from grandstand.store.texts import check_batch, storable


@dataclass(slots=True, frozen=True)
class Append:
    """A batch on its way into a session's log.

    Attributes:
        attempt: the worker's attempt, None for reporters that have none.
        ended_too: also take it when the session has ended (the server's own events).
        changes: further columns of the session to set in the same transaction.
    """

    session_id: str
    batch: Batch
    at: datetime
    attempt: int | None = None
    ended_too: bool = False
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Appended:
    """What became of an `Append`, once committed.

    Attributes:
        records: what was stored now: fewer than were sent when keys were known already, none
            when the whole batch was a repetition.
        first_seq, last_seq: the seqs they took; of a repetition, those of the first time.
        session_status: the session's status after it.
        wanted: what people want of the session.
        returned: it brought a lost session back.
    """

    session_pk: int
    session_id: str
    first_seq: int
    last_seq: int
    records: list[Record]
    at: datetime
    duplicate: bool
    session_status: Status
    wanted: Wanted
    returned: bool = False


@dataclass(slots=True, frozen=True)
class LogRow:
    """One stored batch; `model.telemetry.unpack(kind, body)` gives its records."""

    first_seq: int
    last_seq: int
    kind: str
    body: bytes
    received_at: datetime


_state_columns = (
    sessions.c.pk,
    sessions.c.session_id,
    sessions.c.kind,
    sessions.c.status,
    sessions.c.wanted,
    sessions.c.last_seq,
    sessions.c.packed_seq,
    sessions.c.latest,
    sessions.c.attempt,
    sessions.c.current_episode,
    sessions.c.total_episodes,
    sessions.c.start_time,
)
# Other servers on the same database wait for these rows until our commit, and take them in the
# same order, so that two of them do not wait for each other.
_select_state = (
    select(*_state_columns)
    .where(sessions.c.session_id == bindparam("id"))
    .with_for_update(key_share=True)
)
_select_states = (
    select(*_state_columns)
    .where(sessions.c.session_id.in_(bindparam("ids", expanding=True)))
    .order_by(sessions.c.pk)
    .with_for_update(key_share=True)
)


class _State:
    """A session's row while a run of appends is worked into it."""

    def __init__(self, row: Any) -> None:
        self.row = row
        self.pk: int = row.pk
        self.status = Status(row.status)
        self.wanted = Wanted(row.wanted)
        self.last_seq: int = row.last_seq
        self.changes: dict[str, Any] = {}
        self.metrics: list[Record] = []
        self.rows: list[dict[str, Any]] = []
        self.media: list[dict[str, Any]] = []
        self.decided: decisions.Decided = {}
        self.keys: dict[str, int] = {}
        self.batches: dict[str, tuple[int, int]] = {}


def append_many(connection: Connection, appends: list[Append]) -> list[Appended | Exception]:
    """Store a run of appends, a few statements for each session in it.

    Returns:
        for each append, in order, what became of it or why it was refused: `NotFound`,
        `ValidationFailed` (a name that no database keeps), or `Conflict` with code
        ``attempt_superseded``, ``session_ended`` or ``status_conflict``.
    """
    states = _locked(connection, {append.session_id for append in appends})
    _recall(connection, states, appends)
    results: list[Appended | Exception] = []
    for append in appends:
        state = states.get(append.session_id)
        if state is None:
            results.append(no_session(append.session_id))
            continue
        try:
            results.append(_append(connection, state, append))
        except (Conflict, NotFound, ValidationFailed) as error:
            results.append(error)
    _flush(connection, states.values())
    return results


def append(connection: Connection, append: Append) -> Appended:
    """Store one batch within a larger transaction.

    Raises:
        NotFound, ValidationFailed, Conflict: see `append_many`.
    """
    result = append_many(connection, [append])[0]
    if isinstance(result, Exception):
        raise result
    return result


def no_session(session_id: str) -> NotFound:
    """The one answer for a session that is not there."""
    return NotFound(
        f"there is no session {session_id}",
        code="session_not_found",
        detail="List them with GET /api/training/sessions?status=all.",
        details={"session_id": session_id},
    )


def superseded(session_id: str, attempt: int, newest: int) -> Conflict:
    """The one answer for a report of an older attempt."""
    return Conflict(
        f"attempt {attempt} of session {session_id} was superseded",
        code="attempt_superseded",
        detail="A newer worker has claimed this session; this one should leave.",
        details={"attempt": newest},
    )


def ended(session_id: str, status: Status) -> Conflict:
    """The one answer for a report to a session that has ended."""
    return Conflict(
        f"session {session_id} has ended ({status.value})",
        code="session_ended",
        detail="Open it again with resume=true, or start a new session.",
        details={"session_id": session_id, "status": status.value},
    )


def _append(connection: Connection, state: _State, append: Append) -> Appended:
    row, batch = state.row, append.batch
    if append.attempt is not None and append.attempt != row.attempt:
        raise superseded(row.session_id, append.attempt, row.attempt)
    check_batch(batch)
    if batch.batch_id is not None and (known := state.batches.get(batch.batch_id)):
        return Appended(
            state.pk,
            row.session_id,
            known[0],
            known[1],
            [],
            append.at,
            True,
            state.status,
            state.wanted,
        )
    if state.status in ENDED and not append.ended_too:
        raise ended(row.session_id, state.status)
    if keys := {r.key for r in batch.records if r.key is not None}:
        batch = batch.once()
        stored = connection.execute(
            select(record_keys.c.key).where(
                record_keys.c.session_pk == state.pk, record_keys.c.key.in_(keys)
            )
        )
        if known_keys := {k for (k,) in stored} | (keys & state.keys.keys()):
            batch = batch.without(known_keys)
    before = state.status
    first = state.last_seq + 1
    last = state.last_seq + batch.count
    changes = _effects(connection, state, batch, append)
    if batch.records:
        state.rows.append(
            {
                "session_pk": state.pk,
                "first_seq": first,
                "last_seq": last,
                "kind": batch.kind,
                "body": batch.body,
                "batch_id": batch.batch_id,
                "received_at": append.at,
            }
        )
        seq = state.last_seq
        for record in batch.records:
            seq += record.count
            if record.key is not None:
                state.keys[record.key] = seq
            if record.type in MEDIA:
                state.media.append(_media_row(state.pk, seq, record))
            elif record.type == DECISION:
                decisions.note(state.decided, seq, record.value)
        if batch.batch_id is not None:
            state.batches[batch.batch_id] = (first, last)
        state.last_seq = last
    state.changes.update(changes)
    duplicate = not batch.records and bool(append.batch.records)
    return Appended(
        state.pk,
        row.session_id,
        first if batch.records else state.last_seq,
        last,
        batch.records,
        append.at,
        duplicate,
        state.status,
        state.wanted,
        before is Status.LOST and state.status is Status.RUNNING,
    )


def _effects(connection: Connection, state: _State, batch: Batch, append: Append) -> dict[str, Any]:
    """What the batch changes in the session's own row."""
    changes: dict[str, Any] = dict(append.changes)
    new = Status(changes["status"]) if "status" in changes else None
    reported = append.attempt is None and not append.ended_too
    if reported and state.status is Status.LOST and state.row.kind == Kind.EXTERNAL:
        new = Status.RUNNING
    if new is not None:
        check_change(state.row.session_id, state.status, new)
        state.status = new
        changes["status"] = new.value
    if metrics := [r for r in batch.records if r.type == METRICS]:
        state.metrics += metrics
        value = metrics[-1].value
        changes["current_episode"] = (
            max(value.episode) if isinstance(value, Columns) else value.episode
        )
        for record in reversed(metrics):
            if not record.columnar and record.value.total_episodes is not None:
                changes["total_episodes"] = record.value.total_episodes
                break
    if len(metrics) < len(batch.records):
        for record in batch.records:
            if record.type == GRAPH:
                graphs.extend(connection, state.pk, record.value)
    if not append.ended_too:
        changes["last_seen_at"] = append.at
    return changes


def _locked(connection: Connection, session_ids: Collection[str]) -> dict[str, _State]:
    """The sessions there are of these ids, held until the end of the transaction."""
    ids = [session_id for session_id in session_ids if storable(session_id)]
    if len(ids) == 1:  # the usual case, and an IN has to be spelled out anew each time
        rows = connection.execute(_select_state, {"id": ids[0]})
    else:
        rows = connection.execute(_select_states, {"ids": ids})
    return {row.session_id: _State(row) for row in rows}


def _recall(
    connection: Connection, states: Mapping[str, _State], appends: Sequence[Append]
) -> None:
    """Note which of the batches to come have been stored before, and where."""
    wanted: dict[tuple[int, str], bool] = {}
    for append in appends:
        state, batch_id = states.get(append.session_id), append.batch.batch_id
        if state is not None and batch_id is not None and storable(batch_id):
            wanted[state.pk, batch_id] = bool(state.row.packed_seq)
    if not wanted:
        return
    of = {state.pk: state for state in states.values()}
    for (pk, batch_id), seqs in stored_before(connection, wanted).items():
        of[pk].batches[batch_id] = seqs


def _flush(connection: Connection, states: Collection[_State]) -> None:
    """Store what the run came to: few statements, however many sessions took part."""
    insert_rows(connection, log, [row for state in states for row in state.rows])
    insert_rows(connection, media, [row for state in states for row in state.media])
    keys = [
        {"session_pk": state.pk, "key": key, "last_seq": seq}
        for state in states
        for key, seq in state.keys.items()
    ]
    insert_rows(connection, record_keys, keys)
    decisions.store(connection, {state.pk: state.decided for state in states if state.decided})
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for state in states:
        if state.rows:
            state.changes["last_seq"] = state.last_seq
        if state.metrics:
            latest = state.row.latest
            for record in newest(state.metrics):
                latest = merge_latest(latest, record)
            state.changes["latest"] = latest
        if state.changes:
            values = {f"new_{name}": value for name, value in state.changes.items()}
            alike.setdefault(tuple(state.changes), []).append({"of": state.pk, **values})
    for names, changes in alike.items():
        connection.execute(_update(names), changes)


def _media_row(session_pk: int, seq: int, record: Record) -> dict[str, Any]:
    image = record.image or None
    return {
        "session_pk": session_pk,
        "seq": seq,
        "kind": record.type,
        "media_type": record.value.media_type if image is not None else None,
        "image": image,
    }


@lru_cache(maxsize=64)
def _update(names: tuple[str, ...]) -> Update:
    """The statement that sets some columns of a session's row, built once."""
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    return update(sessions).where(sessions.c.pk == bindparam("of")).values(values)


def statuses(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The events among `records`."""
    return [r.value for r in records if r.type == STATUS]
