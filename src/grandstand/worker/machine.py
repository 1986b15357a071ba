"""What is told of the process and the machine: its curves, and the facts when a training fails."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import psutil

from grandstand.client.failure import redacted

PACKAGES = ("grandstand", "torch", "numpy", "numba", "gymnasium", "stable-baselines3")


def facts() -> Iterator[tuple[str, Any]]:
    """Versions, command line, machine and, in a git checkout, the commit."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    yield "versions", found
    yield "command", redacted(shlex.join([sys.executable, *sys.argv]))
    memory = psutil.virtual_memory()
    yield (
        "machine",
        {
            "platform": platform.platform(),
            "cpu_count": os.cpu_count(),
            "memory_total_mb": memory.total // 2**20,
            "memory_available_mb": memory.available // 2**20,
            "process_memory_mb": psutil.Process().memory_info().rss // 2**20,
        },
    )
    if (commit := git_commit()) is not None:
        yield "git_commit", commit


def git_commit() -> str | None:
    """The commit of the checkout this package lies in; None outside one."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


class Audience(Protocol):
    """Who is told of the machine: a session."""

    def scalars(
        self, values: Mapping[str, Any], *, episode: int, step: int | None, key: str | None
    ) -> None: ...


class Vitals:
    """Curves of processor, memory and GPU while a training runs, `system/…` in its session.

    | name | what | unit |
    |---|---|---|
    | `system/cpu_percent` | all cores of the machine | 0…100 |
    | `system/process_cpu_percent` | this worker; 100 is one core | 0…100 a core |
    | `system/memory_percent` | the machine's memory in use | 0…100 |
    | `system/process_memory_mb` | resident memory of this worker | MiB |
    | `system/gpu_percent`, `system/gpu_memory_mb` | the first GPU, if any | 0…100, MiB |

    Args:
        session: told every so often.
        every_seconds: how often, above 0.
        episode: the newest episode that was reported; None while there is nothing to say.
        device: whether the training computes on a GPU.
    """

    def __init__(
        self,
        session: Audience,
        *,
        every_seconds: float,
        episode: Callable[[], int | None],
        device: str = "cpu",
    ) -> None:
        self._episode = episode
        self._session = session
        self._every = every_seconds
        self._process = psutil.Process()
        self._gpu = shutil.which("nvidia-smi") if device != "cpu" else None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vitals", daemon=True)

    def start(self) -> None:
        """Begin; the first figures come after one interval."""
        psutil.cpu_percent()  # figures are shares of the time since the call before
        self._process.cpu_percent()
        self._thread.start()

    def close(self) -> None:
        """Say no more; what is being said may still be."""
        self._over.set()

    def look(self) -> dict[str, float]:
        """The figures now."""
        with self._process.oneshot():
            own = self._process.cpu_percent()
            resident = self._process.memory_info().rss / 2**20
        told = {
            "system/cpu_percent": psutil.cpu_percent(),
            "system/process_cpu_percent": own,
            "system/memory_percent": float(psutil.virtual_memory().percent),
            "system/process_memory_mb": round(resident, 1),
        }
        return told | self._gpu_figures()

    def _gpu_figures(self) -> dict[str, float]:
        if self._gpu is None:
            return {}
        query = "--query-gpu=utilization.gpu,memory.used"
        try:
            answer = subprocess.run(  # noqa: S603
                [self._gpu, query, "--format=csv,noheader,nounits", "--id=0"],
                capture_output=True,
                text=True,
                timeout=self._every,
                check=True,
            )
            busy, used = answer.stdout.split(",")
            return {"system/gpu_percent": float(busy), "system/gpu_memory_mb": float(used)}
        except (OSError, ValueError, subprocess.SubprocessError):
            self._gpu = None  # it will not answer the next time either
            return {}

    def _run(self) -> None:
        while not self._over.wait(self._every):
            if (episode := self._episode()) is not None:
                self._session.scalars(self.look(), episode=episode, step=None, key=None)
