"""What is told of the process and the machine when a training fails."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from grandstand.client.failure import redacted

PACKAGES = ("grandstand", "torch", "numpy", "numba", "gymnasium")


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
