"""Bringing the tables up to date.

Alembic and its migrations are loaded only when the stored version is not this one, so a server
that is up to date starts without paying for them.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, inspect, select, text

HEAD = "0009"
"""The newest revision in `migrations/versions`; a test holds the two together."""
LOCK: Final = 0x6772616E64
"""The advisory lock of PostgreSQL that is held while migrating."""

_turn = threading.Lock()  # alembic keeps its context in a global


def version(connection: Connection) -> str | None:
    """The revision the database is at; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    value = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return str(value) if value is not None else None


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate up to `revision`; does nothing when the database is there already."""
    with engine.connect() as connection:
        if revision == "head" and version(connection) == HEAD:
            return
    _run(engine, "upgrade", revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Migrate down to `revision` (``"base"`` removes every table)."""
    _run(engine, "downgrade", revision)


def config() -> Any:
    """Alembic's configuration, without an ini file."""
    from alembic.config import Config

    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return found


def _run(engine: Engine, direction: str, revision: str) -> None:
    from alembic import command

    found = config()
    # Servers that start at the same time take turns, and the later ones find nothing to do.
    with _turn, engine.execution_options(grandstand_writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
        found.attributes["connection"] = connection
        getattr(command, direction)(found, revision)
