"""Wrong room passwords by the thousand: slowed as documented, and nobody else with them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

GUESSES = 10_000 if os.environ.get("PROOF") else 1_000
GUESSER, VISITOR = "127.0.0.2", "127.0.0.3"


class From:
    """A client at one of this machine's addresses."""

    def __init__(self, url: str, address: str) -> None:
        host, port = re.fullmatch(r"http://(.*):(\d+)", url).groups()  # type: ignore[union-attr]
        self._connection = HTTPConnection(host, int(port), timeout=30, source_address=(address, 0))

    def post(self, path: str, body: Any) -> tuple[int, Any, Any]:
        """Status, body and headers of the answer."""
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", path, json.dumps(body), headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers

    def close(self) -> None:
        self._connection.close()


@pytest.mark.slow
def test_guessing_is_slowed_and_nobody_else_is(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "grandstand", "serve", "--port", "0", "--data-dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[3]
        host = From(url, "127.0.0.1")
        host.post("/api/training/sessions", {"training_session_id": "run", "algorithm": "DQN"})
        status, opened, _ = host.post("/api/training/sessions/run/room", {"access": "password"})
        assert status == 201, opened
        join = f"/api/rooms/{opened['room']['room_code']}/join"
        guesser = From(url, GUESSER)
        begun = perf_counter()
        codes: Counter[int] = Counter()
        done = threading.Event()
        visitor = From(url, VISITOR)

        def enter() -> float:
            """How long somebody with the right password waits, in seconds."""
            at = perf_counter()
            body = {"user_name": "Ann", "password": opened["room_password"]}
            status, told, _ = visitor.post(join, body)
            assert status == 200, told
            return perf_counter() - at

        alone = sorted(enter() for _ in range(20))
        quick: list[float] = []

        def visit() -> None:
            while not done.is_set():
                quick.append(enter())

        beside = threading.Thread(target=visit)
        beside.start()
        try:
            for n in range(GUESSES):
                body = {"user_name": "Eve", "password": f"guess {n}"}
                status, told, headers = guesser.post(join, body)
                codes[status] += 1
                if status == 429:
                    assert told["error"] == "rate_limited"
                    assert int(headers["Retry-After"]) >= 1
        finally:
            done.set()
            beside.join()
        took = perf_counter() - begun
        # Five a minute and twenty an hour, however often it is tried.
        assert codes[401] <= min(20, 5 * (took // 60 + 2)), codes
        assert set(codes) == {401, 429}
        assert quick
        quick.sort()
        sys.stderr.write(
            f"\n{GUESSES} guesses in {took:.1f} s: {codes[401]} looked at, {codes[429]} refused; "
            f"{len(quick)} right ones beside them, p50 {1000 * quick[len(quick) // 2]:.0f} ms, "
            f"alone {1000 * alone[len(alone) // 2]:.0f} ms\n"
        )
        for client in (host, guesser, visitor):
            client.close()
    finally:
        server.terminate()
        server.wait(30)
        assert server.stdout is not None
        server.stdout.close()
