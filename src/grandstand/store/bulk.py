"""Putting rows into a table: many at once by COPY where there is one, or only what is new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Dialect,
    Insert,
    Integer,
    LargeBinary,
    String,
    Table,
    TypeDecorator,
    insert,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

FEW: Final = 4
"""Up to so many rows an INSERT is quicker: it takes one way to the server and back, COPY two."""

_NAMES: Final[tuple[tuple[type[TypeEngine[Any]], str], ...]] = (
    (BigInteger, "int8"),
    (Integer, "int4"),
    (String, "text"),
    (LargeBinary, "bytea"),
    (DateTime, "timestamptz"),
)


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert `rows`, all of the same columns; a column left out takes its default.

    Raises:
        IntegrityError and the like, as an INSERT does.
    """
    if len(rows) <= FEW or connection.dialect.name != "postgresql":
        if rows:
            connection.execute(_insert(table), rows)
        return
    copy = _copy(table, tuple(rows[0]), connection.dialect)
    connection_of_driver: Any = connection.connection.driver_connection
    try:
        with connection_of_driver.cursor() as cursor, cursor.copy(copy.statement) as stream:
            stream.set_types(copy.types)
            for row in rows:
                stream.write_row(copy.values(row))
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_others(connection, copy.statement, error) from error


def insert_new(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that leaves out a row whose key is taken, also by a server that is quicker."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


class _Copy:
    """How rows of some columns are copied into a table."""

    def __init__(self, table: Table, names: tuple[str, ...], dialect: Dialect) -> None:
        quote = dialect.identifier_preparer.quote
        columns = ", ".join(map(quote, names))
        self.statement = (
            f"COPY {dialect.identifier_preparer.format_table(table)} ({columns}) "
            "FROM STDIN (FORMAT BINARY)"
        )
        kinds = [table.c[name].type.dialect_impl(dialect) for name in names]
        self.types = [_name(kind) for kind in kinds]
        self._names = names
        self._prepare: list[tuple[int, Callable[[Any], Any]]] = [
            (i, prepare)
            for i, kind in enumerate(kinds)
            if isinstance(kind, TypeDecorator) and (prepare := kind.bind_processor(dialect))
        ]

    def values(self, row: dict[str, Any]) -> list[Any]:
        """A row's values in the order of the columns."""
        values = [row[name] for name in self._names]
        for i, prepare in self._prepare:
            values[i] = prepare(values[i])
        return values


@lru_cache(maxsize=64)
def _insert(table: Table) -> Insert:
    return insert(table)


@lru_cache(maxsize=64)
def _copy(table: Table, names: tuple[str, ...], dialect: Dialect) -> _Copy:
    return _Copy(table, names, dialect)


def _name(kind: TypeEngine[Any]) -> str:
    while isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    return next(name for known, name in _NAMES if isinstance(kind, known))


def _as_others(connection: Connection, statement: str, error: Exception) -> BaseException:
    """The driver's error as SQLAlchemy raises those of its own statements."""
    driver = connection.dialect.loaded_dbapi
    inner = connection.connection.driver_connection
    lost = connection.dialect.is_disconnect(error, inner, None)  # type: ignore[arg-type]
    if lost:
        connection.invalidate(error)
    return DBAPIError.instance(
        statement,
        None,
        error,
        driver.Error,
        connection_invalidated=lost,
        dialect=connection.dialect,
    )
