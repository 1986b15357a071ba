"""What a spectator makes of messages and of ends of connections, without a network."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grandstand.client.watch import COMES_BACK, Event, Feed
from grandstand.errors import Gone, GrandstandError, NotFound, Unauthenticated, Unavailable


def say(feed: Feed, type: str, seq: int | None, **data: Any) -> Event | None:
    told = {"type": type, "seq": seq, "timestamp": "2026-05-01T10:00:00Z", "data": data}
    return feed.hear(json.dumps(told))


def greet(feed: Feed, last: int, status: str = "running") -> None:
    assert "max_hz=0" in feed.path()
    say(
        feed, "connection_status", None, event="snapshot", session={"status": status}, last_seq=last
    )


def test_it_comes_back_after_the_newest_and_drops_what_it_has() -> None:
    feed = Feed("run")
    greet(feed, 4)
    assert say(feed, "training_metrics", 5, episode=1) is not None
    assert feed.closed(1012, "") > 0
    assert "since=5" in feed.path()
    assert say(feed, "training_metrics", 5, episode=1) is None
    assert say(feed, "training_metrics", 6, episode=2) is not None


def test_an_end_in_the_past_is_no_end_and_catching_up_comes_first() -> None:
    feed = Feed("run", since=0)
    greet(feed, 3, "completed")
    assert not feed.over
    say(feed, "connection_status", None, event="recovered", recovered=True, since=0, last_seq=3)
    say(feed, "training_status", 1, event="status", status="stopped")
    assert not feed.over
    say(feed, "training_metrics", 2, episode=1)
    say(feed, "training_status", 3, event="status", status="completed")
    assert feed.over


def test_a_gap_is_told_and_it_goes_on_behind_it() -> None:
    feed = Feed("run", since=2)
    greet(feed, 9)
    lost = {"event": "recovered", "recovered": False, "since": 2, "last_seq": 9}
    told = say(feed, "connection_status", None, **lost)
    assert told is not None
    assert told.data["recovered"] is False
    assert feed.reached == 9


@pytest.mark.parametrize(
    ("code", "failure"),
    [(4401, Unauthenticated), (4404, NotFound), (4410, Gone), (1003, GrandstandError)],
)
def test_some_ends_are_for_good(code: int, failure: type[GrandstandError]) -> None:
    assert code not in COMES_BACK
    with pytest.raises(failure, match="because"):
        Feed("run").closed(code, "because")


def test_it_waits_as_long_as_the_server_says_and_longer_each_time() -> None:
    feed = Feed("run")
    assert feed.closed(4429, "10 seconds: full") > 10
    waits = [feed.closed(1006, "") for _ in range(10)]
    assert waits[0] <= 1.0
    assert 7.5 <= waits[-1] <= 15.0


def test_only_a_server_that_was_there_is_waited_for() -> None:
    feed = Feed("run")
    with pytest.raises(Unavailable):
        feed.unreached("http://nowhere", ConnectionRefusedError("refused"))
    greet(feed, 0)
    assert feed.unreached("http://nowhere", ConnectionRefusedError("refused")) > 0
