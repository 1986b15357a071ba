"""Servers of other versions, and what is no server of ours: said in a sentence, with what to do."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import grandstand
from grandstand.client import handshake
from grandstand.client.client import Client
from grandstand.client.handshake import greet
from grandstand.errors import GrandstandError, TooLarge, Unauthenticated, Unavailable
from grandstand.model.wire import OURS, Wires, wires_of

from .conftest import RecordingServer

Page = tuple[int, dict[str, str], bytes]
HTML: Page = (404, {"Content-Type": "text/html; charset=utf-8"}, b"<h1>not here</h1>")


class Stranger:
    """A web server that answers everything alike.

    Attributes:
        page: what it answers: status, headers, body.
        agents: what each request called itself.
    """

    def __init__(self) -> None:
        self.page: Page = HTML
        self.agents: list[str | None] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                owner.agents.append(self.headers.get("User-Agent"))
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, body = owner.page
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer

            def log_message(self, *words: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    server = Stranger()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "_said", set())


def server_of(wire: str) -> Page:
    """What a server that speaks `wire` answers whoever opens a session."""
    headers = {"Grandstand-Wire": wire, "Grandstand-Version": "9.1.0"}
    return 201, {**headers, "Content-Type": "application/json"}, b'{"session_id": "run"}'


@pytest.mark.parametrize(
    "page",
    [
        HTML,
        (200, {"Content-Type": "text/html"}, b"<h1>welcome</h1>"),
        (200, {"Content-Type": "application/json"}, b'{"hello": "you"}'),
        (200, {"Content-Type": "application/json"}, b"[]"),
        (204, {}, b""),
        (404, {"Content-Type": "application/json"}, b'{"detail": "Not Found"}'),
        (405, {"Allow": "GET"}, b""),
        (501, {"Content-Type": "text/html"}, b"<h1>unsupported method</h1>"),
        (301, {"Location": "https://grandstand.example/"}, b""),
        (403, {"Content-Type": "text/plain"}, b"sign in"),
    ],
    ids=["404", "html", "other json", "list", "empty", "other api", "405", "501", "moved", "proxy"],
)
def test_what_is_no_grandstand_server_is_called_so(stranger: Stranger, page: Page) -> None:
    stranger.page = page
    for ask in (
        lambda: grandstand.open_session("run", algorithm="PPO", url=stranger.url),
        *([lambda: Client(stranger.url).status()] if page[0] not in (200, 204) else []),
    ):
        with pytest.raises(Unavailable) as refusal:
            ask()
        assert refusal.value.code == "not_our_server"
        assert f"what answers at {stranger.url} is no Grandstand server" in refusal.value.message
        assert "GRANDSTAND_URL" in refusal.value.detail
    if page[0] == 301:
        assert "https://grandstand.example/" in refusal.value.message
    assert set(stranger.agents) == {f"grandstand/{grandstand.__version__}"}


def test_what_a_proxy_says_in_the_servers_place_keeps_its_meaning(stranger: Stranger) -> None:
    stranger.page = (413, {"Content-Type": "text/html"}, b"<h1>too large</h1>")
    with pytest.raises(TooLarge):
        Client(stranger.url).status()
    stranger.page = (401, {}, b'{"error": "unauthenticated", "message": "a token is needed"}')
    with pytest.raises(Unauthenticated, match="a token is needed"):
        Client(stranger.url).status()


def test_a_proxy_that_answers_for_a_while_loses_nothing(server: RecordingServer) -> None:
    session = grandstand.open_session("run", algorithm="PPO", url=server.url)
    server.script = lambda method, path, body: (404, {"page": "not found"})
    session.log({"current_reward": 1.0}, episode=1)
    server.wait_for(lambda: bool(server.posted("/records")))
    server.script = lambda method, path, body: None
    assert session.finish()
    assert (session.sent, session.dropped) == (1, 0)


def test_a_server_that_speaks_our_wire_too_is_warned_of_once(
    stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    stranger.page = server_of(f"{OURS.oldest}-{OURS.newest + 1}")
    for _ in range(2):
        grandstand.open_session("run", algorithm="PPO", url=stranger.url, resume=True).abandon()
    (said,) = [r.getMessage() for r in caplog.records if "wire" in r.getMessage()]
    assert "the server is Grandstand 9.1.0 (wire 1-2)" in said
    assert "pip install 'grandstand==9.1.0'" in said


def test_a_server_of_a_newer_wire_only_is_refused(stranger: Stranger) -> None:
    stranger.page = server_of(f"{OURS.newest + 1}")
    with pytest.raises(GrandstandError, match="do not understand each other") as refusal:
        grandstand.open_session("run", algorithm="PPO", url=stranger.url)
    assert refusal.value.code == "wire_mismatch"
    assert "Install the server's version where the training runs" in refusal.value.detail


def test_a_server_of_an_older_wire_only_is_refused_by_a_newer_sdk() -> None:
    headers = {"Grandstand-Wire": "1", "Grandstand-Version": "0.1.0"}
    with pytest.raises(GrandstandError) as refusal:
        greet(headers, Wires(2, 3))
    assert "Install the newer Grandstand on the server" in refusal.value.detail


@pytest.mark.parametrize("told", [None, "", "x", str(OURS)])
def test_a_server_that_says_nothing_else_is_taken_as_it_is(
    told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    greet({} if told is None else {"Grandstand-Wire": told})
    assert not caplog.records


def test_wires_as_they_are_written() -> None:
    assert [wires_of(text) for text in ("2", "1-3", " 2 ", "-1", "2-", "two")] == [
        Wires(2, 2),
        Wires(1, 3),
        Wires(2, 2),
        None,
        None,
        None,
    ]
    assert [str(Wires(2, 2)), str(Wires(1, 3))] == ["2", "1-3"]
    assert Wires(1, 2).meet(Wires(2, 3))
    assert not Wires(1, 1).meet(Wires(2, 3))
