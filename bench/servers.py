"""Servers under test: ours as a user starts it, and the small ones it is compared with."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.machine import ROOT, cores, pinned

WORK = ROOT / ".bench"
READY_SECONDS = 60.0
ROOMY = {
    # The documented default is 50 a session; the bars are about 200 and 1000.
    "GRANDSTAND_PERFORMANCE__MAX_CONNECTIONS_PER_SESSION": "5000",
    "GRANDSTAND_PERFORMANCE__MAX_TOTAL_CONNECTIONS": "10000",
    "GRANDSTAND_PERFORMANCE__MAX_CONNECTIONS_PER_ADDRESS": "10000",
}


class Server:
    """A running server.

    Attributes:
        port, pid: where it is; folder: its data, gone when it stops.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process = process
        self.port = port
        self.pid = process.pid
        self.folder = folder

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the decoded answer.

        Raises:
            RuntimeError: the answer is no 2xx.
        """
        status, answer = self.knock(method, path, body)
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
        return json.loads(answer) if answer else None

    def knock(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """One request; status and body as they come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            encoded = None if body is None else json.dumps(body).encode()
            connection.request(
                method, path, encoded, {"Content-Type": "application/json"} if encoded else {}
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def session(self, **more: Any) -> str:
        """A new session's id."""
        made = self.ask("POST", "/api/training/sessions", {"algorithm": "bench", **more})
        return str(made["session_id"])

    @property
    def database(self) -> Path:
        """Our server's database file."""
        return self.folder / "training_metrics.db"

    def database_bytes(self) -> int:
        """The size of the database with its log."""
        return sum(f.stat().st_size for f in self.folder.glob("training_metrics.db*"))


def free_port() -> int:
    """A port nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str],
    *,
    port: int,
    path: str = "/",
    env: dict[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[Server]:
    """Run a server on its core until the block ends; what it prints is shown when it fails.

    Args:
        folder: its data, to be kept; None for one of its own that goes with it.
    """
    WORK.mkdir(exist_ok=True)
    kept = folder is not None
    folder = folder or Path(tempfile.mkdtemp(prefix="run-", dir=WORK))
    output = (folder / "output.log").open("wb")
    filled = [part.replace("{folder}", str(folder)) for part in command]
    process = subprocess.Popen(
        filled,
        cwd=ROOT,
        env={**_clean(os.environ), **(env or {})},
        stdout=output,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        preexec_fn=pinned(cores()[0]),
        start_new_session=True,
    )
    server = Server(process, port, folder)
    try:
        _wait(server, path)
        yield server
    finally:
        stop(process)
        output.close()
        told = (folder / "output.log").read_text(errors="replace")
        if "Traceback" in told:  # a figure of a server that stumbled is worth little
            sys.stderr.write(f"  the server stumbled:\n{told[-2000:]}")
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def grandstand(*, folder: Path | None = None, **settings: str) -> Any:
    """Our server, as `python -m grandstand serve` runs it.

    Args:
        folder: see `running`.
        settings: further environment variables.
    """
    port = free_port()
    command = [
        sys.executable, "-m", "grandstand", "serve",
        "--port", str(port), "--data-dir", "{folder}", "--log-level", "WARNING",
    ]  # fmt: skip
    env = {**ROOMY, **settings}
    return running(command, path="/api/training/sessions", env=env, port=port, folder=folder)


def peer(name: str, *arguments: str, python: str = sys.executable) -> Any:
    """A small server out of `bench/peers`."""
    port = free_port()
    command = [python, str(ROOT / "bench" / "peers" / f"{name}.py"), str(port), *arguments]
    return running(command, port=port)


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process and whatever it started; kindly first."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):  # then unkindly
            process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _clean(environment: Any) -> dict[str, str]:
    ours = ("GRANDSTAND_", "TRAINING_METRICS_", "DATABASE_URL", "DATA_STORAGE_PATH", "REDIS_URL")
    return {k: v for k, v in environment.items() if not k.startswith(ours)}


def _wait(server: Server, path: str) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise RuntimeError(f"the server ended with {server.process.returncode}")
        try:
            if server.knock("GET", path)[0] < 500:
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"no answer within {READY_SECONDS:g} s")
