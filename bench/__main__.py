"""`make bench`: every bar of telemetry beside a floor or a peer, one line each."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from bench import (
    bus,
    crowd,
    disk,
    fanout,
    ingest,
    integrations,
    learning,
    page,
    ranks,
    reading,
    sdk,
    trackers,
)
from bench.bars import Run, say
from bench.machine import ROOT, cores, describe, load_average
from bench.results import keep

PARTS: dict[str, dict[str, Callable[[Run], None]]] = {
    "live": {
        "fanout": fanout.measure,
        "socketio": crowd.measure_socketio,
        "deaf": crowd.measure_deaf,
        "return": crowd.measure_return,
        "idle": crowd.measure_idle,
        "all": crowd.measure_all,
        "bus": bus.measure,
    },
    "ingest": {
        "single": ingest.single,
        "batch": ingest.batch,
        "postgres": ingest.on_postgres,
        "stream": ingest.stream,
        "log": sdk.measure_log,
        "seen": sdk.measure_seen,
        "disk": disk.measure,
        "trackers": trackers.measure,
    },
    "reading": {
        "zoom": reading.zoom,
        "short": reading.short,
        "list": reading.sessions,
    },
    "page": {
        "frames": page.frames,
        "opens": page.opens,
    },
    "learning": {
        "speed": learning.speed,
        "scores": learning.scores,
        "unseen": learning.unseen,
        "pace": learning.pace,
        "short-run": learning.short,
        "orders": learning.orders,
        "ranks": ranks.measure,
    },
    "integrations": {
        "sb3": integrations.sb3,
    },
}
EVERY = {name: work for parts in PARTS.values() for name, work in parts.items()}


def main() -> int:
    """Exit code 1 when a part failed; missed bars fail nothing."""
    told = _arguments()
    run = Run(told.quick, told.repeats or (2 if told.quick else 3), not told.no_peers)
    os.sched_setaffinity(0, {cores()[1]})  # the server's core is the server's
    about = describe()
    say(f"{about['cpu']}, {about['cores']} cores, load {load_average():.2f}")
    for name in _chosen(told.parts):
        run.section(name, EVERY[name])
    met = sum(bar.met is True for bar in run.bars)
    missed = sum(bar.met is False for bar in run.bars)
    say(f"{met} bars met, {missed} missed, {len(run.failures)} failures")
    say(f"written to {keep(run, about, datetime.now(UTC).date()).relative_to(ROOT)}")
    return 1 if run.failures else 0


def _arguments() -> argparse.Namespace:
    known = "; ".join(f"{group}: {', '.join(parts)}" for group, parts in PARTS.items())
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"which of {known}. None: all")
    parser.add_argument("--quick", action="store_true", help="small counts, to see that it works")
    parser.add_argument("--repeats", type=int, help="how often each figure is taken (3, quick 2)")
    parser.add_argument(
        "--no-peers", action="store_true", help="without other trackers and their .venv-bench"
    )
    told = parser.parse_args()
    if unknown := [name for name in told.parts if name not in EVERY and name not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; there are {known}")
    return told


def _chosen(names: list[str]) -> list[str]:
    """Parts in the order they are given, a group's name standing for all of its parts."""
    chosen: dict[str, None] = {}
    for name in names or PARTS:
        chosen |= dict.fromkeys(PARTS.get(name, [name]))
    return list(chosen)


if __name__ == "__main__":
    sys.exit(main())
