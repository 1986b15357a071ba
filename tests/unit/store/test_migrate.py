"""Migrations: the tables they make are the tables the code means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect

from grandstand.store.database import Database
from grandstand.store.migrate import HEAD, config, downgrade, upgrade, version
from grandstand.store.tables import metadata


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    yield engine
    engine.dispose()


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


def test_indexes_and_keys_are_those_the_code_means(engine: Engine, tmp_path: Path) -> None:
    """What alembic does not compare on SQLite: partial indexes, defaults, what a delete does."""
    upgrade(engine)
    meant = create_engine(f"sqlite:///{tmp_path / 'meant.db'}")
    metadata.create_all(meant)

    def shape(engine: Engine) -> dict[str, object]:
        found = inspect(engine)
        return {
            name: {
                "columns": [
                    (c["name"], str(c["type"]), c["nullable"], c["default"])
                    for c in found.get_columns(name)
                ],
                "primary": found.get_pk_constraint(name)["constrained_columns"],
                "unique": sorted(u["column_names"] for u in found.get_unique_constraints(name)),
                "foreign": sorted(
                    (k["constrained_columns"], k["referred_table"], str(k["options"]))
                    for k in found.get_foreign_keys(name)
                ),
                "indexes": sorted(
                    (
                        str(i["name"]),
                        i["column_names"],
                        i["unique"],
                        str(i.get("dialect_options", {}).get("sqlite_where")),
                    )
                    for i in found.get_indexes(name)
                ),
            }
            for name in metadata.tables
        }

    assert shape(engine) == shape(meant)
    meant.dispose()


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


async def test_opening_a_database_brings_it_up_to_date(engine: Engine, tmp_path: Path) -> None:
    for _ in range(2):  # the second time there is nothing to do
        database = Database.open(f"sqlite:///{tmp_path / 'store.db'}")
        await database.aclose()
        assert at(engine) == HEAD
