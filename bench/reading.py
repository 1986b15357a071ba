"""Reading: curves at any zoom, whole series, and the list of sessions."""

from __future__ import annotations

import http.client
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.bars import Bar, Run, figure, medians, say
from bench.servers import WORK, Server, grandstand

SECTION = "Reading"
SESSIONS = "/api/training/sessions"
METRIC = "loss_value"
ROWS = 10_000
"""Rows of a columnar batch, the most the server takes at once."""
SPIKE = 1e6


class Reader:
    """A keep-alive connection that measures."""

    def __init__(self, server: Server | int) -> None:
        port = server if isinstance(server, int) else server.port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[float, bytes]:
        """Seconds from the request to the last byte of the answer, and the answer."""
        head = {"Content-Type": "application/json"} if body is not None else {}
        begun = time.perf_counter()
        self._connection.request(method, path, body, head)
        answer = self._connection.getresponse()
        told = answer.read()
        took = time.perf_counter() - begun
        if not 200 <= answer.status < 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {told[:300]!r}")
        return took, told

    def get(self, path: str) -> tuple[float, bytes]:
        """The same for GET."""
        return self.ask("GET", path)


def fill(server: Server, points: int) -> tuple[str, int]:
    """A session with one long series of random doubles; its id, and the row with a spike."""
    session = server.session(total_episodes=points)
    reader = Reader(server)
    random_ = np.random.default_rng(points)
    spike = int(points * 0.377)
    for start in range(0, points, ROWS):
        values = random_.standard_normal(min(ROWS, points - start))
        if start <= spike < start + len(values):
            values[spike - start] = SPIKE
        columns = {
            "episode": list(range(start, start + len(values))),
            METRIC: values.tolist(),
        }
        batch = {
            "batch_id": f"fill-{start}",
            "records": [{"type": "training_metrics", "columns": columns}],
        }
        reader.ask("POST", f"{SESSIONS}/{session}/records", json.dumps(batch).encode())
    return session, spike


def zoom(run: Run) -> None:
    """A million points and ten, to a thousand buckets, and in full."""
    small, large = run.pick((100_000, 1_000_000), (1_000_000, 10_000_000))
    asked = run.pick(15, 60)
    with tempfile.TemporaryDirectory(dir=_work()) as folder:
        with grandstand(folder=Path(folder)) as server:
            begun = time.perf_counter()
            filled = {n: fill(server, n) for n in (small, large)}
            rate = (small + large) / (time.perf_counter() - begun)
            say(f"  (filled {figure(small + large)} points at {figure(rate)}/s)")
            for session, _ in filled.values():
                _settled(server, session)
        zooms: dict[int, list[float]] = {}
        whole: dict[int, list[float]] = {small: [], large: []}
        full: list[float] = []
        for repeat in range(run.repeats):
            # Cold: a new process, and no range is asked for twice.
            for points in (small, large):
                with grandstand(folder=Path(folder)) as server:
                    session, spike = filled[points]
                    reader = Reader(server)
                    reader.get(SESSIONS)  # the first request of a process is not the series' cost
                    took, told = reader.get(_series(session))
                    whole[points].append(1000 * took)
                    _check(json.loads(told)["series"][METRIC], points, spike)
                    zooms.setdefault(points, []).append(
                        medians(_zooms(reader, session, points, asked, repeat))
                    )
                    if points == 1_000_000:
                        full.append(reader.get(f"{_series(session)}&max_points=1000000")[0])
    p50 = zooms[small]
    run.add(
        Bar(
            SECTION,
            f"{figure(small)}-point series to 1000 buckets, any zoom, cold: p50",
            "≤ 20 ms",
            p50,
            "ms",
            met=medians(p50) <= 20,
            note=f"whole series, first question of a new process: "
            f"{figure(medians(whole[small]))} ms",
        )
    )
    ratio = medians(zooms[large]) / medians(p50)
    run.add(
        Bar(
            SECTION,
            f"{figure(large)} points against {figure(small)}",
            "≤ 1.5 ×",
            zooms[large],
            "ms",
            f"{figure(medians(p50))} ms",
            ratio,
            ratio <= 1.5,
            f"whole series, first question: {figure(medians(whole[large]))} ms",
        )
    )
    met = medians(full) <= 1
    run.add(Bar(SECTION, "1 M points in full, columnar", "≤ 1 s", full, "s", met=met))


def _zooms(reader: Reader, session: str, points: int, count: int, seed: int) -> list[float]:
    """Milliseconds of questions for ranges of every width, none asked before."""
    random_ = random.Random(seed)
    took = []
    for _ in range(count):
        width = int(points * 10 ** random_.uniform(-2.5, 0))
        start = random_.randrange(points - width + 1)
        seconds, told = reader.get(f"{_series(session)}&from={start}&to={start + width}")
        assert b'"max"' in told
        took.append(1000 * seconds)
    return took


def _check(columns: dict[str, Any], points: int, spike: int) -> None:
    """What was asked for is what came: every point counted, the one spike seen."""
    if sum(columns["count"]) != points or len(columns["x"]) > 1000:
        raise RuntimeError(f"{sum(columns['count'])} of {points} points in the answer")
    where = max(range(len(columns["max"])), key=columns["max"].__getitem__)
    if columns["max"][where] != SPIKE or not columns["x"][where - 1] < spike <= columns["x"][where]:
        raise RuntimeError("the spike is not where it was put")


def short(run: Run) -> None:
    """Twenty thousand points, all of them."""
    points = 20_000
    took = []
    with grandstand() as server:
        session, _ = fill(server, points)
        _settled(server, session)
        reader = Reader(server)
        reader.get(SESSIONS)
        path = f"{_series(session)}&max_points=100000"
        for _ in range(run.pick(5, 20) * run.repeats):
            seconds, told = reader.get(path)
            took.append(1000 * seconds)
        if len(json.loads(told)["series"][METRIC]["x"]) != points:
            raise RuntimeError("not every point came")
    met = medians(took) <= 30
    run.add(Bar(SECTION, "20 k-point series in full", "≤ 30 ms", took, "ms", met=met))


def sessions(run: Run) -> None:
    """The list of sessions."""
    count = run.pick(1_000, 10_000)
    algorithms = ("ppo", "sac", "dqn", "hierarchical-ppo")
    with grandstand() as server:
        _crowd(server, count, algorithms)
        reader = Reader(server)
        questions = {
            "filtered and sorted": "status=completed,running&algorithm=ppo&sort=-created_at",
            "searched and tagged": "status=all&tag=sweep-3&q=run+1&sort=name",
            "page 5 of all": None,
        }
        found: dict[str, list[float]] = {}
        for name, query in questions.items():
            if query is None:
                cursor = ""
                for _ in range(4):
                    told = json.loads(reader.get(f"{SESSIONS}?status=all{cursor}")[1])
                    cursor = f"&cursor={told['next_cursor']}"
                query = f"status=all{cursor}"
            times = [reader.get(f"{SESSIONS}?{query}") for _ in range(run.pick(20, 100))]
            found[name] = [1000 * seconds for seconds, _ in times]
            say(f"  ({name}: {json.loads(times[0][1])['total']} of {count})")
    worst = max(found, key=lambda name: medians(found[name]))
    each = ", ".join(f"{name} {figure(medians(ms))}" for name, ms in found.items())
    run.add(
        Bar(
            SECTION,
            f"sessions list with {count:,} sessions, the slowest question: p50",
            "≤ 30 ms",
            [medians(found[worst])],
            "ms",
            met=medians(found[worst]) <= 30,
            note=f"100 a page, p50 in ms: {each}",
        )
    )


def _crowd(server: Server, count: int, algorithms: tuple[str, ...]) -> None:
    """Sessions as a year of sweeps leaves them: each with figures, two thirds ended."""

    def some(start: int) -> None:
        reader = Reader(server)
        for i in range(start, count, 4):
            made = {
                "algorithm": algorithms[i % len(algorithms)],
                "name": f"run {i}",
                "tags": [f"sweep-{i % 20}", "bench"],
                "config": {"learning_rate": 0.0003, "seed": i, "layers": [64, 64]},
                "total_episodes": 10_000,
            }
            told = reader.ask("POST", SESSIONS, json.dumps(made).encode())[1]
            session = json.loads(told)["session_id"]
            figures = {"episode": i, "current_reward": i * 0.37, "win_rate": i % 100}
            reader.ask("POST", f"{SESSIONS}/{session}/metrics", json.dumps(figures).encode())
            if i % 3:
                reader.ask("POST", f"{SESSIONS}/{session}/finish", b'{"status":"completed"}')

    _together([partial(some, start) for start in range(4)])


def _together(jobs: list[Callable[[], None]]) -> None:
    problems: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # raised again below, in the caller's thread
            problems.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def _series(session: str) -> str:
    return f"{SESSIONS}/{session}/series?metrics={METRIC}"


def _settled(server: Server, session: str) -> None:
    """Ask once, which brings the series up to date with everything committed."""
    Reader(server).get(_series(session))


def _work() -> Path:
    WORK.mkdir(exist_ok=True)
    return WORK
