"""History: what a session reported, read back from the log in order.

Pages are cut by `seq`, which never changes and never repeats, so a cursor stays good while the
session goes on reporting, and reading page after page neither skips nor repeats a record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, func, select

from grandstand.errors import ValidationFailed
from grandstand.model.media import HISTOGRAM, IMAGE, MEDIA, TEXT
from grandstand.model.telemetry import (
    DECISION,
    GRAPH,
    METRICS,
    RECORD_TYPES,
    STATUS,
    Columns,
    Record,
    unpack,
)
from grandstand.store import graphs, media
from grandstand.store.log import LogRow
from grandstand.store.packing import PACKED, unpacked
from grandstand.store.tables import log, sessions

MAX_LIMIT: Final = 10_000
"""Most records on one page."""
SCAN: Final = 100_000
"""Most seqs looked at for one page: a filter that passes little makes it short, not slow."""
SLICE: Final = 4096
"""Seqs read from the log in one go."""
PAGE_BYTES: Final = 4 << 20
"""A page ends after so many bytes of media: texts may be long."""
LISTS: Final = {
    METRICS: "metrics_data",
    DECISION: "bot_decisions",
    STATUS: "events",
    TEXT: "texts",
    HISTOGRAM: "histograms",
    IMAGE: "images",
}
"""Where a page has the records of each type."""

Row: TypeAlias = tuple[int, str, datetime, bytes]
"""One message to send again: its seq, type, timestamp (UTC) and the JSON of its data."""


@dataclass(slots=True, frozen=True)
class Sieve:
    """Which records are asked for.

    Attributes:
        types: of `RECORD_TYPES`.
        metrics: only these fields of metrics records (and names in `extra`), and only media of
            these names; None for all.
        after, before: when the record says it happened, or else arrived; both included.
        since_seq: the last seq one already has; until_seq: the last one wanted.
        episode_from, episode_to: both included; records that name no episode are left out.
    """

    types: frozenset[str]
    metrics: frozenset[str] | None = None
    after: datetime | None = None
    before: datetime | None = None
    since_seq: int = 0
    until_seq: int | None = None
    episode_from: int | None = None
    episode_to: int | None = None

    @classmethod
    def asked(
        cls,
        types: Sequence[str] | None = None,
        metrics: Sequence[str] | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        since_seq: int | None = None,
        until_seq: int | None = None,
        episode_from: int | None = None,
        episode_to: int | None = None,
    ) -> Sieve:
        """As a client asks, see `Sieve`; `types` None is metrics, decisions and graphs.

        Raises:
            ValidationFailed: names the field and its bound.
        """
        _ordered("after", after, "before", before)
        _ordered("since_seq", since_seq, "until_seq", until_seq)
        _ordered("episode_from", episode_from, "episode_to", episode_to)
        return cls(
            _types(types),
            frozenset(metrics) if metrics is not None else None,
            after,
            before,
            since_seq or 0,
            until_seq,
            episode_from,
            episode_to,
        )

    def of(self, types: frozenset[str]) -> Sieve:
        """The same for other types."""
        return replace(self, types=types)

    @property
    def open(self) -> bool:
        """Whether every record of its types and seqs passes."""
        return (
            self.metrics is None
            and self.after is None
            and self.before is None
            and self.episode_from is None
            and self.episode_to is None
        )

    def passes(self, episode: object, at: datetime) -> bool:
        if (self.after is not None and at < self.after) or (
            self.before is not None and at > self.before
        ):
            return False
        if self.episode_from is None and self.episode_to is None:
            return True
        if not isinstance(episode, int):
            return False
        return (self.episode_from is None or episode >= self.episode_from) and (
            self.episode_to is None or episode <= self.episode_to
        )

    def narrowed(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """A metrics record's data with the metrics asked for; None when it has none of them."""
        if self.metrics is None:
            return data
        kept = {name: value for name, value in data.items() if name in self.metrics}
        extra = {k: v for k, v in (data.get("extra") or {}).items() if k in self.metrics}
        if extra:
            kept["extra"] = extra
        if not any(value is not None for value in kept.values()):
            return None
        return {k: data[k] for k in ("episode", "step") if k in data} | kept


def history(
    connection: Connection,
    session_pk: int,
    sieve: Sieve | None = None,
    *,
    limit: int = 1000,
    cursor: str | None = None,
) -> dict[str, Any]:
    """One page of what a session reported, in the order it was stored.

    Metrics and decisions are the record's data with its `seq` and `timestamp`; a row of a columnar
    record is an item like any other. Graphs are given whole, as they stand now. Events
    (``training_status``), texts, histograms and images (without their bytes) are only there when
    their type is asked for.

    Args:
        limit: 1 to `MAX_LIMIT` records (graphs not counted).
        cursor: `next_cursor` of the page before.

    Returns:
        ``{metrics_data, bot_decisions, graph_data, events?, texts?, histograms?, images?,
        total_points, oldest_seq, next_cursor}``; `total_points` counts the records on this page,
        `oldest_seq` is the first seq still in the log (1 unless a retention setting dropped
        something), `next_cursor` is None on the last page. A page that found little in `SCAN` seqs
        is short, or empty, and has a `next_cursor`.

    Raises:
        ValidationFailed: names the field and its bound.
    """
    sieve = sieve or Sieve.asked()
    wanted = sieve.types
    if not 1 <= limit <= MAX_LIMIT:
        raise _refused("limit", limit, [1, MAX_LIMIT], f"must be from 1 to {MAX_LIMIT}")
    start = max(_position(cursor), sieve.since_seq)
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in LISTS}
    size = 0
    taken, reached, end = 0, start, last_seq(connection, session_pk, sieve.until_seq)
    horizon = min(end, start + SCAN)
    if kinds := wanted - {GRAPH}:
        spans = [(start, horizon)]
        if kinds <= set(MEDIA):  # few among many: they are known by their seqs
            seqs = media.places(connection, session_pk, kinds, start, end, limit + 1)
            horizon = seqs[limit - 1] if len(seqs) > limit else end
            spans = media.stretches(seqs[:limit])
        for seq, record, row, at in chain.from_iterable(
            records(connection, session_pk, *span, kinds) for span in spans
        ):
            item = item_of(sieve, seq, record, row, at)
            if item is None:
                continue
            if taken == limit or size >= PAGE_BYTES:
                break
            if record.type in MEDIA:
                size += len(record.body)
            found[record.type].append(item)
            taken, reached = taken + 1, seq
        else:
            reached = horizon
    else:
        reached = end
    answer: dict[str, Any] = {
        "metrics_data": found[METRICS],
        "bot_decisions": found[DECISION],
        "graph_data": graphs.read(connection, session_pk) if GRAPH in wanted else [],
        "total_points": taken,
        "oldest_seq": oldest_seq(connection, session_pk),
        "next_cursor": str(reached) if reached < end else None,
    }
    answer.update({LISTS[kind]: found[kind] for kind in (STATUS, *MEDIA) if kind in wanted})
    return answer


def replay(connection: Connection, session_pk: int, since_seq: int, limit: int) -> list[Row]:
    """The messages after a seq, in order, for a socket that comes back.

    Args:
        since_seq: the last one it has; below `oldest_seq` - 1 some are gone for good.
        limit: at most so many, and about `PAGE_BYTES` of media; ask again from the last one's seq
            for more.
    """
    rows: list[Row] = []
    size = 0
    end = last_seq(connection, session_pk)
    for seq, record, row, at in records(
        connection, session_pk, since_seq, end, frozenset(RECORD_TYPES), slice_seqs=limit
    ):
        if len(rows) == limit or size >= PAGE_BYTES:
            break
        if record.type in MEDIA:
            size += record.size
        rows.append((seq, record.type, record.timestamp(row, at), record.data(row)))
    return rows


def oldest_seq(connection: Connection, session_pk: int) -> int:
    """The first seq still in the log; one past the last when it holds nothing."""
    first = connection.scalar(
        select(log.c.first_seq)
        .where(log.c.session_pk == session_pk)
        .order_by(log.c.last_seq)
        .limit(1)
    )
    return int(first) if first is not None else last_seq(connection, session_pk) + 1


def batches(
    connection: Connection,
    session_pk: int,
    after_seq: int,
    until_seq: int,
    types: Iterable[str] = RECORD_TYPES,
) -> Iterator[LogRow]:
    """Stored batches that reach beyond `after_seq`, in order, none beginning after `until_seq`.

    Batches of a single record of a type not in `types` are left out, mostly without being read.
    """
    kinds = {*types, "batch"}
    rows = connection.execute(
        select(log.c.first_seq, log.c.last_seq, log.c.kind, log.c.body, log.c.received_at)
        .where(
            log.c.session_pk == session_pk,
            log.c.last_seq > after_seq,
            log.c.first_seq <= until_seq,
            log.c.kind.in_((*sorted(kinds), PACKED)),
        )
        .order_by(log.c.last_seq)
    )
    for row in rows:
        batch = LogRow(row.first_seq, row.last_seq, row.kind, bytes(row.body), row.received_at)
        if batch.kind != PACKED:
            yield batch
            continue
        for inner in unpacked(batch):
            if inner.last_seq > after_seq and inner.first_seq <= until_seq and inner.kind in kinds:
                yield inner


def records(
    connection: Connection,
    session_pk: int,
    after_seq: int,
    until_seq: int,
    types: frozenset[str],
    slice_seqs: int = SLICE,
) -> Iterator[tuple[int, Record, int, datetime]]:
    """Every row of the types asked for: its seq, its record, its number therein, its arrival."""
    step = max(1, min(SLICE, slice_seqs))
    at = after_seq
    while at < until_seq:
        to = min(at + step, until_seq)
        for batch in batches(connection, session_pk, at, to, types):
            seq = batch.first_seq
            to = max(to, min(batch.last_seq, until_seq))
            for record in unpack(batch.kind, batch.body):
                if record.type in types:
                    for row in range(max(0, at + 1 - seq), min(record.count, until_seq + 1 - seq)):
                        yield seq + row, record, row, batch.received_at
                seq += record.count
        at = to


def item_of(
    sieve: Sieve, seq: int, record: Record, row: int, arrived_at: datetime
) -> dict[str, Any] | None:
    """A record's row as `history` gives it; None when it is not asked for."""
    at = record.timestamp(row, arrived_at)
    if isinstance(record.value, Columns):
        if not sieve.passes(record.value.episode[row], at):
            return None
        data = record.value.row(row)
    else:
        data = next(record.rows())
        if not sieve.passes(data.get("episode"), at):
            return None
    if record.type == METRICS:
        narrowed = sieve.narrowed(data)
        if narrowed is None:
            return None
        data = narrowed
    elif record.type in MEDIA and sieve.metrics is not None and data["name"] not in sieve.metrics:
        return None
    return data | {"seq": seq, "timestamp": at}


def last_seq(connection: Connection, session_pk: int, until_seq: int | None = None) -> int:
    """A session's newest seq, no greater than `until_seq`."""
    last = connection.scalar(
        select(func.max(sessions.c.last_seq)).where(sessions.c.pk == session_pk)
    )
    return min(last or 0, until_seq) if until_seq is not None else last or 0


def _types(types: Sequence[str] | None) -> frozenset[str]:
    if types is None:
        return frozenset({METRICS, DECISION, GRAPH})
    for name in types:
        if name not in RECORD_TYPES:
            raise _refused(
                "type", name, list(RECORD_TYPES), f"must be of {', '.join(RECORD_TYPES)}"
            )
    return frozenset(types)


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise _refused("cursor", cursor, None, "must be the next_cursor of an earlier page")
    return int(cursor)


def _ordered(low_name: str, low: Any, high_name: str, high: Any) -> None:
    if low is not None and high is not None and low > high:
        raise _refused(low_name, low, high, f"must not be greater than {high_name} ({high})")


def _refused(field: str, value: Any, bound: Any, sentence: str) -> ValidationFailed:
    return ValidationFailed(
        f"{field}: {sentence}, not {value}",
        details={"field": field, "value": value, "bound": bound},
    )
