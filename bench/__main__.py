"""`make bench`: every bar of telemetry beside a floor or a peer, one line each."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from bench import crowd, fanout, ingest, reading
from bench.bars import Run, say
from bench.machine import ROOT, cores, describe, load_average
from bench.results import keep

SECTIONS: dict[str, Callable[[Run], None]] = {
    "fanout": fanout.measure,
    "socketio": crowd.measure_socketio,
    "deaf": crowd.measure_deaf,
    "return": crowd.measure_return,
    "idle": crowd.measure_idle,
    "all": crowd.measure_all,
    "ingest": ingest.measure,
    "reading": reading.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument(
        "sections",
        nargs="*",
        choices=[[], *SECTIONS],
        metavar="section",
        help=f"which: {', '.join(SECTIONS)} (all)",
    )
    parser.add_argument("--quick", action="store_true", help="small counts, to see that it works")
    parser.add_argument("--repeats", type=int, help="how often each figure is taken")
    parser.add_argument("--no-peers", action="store_true", help="leave out peers of .venv-bench")
    told = parser.parse_args()
    run = Run(told.quick, told.repeats or (2 if told.quick else 5), not told.no_peers)
    os.sched_setaffinity(0, {cores()[1]})  # the server's core is the server's
    about = describe()
    say(f"{about['cpu']}, {about['cores']} cores, load {load_average():.2f}")
    for name in told.sections or SECTIONS:
        run.section(name, SECTIONS[name])
    say(f"written to {keep(run, about, datetime.now(UTC).date()).relative_to(ROOT)}")
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
