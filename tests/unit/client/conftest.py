"""A real HTTP server that keeps what is posted to it and can be told to misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from grandstand.client.buffer import _living
from grandstand.errors import GrandstandError
from grandstand.model.telemetry import Batch, parse_batch

Answer = tuple[int, dict[str, Any]]


class RecordingServer:
    """Answers like a server that stores; `script` may answer otherwise.

    Attributes:
        requests: (method, path, body) in order.
        headers: of the latest request, by method.
        people_want: what they want, as its answers say.
        batches: what was posted to /records and answered with 200, decoded and validated.
        script: called with method, path and body; None from it means the ordinary answer.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.headers: dict[str, dict[str, str]] = {}
        self.batches: list[Batch] = []
        self.script: Callable[[str, str, Any], Answer | None] = lambda method, path, body: None
        self.news = threading.Condition()
        self.people_want = "running"
        self._ids: set[str] = set()
        self._http: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    def start(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                status, answer = owner.take(self.command, self.path, raw, dict(self.headers))
                out = json.dumps(answer).encode()
                self.send_response(status)
                if "retry_after" in answer:
                    self.send_header("Retry-After", str(answer["retry_after"]))
                self.send_header("Content-Length", str(len(out)))
                self.end_headers()
                self.wfile.write(out)

            do_GET = do_POST = do_PUT = do_DELETE = _answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._http = Quiet(("127.0.0.1", self._port), Handler)
        self._port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def take(self, method: str, path: str, raw: bytes, headers: dict[str, str]) -> Answer:
        image = headers.get("Content-Type", "").startswith("image/")
        body = raw if image else json.loads(raw) if raw else None
        with self.news:
            self.requests.append((method, path, body))
            self.headers[method] = headers
            self.news.notify_all()
        told = self.script(method, path, body)
        if told is not None:
            return told
        if path.endswith("/records"):
            try:
                batch = parse_batch(raw)
            except GrandstandError as error:
                return error.http_status, {"error": error.code, "message": error.message}
            with self.news:
                known = batch.batch_id in self._ids
                if not known:
                    self.batches.append(batch)
                    self._ids.add(str(batch.batch_id))
                self.news.notify_all()
            told = {"accepted": batch.count, "last_seq": 1, "duplicate": known}
            return 200, told if self.people_want == "running" else {
                **told,
                "wanted": self.people_want,
            }
        if path.endswith("/heartbeat"):
            with self.news:  # held, as the real one does
                known = body.get("wanted")
                self.news.wait_for(lambda: self.people_want != known, body.get("wait_seconds", 0.0))
            return 200, {
                "wanted": self.people_want,
                "status": "running",
                "checkpoint_requested": False,
            }
        if method == "POST" and path == "/api/training/sessions":
            return 201, {"session_id": body["training_session_id"]}
        return 200, {"message": "done"}

    def want(self, wish: str) -> None:
        """People want something else from now on."""
        with self.news:
            self.people_want = wish
            self.news.notify_all()

    def wait_for(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        with self.news:
            assert self.news.wait_for(condition, seconds), "what was waited for did not happen"

    def rows(self) -> list[dict[str, Any]]:
        """Every stored row, in order."""
        return [row for b in self.batches for r in b.records for row in r.rows()]

    def posted(self, ending: str) -> list[Any]:
        """Bodies posted to paths with that ending."""
        return [body for _, path, body in self.requests if path.endswith(ending)]


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    server = RecordingServer()
    yield server
    server.stop()
    forget_sessions()


def forget_sessions() -> None:
    """Sessions a test left open must not be waited for at the end of the process."""
    for buffer in list(_living):
        buffer.end(GrandstandError("the test is over"))
