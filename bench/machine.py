"""The machine a bench runs on: its cores, what else it does, and what a process costs."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import sqlite3
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PR_SET_PDEATHSIG = 1
PACKAGES = (
    "fastapi",
    "uvicorn",
    "uvloop",
    "httptools",
    "websockets",
    "python-socketio",
    "pydantic",
    "msgspec",
)


ALLOWED = tuple(sorted(os.sched_getaffinity(0)))
"""As it was at first: the bench pins itself to the load client's core."""


def cores() -> tuple[int, int]:
    """The server's core and the load client's; the same one where there is only one."""
    return (ALLOWED[0], ALLOWED[1]) if len(ALLOWED) > 1 else (ALLOWED[0], ALLOWED[0])


def pinned(*cores: int) -> Any:
    """What `subprocess` runs in the child: stay on `cores`, open as many files as allowed, and end
    with the bench, however that ends."""
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        os.sched_setaffinity(0, cores)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    return prepare


def cpu_seconds(pid: int) -> float:
    """CPU a process has used so far, all threads, in seconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue  # a thread that has just ended
    return total / 1e9


def memory_bytes(pid: int) -> int:
    """Memory that is the process's own: proportional set size, in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no Pss of process {pid}")


def load_average() -> float:
    """What waits for a core, over the last minute."""
    return os.getloadavg()[0]


def _first_line(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return "unknown"


def describe() -> dict[str, Any]:
    """What a reader of the figures wants to know about this machine."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "missing"
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    )
    return {
        "cpu": _first_line("/proc/cpuinfo", "model name"),
        "cores": len(ALLOWED),
        "memory_gb": round(int(_first_line("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "commit": git.stdout.strip() or "unknown",
        "load_at_start": round(load_average(), 2),
        "versions": versions,
    }
