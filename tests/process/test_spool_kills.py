"""A server killed under a reporter, and a reporter killed under a server that is away: nothing of
what was on disk is lost, and nothing is stored twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from grandstand.client.spool import Left, spools_in
from grandstand.client.sync import sync
from grandstand.client.transport import HttpTransport

from .conftest import SESSIONS, Server, count, eventually, told

RECORDS = count(6_000, 100_000)
AWAY_SECONDS = count(2, 60)

REPORTER = """
import sys, time
import grandstand
records, seconds = int(sys.argv[1]), float(sys.argv[2])
session = grandstand.open_session("run", algorithm="DQN")
began, slowest = time.perf_counter(), 0.0
for i in range(1, records + 1):
    before = time.perf_counter()
    session.log({"current_reward": float(i), "loss_value": i / 7}, episode=i)
    slowest = max(slowest, time.perf_counter() - before)
    if i == records // 4:
        print("a quarter", flush=True)
    due = began + seconds * i / records
    while time.perf_counter() < due:
        time.sleep(min(0.002, max(due - time.perf_counter(), 0)))
print(f"logged {slowest * 1000:.1f}", flush=True)
sys.stdin.readline()
assert session.finish(timeout=120) is (sys.argv[3] == "known")
print("finished", flush=True)
"""


@contextmanager
def reporter(server: Server, seconds: float, end: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", REPORTER, str(RECORDS), str(seconds), end],
        cwd=server.home,
        env={
            "GRANDSTAND_URL": server.url,
            "GRANDSTAND_SPOOL": str(spool(server)),
            "PYTHONPATH": ":".join(sys.path),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()


def spool(server: Server) -> Path:
    return server.home / "spool"


def said(process: subprocess.Popen[str], start: str) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line.startswith(start), line
    return line.removeprefix(start).strip()


def stored(server: Server) -> list[int]:
    episodes, cursor = [], None
    while True:
        more = {"cursor": cursor} if cursor else {}
        page = server.get(f"{SESSIONS}/run/history", type="training_metrics", limit=10_000, **more)
        episodes += [row["episode"] for row in page["metrics_data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return episodes


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.timeout(600)
def test_a_server_killed_in_the_middle_of_a_run_costs_nothing(server: Server) -> None:
    with reporter(server, AWAY_SECONDS * 1.5 + 4.0, "known") as script:
        said(script, "a quarter")
        server.kill()
        # It is away while the run goes on, for as long as the proof wants.
        threading.Event().wait(AWAY_SECONDS)
        waiting = sum(bytes_in(spool(server)))
        server.start()
        slowest = said(script, "logged")
        # It ends with the server back, however long that took to start.
        assert script.stdin is not None
        script.stdin.write("end\n")
        script.stdin.flush()
        said(script, "finished")
        assert script.wait(30) == 0
    assert stored(server) == list(range(1, RECORDS + 1))
    assert server.session("run")["status"] == "completed"
    assert not spool(server).exists()
    told(
        f"server away for {AWAY_SECONDS} s in a run of {RECORDS:,} records: {waiting:,} bytes "
        f"waited on disk, each record stored once; the slowest log() took {slowest} ms"
    )


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.timeout(600)
def test_a_reporter_killed_while_the_server_is_away_loses_only_what_was_not_on_disk(
    server: Server,
) -> None:
    for attempt in range(count(2, 20)):
        with reporter(server, 2.0 + AWAY_SECONDS / 10, "unknown") as script:
            said(script, "a quarter")
            server.kill()
            eventually(lambda: spools_in(spool(server)), "records on disk")
            threading.Event().wait(0.1 + attempt * 0.05)
            script.send_signal(signal.SIGKILL)
            script.wait(30)
        server.start()
        before = stored(server)
        (folder,) = spools_in(spool(server))
        with Left(folder) as left:
            rows = left.rows()
        (result,) = sync(spool(server), HttpTransport, url=server.url)
        assert result.why is None
        assert result.sent == rows > 0
        found = stored(server)
        # Everything up to the last one on disk, each once; perhaps one batch was sent before.
        assert found == list(range(1, len(found) + 1))
        assert len(before) < len(found) <= len(before) + rows
        assert not spool(server).exists() or not spools_in(spool(server))
        server.api.delete(f"{SESSIONS}/run?force=true").raise_for_status()
        told(f"killed with {rows:,} rows on disk: {len(before):,} + {len(found) - len(before):,}")


def bytes_in(folder: Path) -> list[int]:
    """Bytes that wait, by spool."""
    return [(one / "records.bin").stat().st_size for one in spools_in(folder)]
