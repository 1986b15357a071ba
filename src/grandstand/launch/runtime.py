"""The learning part: is it installed, and installing it while the server runs.

The server itself needs no torch. Where it is missing, everything else works, and starting a
training says with one line how to get it.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.util
import logging
import shlex
import shutil
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grandstand.errors import Unavailable

logger = logging.getLogger("grandstand.setup")

NEEDED = ("torch", "numba", "gymnasium")
SB3 = "stable_baselines3"
TORCH = "torch==2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
SIZE_MB = {"cpu": 1100, "cuda": 5500}
"""What the learning part takes on disk, about."""

State = Literal["ready", "missing", "installing", "failed"]


@dataclass(frozen=True, slots=True)
class Setup:
    """How far the learning part is.

    Attributes:
        size_mb: disk space it takes, about.
        command: the line that installs it by hand.
    """

    state: State
    message: str
    size_mb: int
    command: str


class Runtime:
    """Knows whether trainings can run here."""

    def __init__(self) -> None:
        self._installing = False
        self._failed: str | None = None
        self._tail: deque[str] = deque(maxlen=15)
        self._ready = self._found()

    def setup(self) -> Setup:
        """The present state, for `/status` and the page's banner."""
        kind = "cuda" if has_nvidia() else "cpu"
        size, command = SIZE_MB[kind], self.command()
        if self.ready():
            return Setup("ready", "The training part is installed.", size, command)
        if self._installing:
            last = self._tail[-1] if self._tail else "starting"
            message = f"Installing the training part (about {size:,} MB on disk, {kind}): {last}"
            return Setup("installing", message, size, command)
        if self._failed is not None:
            return Setup("failed", self._failed, size, command)
        return Setup("missing", "The training part (PyTorch) is not installed yet.", size, command)

    def ready(self) -> bool:
        """Whether a worker could start now."""
        if not self._ready and not self._installing:
            importlib.invalidate_caches()
            self._ready = self._found()
        return self._ready

    def missing(self, may_wait: bool, algorithm: str = "") -> Unavailable | None:
        """Why a training cannot start now, None when it can (or may wait for the installation).

        Args:
            may_wait: whether it may be queued until the installation is done.
            algorithm: what it trains with, where that is known.
        """
        if self.ready() or (self._installing and may_wait):
            return self._missing_for(algorithm)
        setup = self.setup()
        return Unavailable(
            "the training part is not installed"
            if setup.state != "installing"
            else "the training part is still being installed",
            code="training_unavailable",
            detail=f"Install it with: {setup.command}"
            if setup.state != "installing"
            else "Try again in a minute, or send queue=true.",
            details={"state": setup.state, "command": setup.command, "size_mb": setup.size_mb},
            retry_after_seconds=30,
        )

    @staticmethod
    def _missing_for(algorithm: str) -> Unavailable | None:
        if not algorithm.startswith("sb3:"):
            return None
        importlib.invalidate_caches()
        if importlib.util.find_spec(SB3) is not None:
            return None
        command = shlex.join([_python(), "-m", "pip", "install", *_extra("sb3")])
        return Unavailable(
            "the part for Gymnasium environments (Stable-Baselines3) is not installed",
            code="training_unavailable",
            detail=f"Install it with: {command}",
            details={"state": "missing", "command": command},
        )

    def command(self) -> str:
        """The line that installs the learning part into this environment, ready for a shell."""
        return " && ".join(
            shlex.join([_python(), *step]) for step in (self._first(), self._second())
        )

    async def install(self) -> bool:
        """Install it with pip, in a process of its own; True when trainings can run afterwards."""
        if self.ready():
            return True
        self._installing, self._failed = True, None
        logger.info("installing the training part (about %d MB)", self.setup().size_mb)
        try:
            for step in (self._first(), self._second()):
                code = await self._pip(step)
                if code != 0:
                    self._failed = (
                        "The training part could not be installed: "
                        f"{self._why()} Try by hand: {self.command()}"
                    )
                    logger.error("%s", self._failed)
                    return False
        finally:
            self._installing = False
        return self.ready()

    async def _pip(self, arguments: list[str]) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            async for raw in process.stdout:
                if line := raw.decode(errors="replace").strip():
                    self._tail.append(line[:200])
            return await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise

    def _first(self) -> list[str]:
        # torch by itself first: whatever depends on it must not pull the build with CUDA where
        # there is no such device. pip ranks a +cpu build above a plain one of the same version.
        cpu = [] if has_nvidia() else ["--extra-index-url", CPU_INDEX, "--retries", "1"]
        return ["-m", "pip", "install", *cpu, TORCH]

    @staticmethod
    def _second() -> list[str]:
        return ["-m", "pip", "install", *_extra("train")]

    def _why(self) -> str:
        errors = [line for line in self._tail if "error" in line.lower()]
        last = (errors or list(self._tail) or ["pip said nothing"])[-1]
        return last if last.endswith(".") else f"{last}."

    @staticmethod
    def _found() -> bool:
        return all(importlib.util.find_spec(name) is not None for name in NEEDED)


def _extra(name: str) -> list[str]:
    """The requirements of one of this package's extras, as its installed version says; without
    torch, which is installed by itself first."""
    return [
        requirement.split(";")[0].strip()
        for requirement in importlib.metadata.requires("grandstand") or []
        if f"extra == '{name}'" in requirement.replace('"', "'")
        and not requirement.startswith(("torch", "grandstand"))
    ]


def has_nvidia() -> bool:
    """Whether an NVIDIA driver is there (its device file, or its tool on the path)."""
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def _python() -> str:
    path = Path(sys.executable)
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
