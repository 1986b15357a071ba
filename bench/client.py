"""The load client (`bench/load/*.c`), compiled when it is needed and driven line by line."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.machine import ROOT, cores, pinned
from bench.servers import WORK, Server, stop

SOURCES = ROOT / "bench" / "load"


def binary() -> Path:
    """The compiled client; compiled again when its source has changed.

    Raises:
        RuntimeError: there is no gcc, or it refuses.
    """
    sources = sorted(SOURCES.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(f.read_bytes() for f in sources)).hexdigest()[:12]
    target = WORK / f"load-{digest}"
    if not target.exists():
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise RuntimeError("the load client is written in C: install gcc")
        WORK.mkdir(exist_ok=True)
        made = subprocess.run(
            [compiler, "-O2", "-Wall", "-std=gnu11", "-o", f"{target}.new"]
            + [str(f) for f in sources if f.suffix == ".c"],
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise RuntimeError(f"gcc refused the load client:\n{made.stderr}")
        Path(f"{target}.new").replace(target)
    return target


def floor(sockets: int, seconds: float, *, pace: float = 0, size: int = 600) -> dict[str, Any]:
    """What this machine can do: one send to each of N sockets, again and again.

    Args:
        pace: rounds a second; 0 for as many as possible.
    """
    write, read = cores()
    command = [
        str(binary()), "--floor", str(sockets), "--bytes", str(size), "--seconds", str(seconds),
        "--core", str(write), "--read-core", str(read), "--pace", str(pace),
    ]  # fmt: skip
    done = subprocess.run(
        command,
        preexec_fn=pinned(write),
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    return dict(json.loads(done.stdout))


class Load:
    """A load client at work against one server; a context manager.

    Entering it raises `RuntimeError` when not every spectator was greeted.

    Args:
        server: whom it loads, and whose CPU it reads.
        spectators: connections that watch `watch`.
        watch: path of the socket.
        socketio: subscribe to this session over Socket.IO instead of a plain WebSocket.
        since: the seq every spectator says it has.
        window: how many may be connecting at the same time.
        deaf: how many of them never read.
        stamp: what stands before the stamp in a message.
        reports: groups of reporters, see `report`.
        stream: path, bodies, connections and frames in flight of a WebSocket ingest.
        drain: seconds that messages may take to arrive once reporting has stopped.

    Attributes:
        opened: how long connecting took, and what it cost the server.
    """

    def __init__(
        self,
        server: Server,
        *,
        spectators: int = 0,
        watch: str = "/",
        socketio: str | None = None,
        since: int | None = None,
        window: int = 64,
        deaf: int = 0,
        stamp: str = '"current_reward":',
        reports: Sequence[Sequence[str]] = (),
        stream: tuple[str, Path, int, int] | None = None,
        drain: float = 5.0,
    ) -> None:
        command = [
            str(binary()), "--port", str(server.port), "--pid", str(server.pid),
            "--core", str(cores()[1]), "--drain", str(drain), "--spectators", str(spectators),
            "--path", watch, "--window", str(window), "--deaf", str(deaf), "--stamp", stamp,
        ]  # fmt: skip
        if socketio is not None:
            command += ["--socketio", socketio]
        if since is not None:
            command += ["--since", str(since)]
        for group in reports:
            command += group
        if stream is not None:
            path, bodies, connections, in_flight = stream
            command += [
                "--stream", path, "--bodies", str(bodies), "--conns", str(connections),
                "--in-flight", str(in_flight),
            ]  # fmt: skip
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=pinned(cores()[1]),
            start_new_session=True,
        )
        self._spectators = spectators
        self.opened: dict[str, Any] = {}

    def __enter__(self) -> Load:
        try:
            self.opened = self._answer()
            if self.opened["ready"] < self._spectators:
                raise RuntimeError(f"{self.opened['ready']} of {self._spectators} were greeted")
        except BaseException:
            stop(self._process)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stop(self._process)

    def go(self, seconds: float) -> dict[str, Any]:
        """Report and watch for so long; what came of it."""
        return self._order(f"go {seconds}")

    def begin(self, seconds: float) -> None:
        """The same, without waiting; `end` gives what came of it."""
        self._send(f"go {seconds}")

    def end(self) -> dict[str, Any]:
        """Wait for what was begun."""
        return self._answer()

    def hear_now(self) -> None:
        """Let the deaf ones read, while something else goes on."""
        self._send("now hear")

    def until(self, seq: int, seconds: float) -> dict[str, Any]:
        """Wait until every spectator has `seq`; `took` counts from the first dialling."""
        return self._order(f"until {seq} {seconds}")

    def hear(self, seconds: float) -> dict[str, Any]:
        """Let the deaf ones read until they are closed."""
        return self._order(f"hear {seconds}")

    def _order(self, line: str) -> dict[str, Any]:
        self._send(line)
        return self._answer()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load client ended with {self._process.wait()}")
        return dict(json.loads(line))


def report(path: str, bodies: Path, *, connections: int = 8, rate: float = 0) -> list[str]:
    """A group of reporters for `Load`.

    Args:
        rate: requests a second; 0 sends the next as soon as the last is answered.
    """
    return [
        "--post", path, "--bodies", str(bodies), "--conns", str(connections), "--rate", str(rate),
    ]  # fmt: skip
