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

import psutil

from grandstand.launch.base import Task


class LocalWorker:
    """A child process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid
        self.started_at = start_of(process.pid) or 0.0

    async def wait(self) -> int:
        return await self._process.wait()

    def terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


class LocalLauncher:
    """Starts ``python -m grandstand.worker`` beside the server."""

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
        return LocalWorker(process)


def start_of(pid: int) -> float | None:
    """When the process `pid` started, epoch seconds; None when there is none (or a zombie)."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time()
    except psutil.Error:
        return None


def same_process(pid: int | None, started_at: float | None) -> bool:
    """Whether the process remembered by pid and start is still alive."""
    if pid is None or started_at is None:
        return False
    start = start_of(pid)
    return start is not None and abs(start - started_at) < 1.0


def kill_process(pid: int, started_at: float) -> None:
    """End a worker that is nobody's child any more, if it is still the one that was meant."""
    if same_process(pid, started_at):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
