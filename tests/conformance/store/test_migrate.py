"""Migrations: the tables they make are the tables the code means."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect

from grandstand.store.database import Database
from grandstand.store.engine import database_url, open_engine
from grandstand.store.migrate import HEAD, config, downgrade, upgrade, version
from grandstand.store.tables import metadata


@contextlib.contextmanager
def empty(opening: Any) -> Iterator[Engine]:
    """An engine on a database without tables."""
    url = opening.create(migrated=False)
    engine = open_engine(database_url(url), 1)
    yield engine
    engine.dispose()
    opening.drop(url)


@pytest.fixture
def engine(opening: Any) -> Iterator[Engine]:
    with empty(opening) as engine:
        yield engine


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def at(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return version(connection)


def test_head_is_the_newest_revision() -> None:
    assert ScriptDirectory.from_config(config()).get_current_head() == HEAD


def test_from_nothing_to_what_the_code_means(engine: Engine) -> None:
    assert at(engine) is None
    upgrade(engine)
    assert at(engine) == HEAD
    assert tables(engine) == {*metadata.tables, "alembic_version"}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_indexes_and_keys_are_those_the_code_means(engine: Engine, opening: Any) -> None:
    """What alembic does not compare: partial indexes, defaults, what a delete does."""
    upgrade(engine)
    with empty(opening) as meant:
        metadata.create_all(meant)
        assert shape(engine) == shape(meant)


def shape(engine: Engine) -> dict[str, Any]:
    found = inspect(engine)
    return {
        name: {
            "columns": sorted(
                (c["name"], str(c["type"]), c["nullable"], str(c["default"]))
                for c in found.get_columns(name)
            ),
            "primary": found.get_pk_constraint(name),
            "unique": sorted(
                (str(u["name"]), u["column_names"]) for u in found.get_unique_constraints(name)
            ),
            "foreign": sorted(
                (str(k["name"]), k["constrained_columns"], k["referred_table"], str(k["options"]))
                for k in found.get_foreign_keys(name)
            ),
            "indexes": sorted(
                (
                    str(i["name"]),
                    i["column_names"],
                    i["unique"],
                    {k: str(v) for k, v in i.get("dialect_options", {}).items()},
                )
                for i in found.get_indexes(name)
            ),
        }
        for name in metadata.tables
    }


def test_down_to_nothing_and_up_again(engine: Engine) -> None:
    upgrade(engine)
    downgrade(engine, "base")
    assert tables(engine) <= {"alembic_version"}
    assert at(engine) is None
    upgrade(engine)
    assert at(engine) == HEAD


def test_every_revision_goes_down_and_up(engine: Engine) -> None:
    revisions = list(ScriptDirectory.from_config(config()).walk_revisions())
    for revision in reversed(revisions):
        upgrade(engine, revision.revision)
        downgrade(engine, "-1")
        upgrade(engine, revision.revision)
        assert at(engine) == revision.revision
    assert at(engine) == HEAD


async def test_opening_a_database_brings_it_up_to_date(engine: Engine) -> None:
    for _ in range(2):  # the second time there is nothing to do
        database = Database.open(engine.url.render_as_string(hide_password=False))
        await database.aclose()
        assert at(engine) == HEAD


OPEN = """
import asyncio, sys
from grandstand.store.database import Database
database = Database.open(sys.argv[1])
asyncio.run(database.aclose())
"""


@pytest.mark.slow
def test_servers_that_start_together_migrate_once(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, url],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(4)
    ]
    said = [server.communicate(timeout=60)[0] for server in servers]
    assert [server.returncode for server in servers] == [0] * 4, said
    assert at(engine) == HEAD
