"""Puts one tracker through the same paces; prints one line of JSON.

    python bench/peers/tracker.py NAME FOLDER SERVER_CORE CLIENT_CORE PACED FLAT SECONDS READ

A tracker is a module in `trackers/` with a class `Tracker`: `open`, `log(step, values)`, `close`
(everything handed over), `points` (how many can be queried now), `read(name)` (one series in full:
how many points came), and `version`.

- PACED calls of `log` with ten metrics, 0.2 ms of a trainer's work between them: what a call costs.
- FLAT calls as fast as they return, at most SECONDS: points a second as the trainer sees it, and
  until the last of them can be queried.
- READ points in one series, read back in full.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

NAMES = (
    "reward/mean", "reward/std", "loss/policy", "loss/value", "loss/entropy",
    "kl", "clip_fraction", "explained_variance", "learning_rate", "steps_per_second",
)  # fmt: skip
POOL = 1024
WAIT_SECONDS = 60


def pool() -> list[dict[str, float]]:
    """Values of ten metrics as a training has them."""
    random_ = random.Random(7)
    return [{name: random_.uniform(0.01, 2) for name in NAMES} for _ in range(POOL)]


def work(numbers: list[float], seconds: float) -> None:
    """Keep the interpreter busy, as a training loop does, until it is time for the next call."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(numbers)


def percentiles(ns: list[int]) -> dict[str, float]:
    """Microseconds."""
    ordered = sorted(ns)
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    found = {k: ordered[min(len(ordered) - 1, int(q * len(ordered)))] / 1e3 for k, q in at.items()}
    return {**found, "max": ordered[-1] / 1e3, "count": len(ordered)}


def paced(
    tracker: Any, values: list[dict[str, float]], calls: int, limit: float, first: int = 0
) -> list[int]:
    """What each call of `tracker.log(step, values)` took, in nanoseconds."""
    numbers = [float(i) for i in range(200)]
    took = []
    end = time.perf_counter() + limit
    for step in range(first, first + calls):
        row = values[step % POOL]
        begun = time.perf_counter_ns()
        tracker.log(step, row)
        took.append(time.perf_counter_ns() - begun)
        work(numbers, 0.0002)
        if time.perf_counter() > end:
            break
    return took


def disk_bytes(folder: Path) -> int:
    """Everything a tracker has written."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def flat(tracker: Any, values: list[dict[str, float]], first: int, calls: int, limit: float) -> Any:
    """Points a second to the trainer, and until everything can be queried.

    Args:
        first: calls made before, all with as many metrics.
    """
    begun = time.perf_counter()
    end = begun + limit
    done = 0
    while done < calls:
        tracker.log(first + done, values[done % POOL])
        done += 1
        if not done % 16 and time.perf_counter() > end:
            break
    seen = time.perf_counter() - begun
    tracker.close()
    wanted, have = (first + done) * len(NAMES), tracker.points()
    while have < wanted and time.perf_counter() < begun + seen + WAIT_SECONDS:
        time.sleep(0.05)
        have = tracker.points()
    queryable = time.perf_counter() - begun
    if have < wanted:
        raise RuntimeError(f"{have} of {wanted} points after {WAIT_SECONDS} s")
    return {
        "calls": done,
        "trainer_points_per_second": done * len(NAMES) / seen,
        "queryable_points_per_second": done * len(NAMES) / queryable,
    }


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    server_core, client_core, calls, flat_calls = map(int, sys.argv[3:7])
    seconds, read_points = float(sys.argv[7]), int(sys.argv[8])
    os.sched_setaffinity(0, {client_core})
    sys.path.insert(0, str(Path(__file__).parent))
    tracker = importlib.import_module(f"trackers.{name}").Tracker(folder, server_core)
    values = pool()
    told: dict[str, Any] = {"name": name, "version": tracker.version}
    try:
        tracker.open("paces")
        took = paced(tracker, values, calls, seconds)
        # What is made at the first calls is no call's cost.
        told["log"] = percentiles(took[min(20, len(took) // 2) :])
        told["flat"] = flat(tracker, values, len(took), flat_calls, seconds)
        told["disk_bytes_per_point"] = disk_bytes(tracker.data) / tracker.points()
        if read_points:
            tracker.open("curve")
            tracker.fill("curve", read_points)
            tracker.close()
            reads = []
            for _ in range(5):
                begun = time.perf_counter()
                count = tracker.read("curve")
                reads.append(1000 * (time.perf_counter() - begun))
                if count != read_points:
                    raise RuntimeError(f"{count} of {read_points} points came back")
            told["read_ms"] = reads
    finally:
        tracker.shut()
    sys.stdout.write("\n" + json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
