"""Ours and other experiment trackers, put through the same paces (bench/peers/tracker.py)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.bars import Bar, Run, figure, medians, say
from bench.ingest import SECTION
from bench.machine import ROOT, cores, pinned
from bench.servers import WORK

VENV = ROOT / ".venv-bench"
PEERS = {
    # tracker: what pip installs. An environment of their own: their pins are not the project's.
    "trackio": ["trackio"],
    "goodseed": ["goodseed"],
    "tensorboard": ["tensorboard", "tensorboardX"],
    "mlflow": ["mlflow"],
    "aim": ["aim"],
    "wandb_offline": ["wandb"],
}
MOST_BYTES = 10**9
"""A peer that brings more than this is left out."""
INSTALL_SECONDS = 900


def measure(run: Run) -> None:
    """Ours first, then those whose packages install here."""
    ours = [_paces("grandstand", Path(sys.executable), run) for _ in range(run.repeats)]
    trainer = [t["flat"]["trainer_points_per_second"] for t in ours]
    queryable = [t["flat"]["queryable_points_per_second"] for t in ours]
    run.add(
        Bar(
            SECTION,
            "SDK, ten metrics a call flat out: points/s seen by the trainer",
            "≥ 600 k",
            trainer,
            "points/s",
            met=medians(trainer) >= 600_000,
        )
    )
    run.add(
        Bar(
            SECTION,
            "the same, until every point can be queried",
            "≥ 200 k",
            queryable,
            "points/s",
            met=medians(queryable) >= 200_000,
        )
    )
    _line(run, ours[-1], None)
    if not run.peers:
        say("  (peers left out)")
        return
    for name in PEERS:
        problem = install(name)
        if problem is None:
            try:
                _line(run, _paces(name, VENV / "bin" / "python", run), ours[-1])
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                problem = str(error)
        if problem is not None:  # one peer that fails takes no other with it
            run.failures[f"peer {name}"] = problem
            say(f"  {name} is left out: {problem}")


def install(name: str) -> str | None:
    """See that a peer's packages are in `.venv-bench`.

    Returns:
        why they are not, None when they are.
    """
    python = VENV / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    have = _versions(python)
    if all(package.lower() in have for package in PEERS[name]):
        return None
    say(f"  installing {', '.join(PEERS[name])} into {VENV.name}")
    before = _bytes(VENV)
    command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            command + PEERS[name], capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"not installed within {INSTALL_SECONDS} s"
    if done.returncode:
        return f"pip: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'refused'}"
    if (size := _bytes(VENV) - before) > MOST_BYTES:
        return f"brings {size / 1e9:.1f} GB of packages"
    return None


def _versions(python: Path) -> set[str]:
    told = subprocess.run(
        [str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {package["name"].lower() for package in json.loads(told.stdout)}


def _bytes(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink())


def _paces(name: str, python: Path, run: Run) -> dict[str, Any]:
    """One tracker's figures.

    Raises:
        RuntimeError: it failed, with the end of what it printed.
    """
    WORK.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=WORK))
    server_core, client_core = cores()
    paced, flat, seconds = run.pick((2000, 5000, 4), (20_000, 50_000, 20))
    try:
        done = subprocess.run(
            [
                str(python), str(ROOT / "bench" / "peers" / "tracker.py"), name, str(folder),
                str(server_core), str(client_core), str(paced), str(flat), str(seconds), "20000",
            ],
            capture_output=True,
            text=True,
            timeout=600,
            env=_environment(folder),
            preexec_fn=pinned(client_core),
            start_new_session=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path) -> dict[str, str]:
    """A home of its own: no settings, tokens or caches of whoever runs this."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _line(run: Run, told: dict[str, Any], ours: dict[str, Any] | None) -> None:
    log, flat = told["log"], told["flat"]
    against, ratio = "", None
    if ours is not None:
        ratio = ours["flat"]["queryable_points_per_second"] / flat["queryable_points_per_second"]
        against = f"ours {figure(ours['flat']['queryable_points_per_second'])}/s"
    run.add(
        Bar(
            SECTION,
            f"{told['name']} {told['version']}: points/s until they can be queried",
            "–",
            [flat["queryable_points_per_second"]],
            "points/s",
            against,
            ratio,
            None,
            f"trainer sees {figure(flat['trainer_points_per_second'])}/s; log of 10 metrics p50 "
            f"{figure(log['p50'])} µs, p99 {figure(log['p99'])}, p99.9 {figure(log['p999'])}; "
            f"{figure(told['disk_bytes_per_point'])} bytes a point; 20 k points read in "
            f"{figure(medians(told['read_ms']))} ms",
        )
    )
