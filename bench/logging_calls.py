"""A training script that logs; run by `bench.sdk` in a process of its own, on the client's core.

    python bench/logging_calls.py URL calls COUNT        what `log` of ten metrics costs the caller
    python bench/logging_calls.py URL stamps COUNT SECONDS   log the moment, about every SECONDS

Prints the session's id, waits for a line on standard input, does its work and prints JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from tracker import paced, percentiles, pool

import grandstand

STAMP_BASE = 10**15
"""See bench/load/load.h."""


def main() -> None:
    url, mode, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    session = grandstand.open_session(algorithm="bench", url=url)
    values = pool()
    for step in range(20):
        session.log(values[step], step=step)
    session.flush()
    say({"session_id": session.session_id})
    sys.stdin.readline()
    if mode == "calls":
        took = paced(_Steps(session), values, count, 600, first=20)
        say({"log": percentiles(took), "dropped": session.dropped})
        # Not by the usual end, which would wait for a server that is gone.
        sys.stdout.flush()
        os._exit(0)
    pause = float(sys.argv[4])
    for step in range(count):
        row = {**values[step % len(values)], "current_reward": now()}
        session.log(row, step=20 + step)
        time.sleep(pause * random.uniform(0.8, 1.2))
    session.finish()
    say({"logged": count, "dropped": session.dropped})


class _Steps:
    """The order of arguments that `paced` calls with; as much of a call for every tracker."""

    def __init__(self, session: grandstand.Session) -> None:
        self._session = session

    def log(self, step: int, values: dict[str, float]) -> None:
        self._session.log(values, step=step)


def now() -> int:
    """The machine's monotonic clock in microseconds, as the load client reads it back."""
    return STAMP_BASE + time.monotonic_ns() // 1000


def say(told: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
