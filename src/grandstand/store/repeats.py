"""Batches that come again: which of them are stored already, and under which seqs."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Column, Connection, Select, bindparam, func, select

from grandstand.store.tables import log, packed_batches


def batch_digest(batch_id: str) -> bytes:
    """A batch's id in 16 bytes, as `packed_batches` keeps it."""
    return hashlib.blake2b(batch_id.encode(), digest_size=16).digest()


def stored_before(
    connection: Connection, wanted: Mapping[tuple[int, str], bool]
) -> dict[tuple[int, str], tuple[int, int]]:
    """First and last seq of each batch that is stored already.

    Args:
        wanted: (key of the session, id of the batch), and whether the session has packed batches.
    """
    known = {
        (pk, batch_id): (first_seq, last_seq)
        for pk, batch_id, first_seq, last_seq in _find(connection, log.c.batch_id, list(wanted))
    }
    packed = {
        (pk, batch_digest(batch_id)): (pk, batch_id)
        for (pk, batch_id), is_packed in wanted.items()
        if is_packed and (pk, batch_id) not in known
    }
    for pk, digest, first_seq, last_seq in _find(connection, packed_batches.c.digest, list(packed)):
        known[packed[pk, bytes(digest)]] = (first_seq, last_seq)
    return known


def _find(
    connection: Connection, column: Column[Any], wanted: Collection[tuple[int, Any]]
) -> Iterator[Any]:
    """Rows of (session, `column`, first seq, last seq), those of `wanted` that there are."""
    if connection.dialect.name == "sqlite":
        # No way to a server and back, and no plan for many at once that would use the index.
        for pk, value in wanted:
            yield from connection.execute(_one(column), {"pk": pk, "value": value})
    elif wanted:
        pks, values = zip(*wanted, strict=True)
        yield from connection.execute(_some(column), {"pks": list(pks), "values": list(values)})


@lru_cache(maxsize=2)
def _one(column: Column[Any]) -> Select[Any]:
    table = column.table.c
    return select(table.session_pk, column, table.first_seq, table.last_seq).where(
        table.session_pk == bindparam("pk"), column == bindparam("value")
    )


@lru_cache(maxsize=2)
def _some(column: Column[Any]) -> Select[Any]:
    table = column.table.c
    wanted = func.unnest(
        bindparam("pks", type_=ARRAY(BigInteger)), bindparam("values", type_=ARRAY(column.type))
    )
    found = wanted.table_valued("pk", "value", name="wanted").render_derived()
    return select(table.session_pk, column, table.first_seq, table.last_seq).where(
        table.session_pk == found.c.pk, column == found.c.value
    )
