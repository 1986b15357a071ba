"""Facts: the few values the server must remember of itself."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, insert, select

from grandstand.store.tables import facts


def get_or_make(connection: Connection, name: str, make: Callable[[], str]) -> str:
    """The fact `name`, made and kept the first time it is asked for."""
    value = connection.scalar(select(facts.c.value).where(facts.c.name == name))
    if value is None:
        value = make()
        connection.execute(insert(facts).values(name=name, value=value))
    return str(value)
