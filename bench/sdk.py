"""The SDK: what `log` costs the training, and how soon a watcher sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.bars import Bar, Run, figure, medians
from bench.client import Load
from bench.ingest import SECTION
from bench.machine import ROOT, cores, pinned
from bench.servers import Server, grandstand, stop

STATES = ("up", "stalled", "down")


class Script:
    """`logging_calls.py` at work.

    Attributes:
        session_id: what it reports to.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.session_id = str(self._answer()["session_id"])

    def begin(self) -> None:
        """Let it log."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """What came of it."""
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the script ended with {self._process.wait()}")
        return dict(json.loads(line))


@contextmanager
def script(server: Server, *arguments: str) -> Iterator[Script]:
    """A training script beside a server."""
    process = subprocess.Popen(
        [
            sys.executable, str(ROOT / "bench" / "logging_calls.py"),
            f"http://127.0.0.1:{server.port}", *arguments,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(server.folder / "script.log").open("wb"),
        text=True,
        preexec_fn=pinned(cores()[1]),
        start_new_session=True,
    )  # fmt: skip
    try:
        yield Script(process)
    finally:
        stop(process)


def measure_log(run: Run) -> None:
    """`log()` of ten metrics while the server is up, stalled, down."""
    calls = run.pick(3000, 20_000)
    worst: dict[str, list[float]] = {"p50": [], "p99": [], "p999": []}
    notes: dict[str, list[str]] = {name: [] for name in worst}
    for state in STATES:
        found = [_calls(state, calls) for _ in range(run.repeats)]
        for name in worst:
            middle = medians([f[name] for f in found])
            worst[name].append(middle)
            notes[name].append(f"{state} {figure(middle)}")
    for name, most, said in (
        ("p50", 10, "≤ 10 µs"),
        ("p99", 40, "≤ 40 µs"),
        ("p999", 1000, "≤ 1 ms"),
    ):
        bad = max(worst[name])
        run.add(
            Bar(
                SECTION,
                f"SDK log() of 10 metrics, {name.replace('p999', 'p99.9')}, worst state",
                said,
                [bad],
                "µs",
                met=bad <= most,
                note=f"server {', '.join(notes[name])}; 0.2 ms of Python work between calls",
            )
        )


def _calls(state: str, calls: int) -> dict[str, float]:
    with grandstand() as server, script(server, "calls", str(calls)) as trainer:
        if state == "stalled":
            os.kill(server.pid, signal.SIGSTOP)
        elif state == "down":
            stop(server.process)
        try:
            trainer.begin()
            told = trainer.end()
        finally:
            if state == "stalled":
                os.kill(server.pid, signal.SIGCONT)
    return dict(told["log"])


def measure_seen(run: Run) -> None:
    """From a `log()` call to the socket of somebody who watches."""
    for name, pause, count, bar in (
        ("a call about every 0.35 s", 0.35, run.pick(20, 150), True),
        ("a call about every 10 ms", 0.01, run.pick(300, 2000), False),
    ):
        p50, p99 = [], []
        for _ in range(run.repeats):
            arguments = ("stamps", str(count), str(pause))
            with grandstand() as server, script(server, *arguments) as trainer:
                watch = f"/ws/{trainer.session_id}?max_hz=0"
                with Load(server, spectators=1, watch=watch) as load:
                    load.begin(count * (pause + 0.001) * 1.1 + 1)
                    trainer.begin()
                    told = load.end()
                    trainer.end()
            seen = told["spectators"]["delay"]
            if seen is None or seen["count"] < 0.9 * count:
                raise RuntimeError(f"{seen and seen['count']} of {count} calls were seen")
            p50.append(seen["p50"] / 1000)
            p99.append(seen["p99"] / 1000)
        asked = ("≤ 10 ms", "≤ 50 ms") if bar else ("–", "–")
        met = (medians(p50) <= 10, medians(p99) <= 50) if bar else (None, None)
        run.add(
            Bar(SECTION, f"log call to a watcher, {name}: p50", asked[0], p50, "ms", met=met[0])
        )
        run.add(
            Bar(SECTION, f"log call to a watcher, {name}: p99", asked[1], p99, "ms", met=met[1])
        )
