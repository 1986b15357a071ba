"""The machine: what is installed on it, how large it is, how quick its disk."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Final

import psutil

import grandstand
from grandstand.doctor.finding import Finding, size
from grandstand.errors import GrandstandError
from grandstand.launch.runtime import Runtime
from grandstand.model.cores import usable_cores
from grandstand.settings import Settings
from grandstand.store.examine import place_of

EXTRAS: Final = {
    "train": ("torch", "numba", "gymnasium"),
    "sb3": ("stable_baselines3",),
    "postgres": ("psycopg",),
    "redis": ("redis",),
    "ray": ("ray",),
    "export": ("pyarrow",),
}
"""What each optional part brings; its modules tell whether it is there."""
LITTLE_BYTES, TIGHT_BYTES = 500 * 10**6, 5 * 10**9
SLOW_FSYNC_SECONDS = 0.03
FSYNCS = 20
TORCH_SECONDS = 90.0
SPARE_FILES = 256
TORCH: Final = """
import torch
cuda = torch.cuda.is_available()
print(torch.__version__, torch.get_num_threads(), torch.cuda.get_device_name(0) if cuda else "",
      sep="|")
"""


def examine_machine(settings: Settings) -> Iterator[Finding]:
    """Everything that needs no other program."""
    yield from _extras(settings)
    yield from _torch(settings)
    yield from _machine(settings)
    yield from _disk(settings)
    yield from _page()


def python() -> Finding:
    """What runs this."""
    return Finding(
        "python",
        "ok",
        f"Grandstand {grandstand.__version__} on Python {platform.python_version()}, "
        f"{platform.platform()}",
    )


def _extras(settings: Settings) -> Iterator[Finding]:
    there = {
        name: all(importlib.util.find_spec(module) is not None for module in modules)
        for name, modules in EXTRAS.items()
    }
    yield Finding(
        "parts",
        "ok",
        f"installed: {', '.join(n for n, has in there.items() if has) or 'none'}; "
        f"not: {', '.join(n for n, has in there.items() if not has) or 'none'}",
    )
    here = settings.training.launcher == "local" and settings.training.max_concurrent_trainings
    if here and not there["train"]:
        yield Finding(
            "training",
            "warn",
            "the training part (PyTorch) is missing: this machine records, but trains nothing",
            f"{Runtime().command()} — or set training.max_concurrent_trainings to 0",
        )


def _torch(settings: Settings) -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        return
    try:  # in a process of its own: a broken one may take it down
        done = subprocess.run(  # noqa: S603 - this Python
            [sys.executable, "-c", TORCH], capture_output=True, text=True, timeout=TORCH_SECONDS
        )
    except subprocess.TimeoutExpired:
        yield Finding("torch", "warn", f"PyTorch does not load within {TORCH_SECONDS:g} s")
        return
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        yield Finding("torch", "fail", f"PyTorch does not load: {why}", "Install it anew.")
        return
    version, threads, gpu = done.stdout.strip().split("|")
    told = f"PyTorch {version}, {threads} threads (workers use "
    told += f"{settings.training.threads_per_worker}), {gpu or 'no GPU'}"
    yield Finding("torch", "ok", told)


def _machine(settings: Settings) -> Iterator[Finding]:
    cores, memory = usable_cores(), psutil.virtual_memory()
    told = f"{cores} cores, {size(memory.total)} of memory, {size(memory.available)} free"
    training = settings.training
    wanted = training.max_concurrent_trainings * training.threads_per_worker
    if training.launcher == "local" and wanted > cores:
        yield Finding(
            "machine",
            "warn",
            f"{told}; trainings may use {wanted} threads",
            "Lower training.max_concurrent_trainings or training.threads_per_worker.",
        )
    elif memory.available < LITTLE_BYTES:
        yield Finding("machine", "warn", told, "A training takes some 500 MB.")
    else:
        yield Finding("machine", "ok", told)
    with contextlib.suppress(ImportError):  # there is none on Windows
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = settings.performance.max_total_connections
        if files != resource.RLIM_INFINITY and files < most + SPARE_FILES:
            yield Finding(
                "files",
                "warn",
                f"{files} files may be open, fewer than {most} live connections need",
                f"ulimit -n {2 * most + SPARE_FILES} (systemd: LimitNOFILE=), or lower "
                "performance.max_total_connections.",
            )


def _disk(settings: Settings) -> Iterator[Finding]:
    folders = {settings.data_storage_path: "data_storage_path"}
    folders.setdefault(settings.resolved_models_dir(), "models_dir")
    if settings.database.enabled and (file := _file(settings)) is not None:
        folders.setdefault(file.parent, "the database")
    seen: set[Path] = set()
    for folder, what in folders.items():
        place = folder.absolute()
        while not place.is_dir() and place != place.parent:
            place = place.parent
        if place in seen:
            continue
        seen.add(place)
        try:
            seconds = _fsync_seconds(place)
        except OSError as error:
            yield Finding(
                "disk",
                "fail",
                f"{place} ({what}) cannot be written to: {error.strerror}",
                "Change its owner or mode, or choose another place.",
            )
            continue
        free = shutil.disk_usage(place).free
        told = f"{place}: {size(free)} free, {seconds * 1000:.1f} ms until a write is on disk"
        if free < LITTLE_BYTES:
            yield Finding("disk", "fail", told, "Make room: a full disk stores no record.")
        elif free < TIGHT_BYTES:
            yield Finding("disk", "warn", told, "Make room, or set retention.…; see settings.md.")
        elif seconds > SLOW_FSYNC_SECONDS:
            yield Finding(
                "disk",
                "warn",
                told,
                "Reporters wait as long for each answer; a local SSD is quick.",
            )
        else:
            yield Finding("disk", "ok", told)


def _fsync_seconds(folder: Path) -> float:
    """The median time a small write takes until it is on disk."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(FSYNCS):
            begun = perf_counter()
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append(perf_counter() - begun)
    return statistics.median(times)


def _file(settings: Settings) -> Path | None:
    try:
        return place_of(settings.resolved_database_url())
    except GrandstandError:
        return None  # said when the database is looked at


def _page() -> Iterator[Finding]:
    if (Path(grandstand.__file__).parent / "web" / "dist" / "index.html").is_file():
        yield Finding("page", "ok", "built")
    else:
        advice = "Install without SKIP_WEB=1, or run make page in a checkout."
        yield Finding("page", "warn", "it was not built: the server has its API only", advice)
