"""Facts: the few values the server must remember of itself."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, select

from grandstand.store.bulk import insert_new
from grandstand.store.tables import facts


def get_or_make(connection: Connection, name: str, make: Callable[[], str]) -> str:
    """The fact `name`, made and kept the first time it is asked for."""
    value = connection.scalar(select(facts.c.value).where(facts.c.name == name))
    if value is None:
        # Two servers that start together keep the one that came first.
        connection.execute(insert_new(connection, facts).values(name=name, value=make()))
        value = connection.scalar(select(facts.c.value).where(facts.c.name == name))
    return str(value)
