"""`grandstand doctor`: what it finds, on machines where something is wrong."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from grandstand import __version__
from grandstand.doctor.finding import Finding, size
from grandstand.doctor.neighbours import examine_neighbours
from grandstand.model.wire import VERSION_HEADER, WIRE_HEADER
from grandstand.settings import Settings, load_settings
from grandstand.store.database import Database
from grandstand.store.migrate import HEAD

from .test_cli import grandstand


def settings(folder: Path, **more: Any) -> Settings:
    return load_settings(env={}, flags={"data_storage_path": folder, "port": 0, **more})


def found(settings: Settings, name: str) -> Finding:
    """The one finding of that name."""
    (finding,) = [f for f in examine_neighbours(settings) if f.name == name]
    return finding


@contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """Something that answers every line with the same, at a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            line, _ = server.accept()
            with line:
                while line.recv(4096):
                    line.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(10)


@contextmanager
def answering(headers: dict[str, str], status: int = 200) -> Iterator[int]:
    """A web server that says such headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join(10)


@pytest.mark.slow
def test_it_says_what_it_finds_and_its_exit_code_says_whether_that_works(tmp_path: Path) -> None:
    done = grandstand("doctor", "--data-dir", str(tmp_path / "new"), TRAINING_METRICS_PORT="0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Grandstand {__version__}" in done.stdout
    assert "none yet; the first start makes it" in done.stdout
    assert list(tmp_path.iterdir()) == []

    (tmp_path / "training_metrics.db").write_bytes(b"not a database at all" * 1000)
    done = grandstand("doctor", "--data-dir", str(tmp_path), "--json", TRAINING_METRICS_PORT="0")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert not told["ok"]
    (database,) = [f for f in told["findings"] if f["name"] == "database"]
    assert database["state"] == "fail"
    assert "damaged: file is not a database" in database["message"]
    assert "grandstand restore" in database["advice"]

    done = grandstand("doctor", TRAINING_METRICS_PORT="eighty")
    assert done.returncode == 1
    assert "fail  settings" in done.stdout
    assert "port = eighty" in done.stdout


async def test_a_database_is_whole_or_of_another_version_or_damaged(tmp_path: Path) -> None:
    here = settings(tmp_path)
    file = tmp_path / "training_metrics.db"
    await Database.open(here.resolved_database_url()).aclose()
    whole = found(here, "database")
    assert whole.state == "ok"
    assert f"tables {HEAD}" in whole.message
    assert "0 sessions; whole" in whole.message

    for revision, state, words in (("9999", "fail", "newer"), ("0001", "warn", "next start")):
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.close()
        other = found(here, "database")
        assert (other.state, words in other.message) == (state, True)

    content = bytearray(file.read_bytes())
    for page in range(3, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    file.write_bytes(content)
    assert "damaged" in found(here, "database").message


async def test_nobody_who_can_sign_in(tmp_path: Path) -> None:
    security = {"security.enable_auth": True, "security.jwt_secret_key": "k" * 40}
    here = settings(tmp_path, **security)
    await Database.open(here.resolved_database_url()).aclose()
    assert "grandstand users add" in found(here, "accounts").advice


@pytest.mark.parametrize(
    ("answer", "state"),
    [(b"+PONG\r\n", "ok"), (b"-NOAUTH Authentication required.\r\n", "fail")],
)
def test_redis_answers_or_not(tmp_path: Path, answer: bytes, state: str) -> None:
    with listening(answer) as port:
        here = settings(tmp_path, **{"redis.url": f"redis://user:hunter2@127.0.0.1:{port}/0"})
        redis = found(here, "redis")
    assert redis.state == state
    assert "hunter2" not in redis.message
    away = found(here, "redis")
    assert away.state == "fail"
    assert "not reached" in away.message


def test_an_address_that_is_taken(tmp_path: Path) -> None:
    ours = {VERSION_HEADER: __version__, WIRE_HEADER: "1"}
    for headers, status, state, words in (
        (ours, 200, "ok", "is well"),
        (ours, 503, "fail", "answers 503"),
        ({**ours, VERSION_HEADER: "99.0"}, 200, "warn", "understands"),
        ({**ours, VERSION_HEADER: "99.0", WIRE_HEADER: "7"}, 200, "warn", "does not understand"),
        ({}, 200, "fail", "no Grandstand"),
    ):
        with answering(headers, status) as port:
            address = found(settings(tmp_path, port=port), "address")
        assert (address.state, words in address.message) == (state, True), address
    assert found(settings(tmp_path), "address").state == "ok"


def test_sizes_are_for_people() -> None:
    assert [size(n) for n in (0, 999, 1500, 2.5e9, 3e12)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.5 GB",
        "3.0 TB",
    ]
