"""Lists of sessions over every database: counted, searched, sorted, a page at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from grandstand.model.session import Status
from grandstand.store.database import Database
from grandstand.store.session_list import SORTS, Page, listing

from .conftest import make_session

STATUSES = ["running", "completed", "queued", "failed", "paused", "running", "lost"]


@pytest.fixture
async def listed(database: Database) -> Callable[..., Any]:
    """Asks for a page out of one session of each of `STATUSES`, s0 the oldest."""
    for i, status in enumerate(STATUSES):
        tags = ["100%", "ü"] if i % 2 else []
        await make_session(database, f"s{i}", status=status, tags=tags, current_episode=i % 3)

    async def ask(**filters: Any) -> Page:
        return await database.read(lambda connection: listing(connection, **filters))

    return ask


async def test_every_status_is_counted_whichever_is_asked_for(listed: Any) -> None:
    page = await listed(statuses=[Status.FAILED])
    assert page.total == 1
    assert page.counts == {Status(s): STATUSES.count(s) for s in STATUSES}
    tagged = await listed(tag="ü")
    assert tagged.counts == {Status.COMPLETED: 1, Status.FAILED: 1, Status.RUNNING: 1}
    assert (tagged.total, [s.session_id for s in tagged.sessions]) == (1, ["s5"])
    assert (await listed(statuses=[], q="100%")).total == 3
    assert (await listed(statuses=[], q="nothing")).counts == {}


async def test_what_moves_comes_before_what_waits_and_what_rests(listed: Any) -> None:
    page = await listed(statuses=[], sort="-activity")
    assert [s.session_id for s in page.sessions] == ["s5", "s4", "s0", "s2", "s6", "s3", "s1"]


@pytest.mark.parametrize("sort", [*SORTS, *(f"-{key}" for key in SORTS)])
async def test_pages_of_any_order_hold_every_session_once(listed: Any, sort: str) -> None:
    whole = [s.session_id for s in (await listed(statuses=[], sort=sort)).sessions]
    assert sorted(whole) == [f"s{i}" for i in range(len(STATUSES))]
    seen: list[str] = []
    page = await listed(statuses=[], sort=sort, limit=2)
    while True:
        seen += [s.session_id for s in page.sessions]
        if page.next_cursor is None:
            break
        page = await listed(statuses=[], sort=sort, limit=2, cursor=page.next_cursor)
    assert seen == whole
