"""A series of millions of points is opened, zoomed and taken along without being held."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from .conftest import SESSIONS, Server, count, eventually, told

MOST_GROWTH = 50e6
ROWS = 10_000
SPIKE = 1e6


class Growth:
    """How far a process' memory rises above what it was."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.at_first = self._process.memory_info().rss
        self.bytes = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look again and again while something goes on."""
        done = threading.Event()

        def look() -> None:
            while not done.wait(0.01):
                self.bytes = max(self.bytes, self._process.memory_info().rss - self.at_first)

        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield
        finally:
            done.set()
            looking.join()


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.timeout(900)
def test_a_long_series_opens_zooms_and_is_exported_in_little_memory(server: Server) -> None:
    batches = count(40, 1000)
    total = batches * ROWS
    spike = total // 3
    server.post(SESSIONS, {"training_session_id": "run", "algorithm": "DQN"}, 201)
    draw = random.Random(1)
    begun = time.perf_counter()
    for at in range(0, total, ROWS):
        values = [draw.gauss(0, 1) for _ in range(ROWS)]
        if at <= spike < at + ROWS:
            values[spike - at] = SPIKE
        columns = {"episode": list(range(at, at + ROWS)), "current_reward": values}
        record = {"type": "training_metrics", "columns": columns}
        server.post(f"{SESSIONS}/run/records", {"records": [record]})
    reported = time.perf_counter() - begun
    # What was needed to take it in is no matter here: a fresh server, as one comes back to it.
    server.kill()
    server.start()
    series = f"{SESSIONS}/run/series"
    eventually(lambda: server.get(series, max_points=10), "the tail is in blocks")
    server.get(f"{SESSIONS}/run/history", limit=10)
    bare = psutil.Process(server.pid).memory_info().rss
    # Parquet brings a library of its own into memory, and that one pandas where it is installed,
    # however little is written with it.
    server.post(SESSIONS, {"training_session_id": "small", "algorithm": "DQN"}, 201)
    server.post(f"{SESSIONS}/small/metrics", {"episode": 1, "current_reward": 1.0})
    _stream(server, "parquet", "small")
    growth = Growth(server.pid)
    told(f"loading pyarrow: {(growth.at_first - bare) / 1e6:.0f} MB")

    with growth.watched():
        begun = time.perf_counter()
        whole = server.get(series, metrics="current_reward", max_points=1000)["series"]
        opened = time.perf_counter() - begun
        curve = whole["current_reward"]
        assert curve["points"] == total
        assert len(curve["x"]) <= 1000
        assert max(curve["max"]) == SPIKE
        assert curve["x"][-1] == total - 1
        low, high = 0, total
        while high - low > 500:  # ever closer to the spike
            low, high = low + (spike - low) // 2, high - (high - spike) // 2
            found = server.get(series, **{"from": low, "to": high, "max_points": 1000})
            assert max(found["series"]["current_reward"]["max"]) == SPIKE
        close = found["series"]["current_reward"]
        assert close["count"] == [1] * (high - low + 1)
        assert close["x"][close["last"].index(SPIKE)] == spike
    assert growth.bytes < MOST_GROWTH, f"opening and zooming took {growth.bytes / 1e6:.0f} MB"
    zoomed = growth.bytes

    lines = {}
    for kind in ("csv", "ndjson", "parquet"):
        begun = time.perf_counter()
        with growth.watched():
            lines[kind] = _stream(server, kind)
        assert growth.bytes < MOST_GROWTH, f"{kind} took {growth.bytes / 1e6:.0f} MB"
        told(
            f"export of {total:,} points as {kind}: {time.perf_counter() - begun:.1f} s, "
            f"{growth.bytes / 1e6:.0f} MB so far"
        )
    assert lines["csv"] == total + 1
    assert lines["ndjson"] == total
    told(
        f"{total:,} points taken in in {reported:.0f} s; opened in {opened * 1e3:.0f} ms over "
        f"HTTP; memory grew by {zoomed / 1e6:.0f} MB at most for opening and zooming, "
        f"{growth.bytes / 1e6:.0f} MB with three exports"
    )


def _stream(server: Server, kind: str, session: str = "run") -> int:
    """Read a file to its end without keeping it; how many lines it had."""
    count = 0
    url = f"{SESSIONS}/{session}/export"
    with server.api.stream(
        "GET", url, params={"format": kind, "type": "training_metrics"}, timeout=None
    ) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_bytes():
            count += piece.count(b"\n")
    return count
