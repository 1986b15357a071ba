"""The sender: nothing lost, nothing twice, nobody held up."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from grandstand.client.client import Client
from grandstand.client.session import Session
from grandstand.client.transport import HttpTransport

from .conftest import RecordingServer


def attach(server: RecordingServer, **options: Any) -> Session:
    return Session(HttpTransport(server.url), "s", **options)


def test_everything_logged_arrives_once_and_in_order(server: RecordingServer) -> None:
    session = attach(server)
    for i in range(5000):
        session.log({"current_reward": float(i), "x": i}, episode=i)
    assert session.flush(20)
    assert [r["episode"] for r in server.rows()] == list(range(5000))
    assert session.sent == 5000
    assert session.dropped == 0
    assert len(server.batches) < 50


def test_a_first_record_does_not_wait_for_company(server: RecordingServer) -> None:
    session = attach(server)
    session.log({"a": 1})
    server.wait_for(lambda: len(server.batches) == 1)
    assert server.batches[0].count == 1


def test_a_failed_batch_is_repeated_with_the_same_id(server: RecordingServer) -> None:
    failures = iter([(503, {"error": "unavailable", "message": "starting", "retry_after": 0})] * 3)
    server.script = lambda method, path, body: next(failures, None)
    session = attach(server)
    session.log({"a": 1})
    assert session.flush(20)
    ids = {body["batch_id"] for body in server.posted("/records")}
    assert len(server.posted("/records")) == 4
    assert len(ids) == 1
    assert len(server.rows()) == 1


def test_a_lost_answer_does_not_store_twice(server: RecordingServer) -> None:
    lost = iter([True, True])

    def script(method: str, path: str, body: Any) -> Any:
        if next(lost, False):
            # Stored, but the reporter hears of a failure.
            server._ids.add(body["batch_id"])
            return 500, {"error": "internal_error", "message": "broken"}
        return None

    server.script = script
    session = attach(server)
    session.log({"a": 1})
    assert session.flush(20)
    assert server.rows() == []  # the id was known when it came again


def test_the_server_away_and_back(
    server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    session = attach(server)
    with caplog.at_level(logging.INFO, "grandstand.client"):
        for i in range(200):
            session.log({"a": i}, episode=i)
        assert not session.flush(0.1)
        assert session.away_since is not None
        server.start()
        assert session.flush(20)
    assert [r["episode"] for r in server.rows()] == list(range(200))
    assert session.away_since is None
    assert sum("records are kept" in r.message for r in caplog.records) == 1


def test_a_full_buffer_drops_the_oldest_with_one_warning(
    server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    session = attach(server, limit=100)
    for i in range(1000):
        session.log({"a": i}, episode=i)
    assert session.dropped > 0
    server.start()
    assert session.flush(20)
    kept = [r["episode"] for r in server.rows()]
    assert kept[-100:] == list(range(900, 1000))
    assert len(kept) + session.dropped == 1000
    assert sum("oldest are dropped" in r.message for r in caplog.records) == 1


@pytest.mark.slow
def test_lossless_holds_the_caller_back_instead(server: RecordingServer) -> None:
    server.stop()
    session = attach(server, limit=100, lossless=True)
    done = threading.Event()

    def work() -> None:
        for i in range(1000):
            session.log({"a": i}, episode=i)
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert not done.wait(0.3)
    server.start()
    assert done.wait(20)
    assert session.flush(20)
    assert [r["episode"] for r in server.rows()] == list(range(1000))
    assert session.dropped == 0


def test_ending_a_session_lets_a_held_back_caller_go(server: RecordingServer) -> None:
    server.stop()
    session = attach(server, limit=10, lossless=True)
    done = threading.Event()

    def work() -> None:
        for i in range(1000):
            session.log({"a": i}, episode=i)
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert not done.wait(0.2)
    session.abandon()
    assert done.wait(10)


def test_only_the_record_the_server_refuses_is_dropped(
    server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    def script(method: str, path: str, body: Any) -> Any:
        told = (422, {"error": "validation_failed", "message": "poison"})
        return told if "'n': 666" in str(body) else None

    server.script = script
    session = attach(server)
    for i in range(64):
        session.event("tick", n=666 if i == 40 else i)
    assert session.flush(20)
    assert sorted(r["n"] for r in server.rows()) == [i for i in range(64) if i != 40]
    assert session.dropped == 1
    assert sum("poison" in r.message for r in caplog.records) == 1


def test_a_status_that_came_too_late_does_not_end_the_session(server: RecordingServer) -> None:
    def script(method: str, path: str, body: Any) -> Any:
        late = path.endswith("/records") and "paused" in str(body)
        return (409, {"error": "status_conflict", "message": "it is stopping"}) if late else None

    server.script = script
    session = attach(server)
    session.log({"a": 1})
    session.event("status", status="paused")
    session.log({"a": 2})
    assert session.flush(20)
    assert [r["extra"]["a"] for r in server.rows()] == [1, 2]
    assert session.ended is None


@pytest.mark.parametrize(
    ("status", "code"), [(409, "attempt_superseded"), (404, "session_not_found"), (410, "gone")]
)
def test_a_session_that_is_over_takes_nothing_more(
    server: RecordingServer, status: int, code: str
) -> None:
    server.script = lambda method, path, body: (status, {"error": code, "message": "no"})
    session = attach(server)
    session.log({"a": 1})
    assert not session.flush(20)
    assert session.ended is not None
    assert session.ended.code == code
    before = len(server.requests)
    session.log({"a": 2})
    assert not session.flush(1)
    assert not session.finish()
    assert len(server.requests) == before


def test_a_session_opened_while_the_server_is_away_is_created_later(
    server: RecordingServer,
) -> None:
    server.stop()
    session = Client(server.url).open_session("late", algorithm="DQN")
    session.log({"a": 1})
    server.start()
    assert session.flush(20)
    assert [path for _, path, _ in server.requests] == [
        "/api/training/sessions",
        "/api/training/sessions/late/records",
    ]


def test_marks_are_set_in_passing(server: RecordingServer) -> None:
    session = attach(server)
    session.log({"a": 1})
    mark = session.mark()
    assert mark.wait(10)
    assert len(server.rows()) == 1


def test_large_columns_are_cut_and_keep_their_keys(server: RecordingServer) -> None:
    session = attach(server)
    session.columns({"episode": range(1, 6001)}, extra={"x": [0.5] * 6000}, key="update 1")
    assert session.flush(20)
    records = [r for b in server.batches for r in b.records]
    assert [r.key for r in records] == [f"update 1 part {i}" for i in range(3)]
    assert [r["episode"] for r in server.rows()] == list(range(1, 6001))
