"""What a point takes on the disk once housekeeping has packed the log; the log included."""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import bodies
from bench.bars import Bar, Run, figure
from bench.ingest import SECTION
from bench.reading import SESSIONS, Reader
from bench.servers import WORK, Server, grandstand

ROUNDS = {"GRANDSTAND_PERFORMANCE__CLEANUP_INTERVAL_SECONDS": "1"}
"""As often as every second instead of every five minutes: what a round does is the same."""
SETTLE_SECONDS = 600


def measure(run: Run) -> None:
    """Records of 16 fields, and of one metric."""
    random_ = random.Random(11)
    records = run.pick(30_000, 500_000)

    def wide(i: int) -> str:
        return bodies.record(random_, i)

    def narrow(i: int) -> str:
        return f'{{"episode":{i},"loss_value":{random_.uniform(0.01, 0.09)}}}'

    _kind(run, "16-field records", wide, records, bodies.FIELDS, 40)
    _kind(run, "one-metric records", narrow, records, 1, 100)


def _kind(
    run: Run, name: str, make: Callable[[int], str], count: int, points: int, most: float
) -> None:
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as place:
        folder = Path(place)
        with grandstand(folder=folder, **ROUNDS) as server:
            empty = _used(server.database)
            session = server.session(total_episodes=count)
            sent = _fill(server, session, make, count)
            server.ask("POST", f"{SESSIONS}/{session}/finish", {"status": "completed"})
            _settle(server)
        # The server has ended and with it the write-ahead log.
        size = sum(f.stat().st_size for f in folder.glob("training_metrics.db*"))
        used = _used(folder / "training_metrics.db") - empty
    total = count * points
    run.add(
        Bar(
            SECTION,
            f"disk, {name}: bytes a point",
            f"≤ {most}",
            [size / total],
            "bytes",
            met=size / total <= most,
            note=f"{count:,} records in batches of 100; {figure(sent / total)} bytes a point as "
            f"sent; the whole file, of which {100 * used / size:.0f} % is in use",
        )
    )


def _fill(server: Server, session: str, make: Callable[[int], str], count: int) -> int:
    """Report so many records; the bytes of their bodies."""
    reader = Reader(server)
    sent = 0
    for start in range(0, count, 100):
        records = [make(i) for i in range(start, start + 100)]
        sent += sum(map(len, records))
        joined = ",".join(f'{{"type":"training_metrics","data":{record}}}' for record in records)
        body = f'{{"batch_id":"disk-{start}","records":[{joined}]}}'
        reader.ask("POST", f"{SESSIONS}/{session}/records", body.encode())
    return sent


def _used(database: Path) -> int:
    """Bytes of the pages that hold something."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        pages, free, size = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size
    finally:
        connection.close()


def _settle(server: Server) -> None:
    """Wait until rounds of housekeeping change nothing any more."""
    end = time.monotonic() + SETTLE_SECONDS
    last, since = -1, time.monotonic()
    while time.monotonic() < end:
        used = _used(server.database)
        if used != last:
            last, since = used, time.monotonic()
        elif time.monotonic() - since > 5:
            return
        time.sleep(0.5)
    raise RuntimeError(f"housekeeping was not done within {SETTLE_SECONDS} s")
