"""On disk while the server is away: nothing lost, nothing twice, and nothing left behind."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from grandstand.client import spool as spools
from grandstand.client.buffer import leave_all
from grandstand.client.client import Client
from grandstand.client.session import Session
from grandstand.client.spool import Left, Spool
from grandstand.client.sync import Synced, sync
from grandstand.client.transport import HttpTransport
from grandstand.errors import NotFound, ValidationFailed

from .conftest import RecordingServer, forget_sessions

AWAY = (503, {"error": "unavailable", "message": "restarting", "retry_after": 0.02})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRANDSTAND_SPOOL", str(tmp_path / "kept"))
    return tmp_path / "kept"


def opened(server: RecordingServer, **options: Any) -> Session:
    return Client(server.url).open_session("s", algorithm="DQN", **options)


def count(session: Session, a: int, b: int) -> None:
    for i in range(a, b):
        session.log({"x": float(i)}, episode=i)


def away(server: RecordingServer) -> None:
    server.script = lambda method, path, body: AWAY


def back(server: RecordingServer) -> None:
    server.script = lambda method, path, body: None


def on_disk(session: Session) -> bool:
    assert session._buffer is not None
    return session._buffer.flush(20, on_disk=True)


def send(folder: Path, server: RecordingServer) -> list[Synced]:
    return sync(folder, HttpTransport, url=server.url)


def episodes(server: RecordingServer) -> list[int]:
    return [row["episode"] for row in server.rows() if "episode" in row]


def test_what_is_logged_while_the_server_is_away_waits_on_disk_and_comes_in_order(
    server: RecordingServer, folder: Path
) -> None:
    session = opened(server)
    count(session, 0, 10)
    assert session.flush(20)
    assert not folder.exists()  # no litter while all is well
    away(server)
    for i in range(5):
        count(session, 10 + i * 100, 110 + i * 100)
        assert on_disk(session)
    assert session.spooled == 500
    assert len(list(folder.glob("s-*/records.bin"))) == 1
    back(server)
    count(session, 510, 2000)
    assert session.flush(20)
    assert episodes(server) == list(range(2000))
    assert (session.sent, session.spooled, session.dropped) == (2000, 0, 0)
    session.finish()
    assert not folder.exists()


def test_more_than_memory_would_hold_is_kept(server: RecordingServer, folder: Path) -> None:
    session = opened(server, limit=300)
    away(server)
    for i in range(20):
        count(session, i * 100, i * 100 + 100)
        assert on_disk(session)
    back(server)
    assert session.flush(20)
    assert episodes(server) == list(range(2000))
    assert session.dropped == 0


def test_how_it_ended_is_told_last_and_nobody_waits_for_a_server_that_is_away(
    server: RecordingServer, folder: Path
) -> None:
    session = opened(server)
    away(server)
    count(session, 0, 50)
    assert session.finish("failed", "out of memory") is False
    assert server.posted("/finish") == []
    back(server)
    server.wait_for(lambda: server.posted("/finish") != [])
    assert episodes(server) == list(range(50))
    (told,) = server.posted("/finish")
    assert (told["status"], told["reason"]) == ("failed", "out of memory")
    sender = session._buffer._thread if session._buffer else None
    assert sender is not None
    sender.join(10)
    assert not folder.exists()
    session.log({"x": 1.0})
    assert session.dropped == 1


def test_what_a_process_leaves_behind_is_sent_by_sync(
    server: RecordingServer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = opened(server)
    away(server)
    count(session, 0, 30)
    assert on_disk(session)
    count(session, 30, 40)
    leave_all(5)
    assert "40 records are kept in" in caplog.text
    assert "grandstand sync" in caplog.text
    assert "still running" in str(send(folder, server)[0].why)
    _die(session)

    (result,) = send(folder, server)
    assert result.why == "restarting"  # still away
    back(server)
    (result,) = send(folder, server)
    assert (result.session_id, result.sent, result.why) == ("s", 40, None)
    assert episodes(server) == list(range(40))
    assert list(folder.glob("*")) == []
    with pytest.raises(NotFound, match="nothing waits"):
        send(folder, server)


def test_a_request_nobody_answers_is_kept_too_and_stored_once(
    server: RecordingServer, folder: Path
) -> None:
    arrived, let_go = threading.Event(), threading.Event()

    def stall(method: str, path: str, body: Any) -> None:
        if path.endswith("/records"):
            arrived.set()
            let_go.wait(20)  # and then it is stored after all

    session = opened(server)
    server.script = stall
    count(session, 0, 1)
    assert arrived.wait(10)
    count(session, 1, 20)
    leave_all(0.1)
    assert session.spooled == 20
    _die(session)
    let_go.set()
    server.wait_for(lambda: len(server.rows()) == 1)
    back(server)
    (result,) = send(folder, server)
    assert (result.sent, result.why) == (20, None)
    assert episodes(server) == list(range(20))


def test_offline_nothing_is_sent_until_sync_opens_sends_and_ends(
    server: RecordingServer, folder: Path
) -> None:
    session = Client(server.url, mode="offline").open_session(
        "s", algorithm="DQN", config={"lr": 0.1}
    )
    count(session, 0, 700)
    session.event("phase", name="two")
    assert session.finish(final_metrics={"score": float("nan")}) is False
    leave_all(5)
    _die(session)
    assert server.requests == []

    (result,) = send(folder, server)
    assert (result.sent, result.refused, result.why) == (701, 0, None)
    opening = server.requests[0]
    assert opening[:2] == ("POST", "/api/training/sessions")
    assert opening[2]["config"] == {"lr": 0.1}
    assert episodes(server) == list(range(700))
    assert server.posted("/finish")[0]["final_metrics"] == {"score": "NaN"}


def test_offline_wants_a_place_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRANDSTAND_SPOOL", "off")
    client = Client("http://127.0.0.1:1", mode="offline")
    with pytest.raises(ValidationFailed, match="GRANDSTAND_SPOOL is off"):
        client.open_session("s", algorithm="DQN")


def test_of_what_lay_on_disk_only_the_row_that_is_refused_is_dropped(
    server: RecordingServer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = opened(server)
    away(server)
    count(session, 0, 100)
    assert on_disk(session)

    def picky(method: str, path: str, body: Any) -> Any:
        if path.endswith("/records") and _holds(body, 42):
            return 422, {"error": "validation_failed", "message": "not 42"}
        return None

    server.script = picky
    assert session.flush(20)
    assert episodes(server) == [i for i in range(100) if i != 42]
    assert (session.sent, session.dropped) == (99, 1)
    assert "not 42" in caplog.text


def test_sync_drops_the_refused_row_alone_as_well(server: RecordingServer, folder: Path) -> None:
    session = Client(server.url, mode="offline").open_session("s", algorithm="DQN")
    count(session, 0, 100)
    leave_all(5)
    _die(session)
    server.script = lambda method, path, body: (
        (422, {"error": "validation_failed", "message": "not 42"})
        if path.endswith("/records") and _holds(body, 42)
        else None
    )
    (result,) = send(folder, server)
    assert (result.sent, result.refused, result.why) == (99, 1, None)


def test_where_the_disk_takes_nothing_records_wait_in_memory(
    server: RecordingServer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "append", full)
    session = opened(server)
    away(server)
    count(session, 0, 100)
    assert not session.flush(0.3)
    assert "No space left on device" in caplog.text
    assert "wait in memory" in caplog.text
    back(server)
    assert session.flush(20)
    assert episodes(server) == list(range(100))


def test_a_spool_that_is_full_takes_no_more_and_loses_nothing(
    server: RecordingServer, folder: Path
) -> None:
    session = opened(server)
    assert session._buffer is not None
    session._buffer._spool = Spool(folder, {"session_id": "s"}, limit=4000)
    away(server)
    for i in range(6):
        count(session, i * 100, i * 100 + 100)
        session._buffer.flush(0.3, on_disk=True)
    assert 0 < session.spooled < 600
    back(server)
    assert session.flush(20)
    assert episodes(server) == list(range(600))


def test_a_frame_that_was_not_written_whole_is_left_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path, {"session_id": "s"})
    spool.append("records", 1, b"one")
    spool.append("records", 2, b"two")
    spool.append("finish", 0, b"three")
    folder = spool.folder
    assert folder is not None
    spool.leave()
    whole = (folder / spools.RECORDS).read_bytes()
    for cut in range(len(whole)):
        (folder / spools.RECORDS).write_bytes(whole[:cut])
        with Left(folder) as left:
            bodies = [f.body for f in _peek(left)]
        expected = [b"one", b"two", b"three"]
        assert bodies == expected[: len(bodies)]
        assert len(bodies) < 3
    damaged = bytearray(whole)
    damaged[-1] ^= 1
    (folder / spools.RECORDS).write_bytes(damaged)
    with Left(folder) as left:
        assert [f.body for f in _peek(left)] == [b"one", b"two"]
        assert left.rows() == 3


def test_a_session_the_server_does_not_know_any_more_keeps_its_records_on_disk(
    server: RecordingServer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = opened(server)
    away(server)
    count(session, 0, 10)
    assert on_disk(session)
    gone = 404, {"error": "not_found", "message": "no such session"}
    server.script = lambda method, path, body: gone if path.endswith("/records") else None
    assert not session.flush(20)
    sender = session._buffer._thread if session._buffer else None
    assert sender is not None
    sender.join(10)
    assert "what was not sent stays in" in caplog.text
    (result,) = send(folder, server)
    assert (result.sent, result.why) == (0, "no such session")


def test_an_opening_whose_answer_was_lost_is_asked_for_again_as_a_resumption(
    server: RecordingServer, folder: Path
) -> None:
    session = Client(server.url, mode="offline").open_session("s", algorithm="DQN")
    count(session, 0, 3)
    leave_all(5)
    _die(session)
    server.script = lambda method, path, body: AWAY
    assert send(folder, server)[0].why == "restarting"
    back(server)
    assert send(folder, server)[0].why is None
    openings = [b for m, p, b in server.requests if p == "/api/training/sessions"]
    assert [o["resume"] for o in openings] == [False, True]


def test_folders_that_are_no_spools_are_told_of(tmp_path: Path, server: RecordingServer) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / spools.SESSION).write_text("no json")
    (result,) = send(tmp_path, server)
    assert "is damaged" in str(result.why)
    with pytest.raises(NotFound):
        send(tmp_path / "nowhere", server)


def _die(session: Session) -> None:
    """As when its process ends: the files are let go of as they are."""
    buffer = session._buffer
    assert buffer is not None
    assert buffer._spool is not None
    buffer._spool.leave()
    forget_sessions()


def _holds(body: Any, episode: int) -> bool:
    for record in body["records"]:
        found = record.get("columns", record.get("data"))["episode"]
        if found == episode or (isinstance(found, list) and episode in found):
            return True
    return False


def _peek(left: Left) -> list[Any]:
    """Its frames without marking them as sent."""
    frames, at = [], left._sent
    while (frame := spools._read(left._file.fileno(), at)) is not None:
        frames.append(frame)
        at = frame.end
    return frames
