"""Jobs: claimed in their order, each by one supervisor, however many ask at once."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from grandstand.store import jobs
from grandstand.store.database import Database
from grandstand.store.jobs import JobKind, JobStatus
from grandstand.store.sessions import remove

from .conftest import POSTGRES, make_session

AT = datetime(2026, 1, 1, tzinfo=UTC)


async def add(database: Database, kind: JobKind = JobKind.TRAIN, **more: Any) -> int:
    return await database.write(lambda c: jobs.add(c, kind, AT, {"n": 1}, **more))


async def claim(database: Database, kind: JobKind = JobKind.TRAIN) -> int | None:
    job = await database.write(lambda c: jobs.claim(c, kind, "me", AT))
    return job.id if job is not None else None


async def test_the_most_urgent_is_claimed_first_and_then_the_oldest(database: Database) -> None:
    low = await add(database, priority=-1)
    first, second = await add(database), await add(database)
    high = await add(database, priority=5)
    other = await add(database, JobKind.EVALUATE, priority=9)
    waiting = await database.read(lambda c: jobs.in_status(c, JobStatus.QUEUED))
    assert [job.id for job in waiting] == [other, high, first, second, low]
    claimed = [await claim(database) for _ in range(5)]
    assert claimed == [high, first, second, low, None]
    assert await claim(database, JobKind.EVALUATE) == other
    count = await database.read(lambda c: jobs.count(c, JobKind.TRAIN, JobStatus.CLAIMED))
    assert count == 4


async def test_a_job_tells_of_its_session_and_its_claim(database: Database) -> None:
    reporter = await make_session(database, attempt=3)
    made = await add(database, session_pk=reporter.pk, priority=2)
    job = await database.write(lambda c: jobs.claim(c, JobKind.TRAIN, "me", AT))
    assert job is not None
    assert (job.session_id, job.attempt, job.priority, job.payload) == ("run-1", 3, 2, {"n": 1})
    assert (job.status, job.claimed_by, job.heartbeat_at) == (JobStatus.CLAIMED, "me", AT)
    handle = "pid 4242 1700000000.1234567"
    await database.write(lambda c: jobs.change(c, made, handle=handle))
    again = await database.read(lambda c: jobs.of_session(c, reporter.pk))
    assert again is not None
    assert (again.id, again.handle) == (made, handle)


async def test_supervisors_that_ask_at_once_never_get_the_same(opening: Any) -> None:
    url = opening.create()
    servers = [Database.open(url) for _ in range(4)]
    try:
        for _ in range(60):
            await add(servers[0])
        taken: list[tuple[int, int]] = []
        start = threading.Barrier(len(servers))

        def supervise(number: int, database: Database) -> None:
            start.wait(10)
            while True:
                with _writing(database) as connection:
                    job = jobs.claim(connection, JobKind.TRAIN, f"server {number}", AT)
                if job is None:
                    return
                taken.append((job.id, number))

        threads = [
            threading.Thread(target=supervise, args=(i, database))
            for i, database in enumerate(servers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        times = Counter(job for job, _ in taken)
        assert len(times) == 60
        assert set(times.values()) == {1}
        stored = await servers[0].read(lambda c: jobs.in_status(c, JobStatus.CLAIMED))
        assert {(job.id, job.claimed_by) for job in stored} == {
            (job, f"server {number}") for job, number in taken
        }
    finally:
        for database in servers:
            await database.aclose()
        opening.drop(url)


@POSTGRES
async def test_a_claim_that_is_not_committed_yet_is_stepped_over(postgres_url: str) -> None:
    """SQLite has one writer: there a second claim waits for the first."""
    database = Database.open(postgres_url)
    try:
        first, second = await add(database), await add(database)
        with _writing(database) as connection:
            held = jobs.claim(connection, JobKind.TRAIN, "slow", AT)
            assert held is not None
            assert held.id == first
            assert await claim(database) == second
            assert await claim(database) is None
    finally:
        await database.aclose()


def _writing(database: Database) -> Any:
    engine = database.engine.execution_options(grandstand_writes=True)
    return engine.begin()


async def test_deleting_a_session_takes_its_job_along(database: Database) -> None:
    reporter = await make_session(database)
    job = await add(database, session_pk=reporter.pk)

    def gone(connection: Connection) -> Any:
        remove(connection, reporter.pk)
        return jobs.get(connection, job)

    assert await database.write(gone) is None
