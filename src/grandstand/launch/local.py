"""Workers as child processes of this machine.

Each is a session of its own, so that Ctrl-C in the terminal reaches the server alone and a worker
survives a server that dies: it goes on, and the next server finds it still at work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import psutil

from grandstand.clock import Clock
from grandstand.launch.base import Task

POLL_SECONDS = 0.5
"""How often one that is nobody's child is looked at."""
LOG_LINES = 40


class LocalWorker:
    """A child process."""

    def __init__(self, process: asyncio.subprocess.Process, log_file: Path) -> None:
        self._process = process
        self._log_file = log_file
        self.handle = f"pid {process.pid} {_start_of(process.pid) or 0.0!r}"

    async def wait(self) -> str:
        """See `Worker.wait`."""
        code = await self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    async def last_output(self) -> list[str]:
        """See `Worker.last_output`."""
        return await asyncio.to_thread(_tail, self._log_file)

    async def terminate(self) -> None:
        """See `Worker.terminate`."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    async def kill(self) -> None:
        """See `Worker.kill`."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


class FoundWorker:
    """A process that an earlier server (or supervisor) started and that outlived it."""

    def __init__(self, handle: str, log_file: Path, clock: Clock) -> None:
        self.handle = handle
        self._log_file = log_file
        self._clock = clock

    async def wait(self) -> str:
        """See `Worker.wait`; nobody but its parent could tell how."""
        while _process_of(self.handle) is not None:
            await self._clock.sleep(POLL_SECONDS)
        return "it was started by an earlier server"

    async def last_output(self) -> list[str]:
        """See `Worker.last_output`."""
        return await asyncio.to_thread(_tail, self._log_file)

    async def terminate(self) -> None:
        """See `Worker.terminate`."""
        self._send(signal.SIGTERM)

    async def kill(self) -> None:
        """See `Worker.kill`."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if (process := _process_of(self.handle)) is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


class LocalLauncher:
    """Starts ``python -m grandstand.worker`` beside the server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def launch(self, task: Task) -> LocalWorker:
        """See `Launcher.launch`."""
        environment = {
            **os.environ,
            "GRANDSTAND_URL": task.url,
            "GRANDSTAND_TOKEN": task.token,
            "GRANDSTAND_TASK": task.name,
            **task.environment,
        }
        task.log_file.parent.mkdir(parents=True, exist_ok=True)
        with task.log_file.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "grandstand.worker",
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        return LocalWorker(process, task.log_file)

    async def find(self, handle: str, task: Task) -> FoundWorker | None:
        """See `Launcher.find`."""
        if _process_of(handle) is None:
            return None
        return FoundWorker(handle, task.log_file, self._clock)


def _start_of(pid: int) -> float | None:
    """When the process `pid` started, epoch seconds; None when there is none (or a zombie)."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time()
    except psutil.Error:
        return None


def _process_of(handle: str) -> psutil.Process | None:
    """The process a handle names, if it is alive: a later one of the same pid is another."""
    kind, pid, started_at = [*handle.split(" "), "", ""][:3]
    if kind != "pid" or not pid.isdigit():
        return None
    start = _start_of(int(pid))
    if start is None or abs(start - float(started_at or 0.0)) >= 1.0:
        return None
    try:
        return psutil.Process(int(pid))
    except psutil.NoSuchProcess:
        return None


def _tail(path: Path) -> list[str]:
    """The last lines of a file; none where it cannot be read."""
    with contextlib.suppress(OSError):
        text = path.read_text(encoding="utf-8", errors="replace")
        return text.splitlines()[-LOG_LINES:]
    return []
