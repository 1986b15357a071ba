"""Packing: many batches of the log in one compressed row.

What is reported comes in rows of its own, a few hundred bytes each; what is long past is packed,
about a mebibyte of it to a row. Nothing is dropped and no reader sees a difference (`unpacked`):
the bytes of every batch come out as they came in, with their seqs, times and ids.

Reading and compressing happen on any connection; the writer is held only for the exchange.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from grandstand.errors import Conflict
from grandstand.model.session import ENDED, Status
from grandstand.store.blocks import X
from grandstand.store.bulk import insert_rows
from grandstand.store.cells import micros, moment_of
from grandstand.store.log import LogRow
from grandstand.store.repeats import batch_digest
from grandstand.store.tables import blocks, log, media, packed_batches, sessions

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKED: Final = "packed"
"""`kind` of a row that holds many batches."""
ENCODING: Final = "zstd"
PACK_BYTES: Final = 1 << 20
"""What is put into one row, uncompressed: more packs little better, and is read all at once."""
RECENT: Final = 65_536
"""Seqs of a running session that are left alone although they are in no block: it may report much
that is no metric, such as decisions, and blocks come with metrics only."""
RESTING: Final = frozenset({*ENDED, Status.LOST})
"""Statuses in which all of a session is packed, and not only what is long past."""
_LEVEL: Final = 3


class _Entry(msgspec.Struct, array_like=True):
    first_seq: int
    last_seq: int
    kind: str
    received_at: int
    """Microseconds since 1970, UTC."""
    batch_id: str | None
    body: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[_Entry])


@dataclass(slots=True, frozen=True)
class Packable:
    """A session with batches to pack.

    Attributes:
        packed_seq: everything up to it is packed already.
        until_seq: everything up to it may be.
        resting: it has ended, or nobody reports any more.
    """

    session_pk: int
    session_id: str
    packed_seq: int
    until_seq: int
    resting: bool


def packable(connection: Connection) -> list[Packable]:
    """Sessions with batches that have not been packed and are long past."""
    watermark = (
        select(func.max(blocks.c.seq_greatest))
        .where(blocks.c.session_pk == sessions.c.pk, blocks.c.series == X, blocks.c.level == 0)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(
            sessions.c.pk,
            sessions.c.session_id,
            sessions.c.status,
            sessions.c.last_seq,
            sessions.c.packed_seq,
            watermark.label("watermark"),
        )
        .where(
            sessions.c.last_seq > sessions.c.packed_seq,
            or_(
                sessions.c.status.in_([s.value for s in RESTING]),
                watermark > sessions.c.packed_seq,
                sessions.c.last_seq - RECENT > sessions.c.packed_seq,
            ),
        )
        .order_by(sessions.c.pk)
    )
    found = []
    for row in rows:
        resting = row.status in RESTING
        until = row.last_seq if resting else max(row.watermark or 0, row.last_seq - RECENT)
        found.append(Packable(row.pk, row.session_id, row.packed_seq, until, resting))
    return found


class Pack:
    """Neighbouring batches on their way into one row.

    Attributes:
        rows: how many batches; none when there is nothing (more) to pack.
        raw_bytes, packed_bytes: of their bodies, before and after.
    """

    def __init__(self, connection: Connection, session_pk: int, after: int, until: int) -> None:
        self.session_pk = session_pk
        self._entries: list[_Entry] = []
        self._body = b""
        self.raw_bytes = 0
        rows = connection.execution_options(yield_per=256).execute(
            select(log)
            .where(
                log.c.session_pk == session_pk,
                log.c.last_seq > after,
                log.c.last_seq <= until,
                log.c.kind != PACKED,
            )
            .order_by(log.c.last_seq)
        )
        for row in rows:
            body = bytes(row.body)
            if self._entries and self.raw_bytes + len(body) > PACK_BYTES:
                rows.close()
                break
            self.raw_bytes += len(body)
            self._entries.append(
                _Entry(
                    row.first_seq,
                    row.last_seq,
                    row.kind,
                    micros(row.received_at),
                    row.batch_id,
                    body,
                )
            )
        if self._entries:
            self._body = zstd.compress(_encoder.encode(self._entries), _LEVEL)

    @property
    def rows(self) -> int:
        return len(self._entries)

    @property
    def packed_bytes(self) -> int:
        return len(self._body)

    @property
    def last_seq(self) -> int:
        """Of the last batch in it."""
        return self._entries[-1].last_seq

    def store(self, connection: Connection) -> None:
        """Put it in the place of the rows it was made from; to be run in one write transaction.

        Raises:
            Conflict: another process did meanwhile, or the session is gone.
        """
        first, last = self._entries[0], self._entries[-1]
        gone = connection.execute(
            delete(log).where(
                log.c.session_pk == self.session_pk,
                log.c.last_seq.between(first.last_seq, last.last_seq),
                log.c.kind != PACKED,
            )
        )
        if gone.rowcount != len(self._entries):
            raise Conflict("somebody else has packed these batches")
        connection.execute(
            insert(log).values(
                session_pk=self.session_pk,
                first_seq=first.first_seq,
                last_seq=last.last_seq,
                kind=PACKED,
                encoding=ENCODING,
                body=self._body,
                received_at=moment_of(last.received_at),
            )
        )
        ids = [
            {
                "session_pk": self.session_pk,
                "digest": batch_digest(entry.batch_id),
                "first_seq": entry.first_seq,
                "last_seq": entry.last_seq,
            }
            for entry in self._entries
            if entry.batch_id is not None
        ]
        insert_rows(connection, packed_batches, ids)
        connection.execute(
            update(sessions)
            .where(and_(sessions.c.pk == self.session_pk, sessions.c.packed_seq < last.last_seq))
            .values(packed_seq=last.last_seq)
        )


def unpacked(row: LogRow) -> Iterator[LogRow]:
    """The batches of a packed row, in order."""
    for entry in _entries(row.body):
        at = moment_of(entry.received_at)
        yield LogRow(entry.first_seq, entry.last_seq, entry.kind, entry.body, at)


def unpack_all(connection: Connection) -> None:
    """Put every batch back into a row of its own, as versions without packing read them."""
    while True:
        row = connection.execute(select(log).where(log.c.kind == PACKED).limit(1)).one_or_none()
        if row is None:
            return
        connection.execute(
            delete(log).where(log.c.session_pk == row.session_pk, log.c.last_seq == row.last_seq)
        )
        connection.execute(
            insert(log),
            [
                {
                    "session_pk": row.session_pk,
                    "first_seq": entry.first_seq,
                    "last_seq": entry.last_seq,
                    "kind": entry.kind,
                    "encoding": "json",
                    "body": entry.body,
                    "batch_id": entry.batch_id,
                    "received_at": moment_of(entry.received_at),
                }
                for entry in _entries(bytes(row.body))
            ],
        )


def drop_log(connection: Connection, session_pk: int, until_seq: int) -> None:
    """Delete a session's raw batches up to a seq, and its images; its series stay."""
    connection.execute(
        delete(media).where(media.c.session_pk == session_pk, media.c.seq <= until_seq)
    )
    connection.execute(
        delete(log).where(log.c.session_pk == session_pk, log.c.last_seq <= until_seq)
    )


def with_log(connection: Connection, ended_before: datetime) -> list[tuple[int, str, int]]:
    """Key, id and last seq of every session that ended before a moment and has raw batches."""
    rows: Any = connection.execute(
        select(sessions.c.pk, sessions.c.session_id, sessions.c.last_seq).where(
            sessions.c.status.in_([s.value for s in ENDED]),
            sessions.c.end_time < ended_before,
            select(log.c.last_seq).where(log.c.session_pk == sessions.c.pk).limit(1).exists(),
        )
    )
    return [tuple(row) for row in rows]


def _entries(body: bytes) -> list[_Entry]:
    return _decoder.decode(zstd.decompress(body))
