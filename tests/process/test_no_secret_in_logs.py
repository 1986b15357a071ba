"""Whatever is presented, in whatever way, right or wrong: no line of the log has it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.sync.client import connect

SECRET = "x9" * 24
PASSWORD = "hunter2-hunter2"


def ask(url: str, path: str, body: Any = None, token: str | None = None) -> Any:
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url + path, data, headers), timeout=20) as answer:
        return json.loads(answer.read())


@pytest.mark.slow
def test_no_secret_is_in_any_log(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "JWT_SECRET_KEY": SECRET,
        "GRANDSTAND_SECURITY__ENABLE_AUTH": "true",
        "GRANDSTAND_LOG_FILE": str(tmp_path / "log.jsonl"),
        "TRAINING_METRICS_DEBUG": "true",  # access log and all
    }
    data = ["--data-dir", str(tmp_path / "data")]
    cli = [sys.executable, "-m", "grandstand"]
    subprocess.run(
        [*cli, "users", "add", "root", "--admin", "--password-stdin", *data],
        input=PASSWORD + "\n",
        text=True,
        env=environment,
        check=True,
        capture_output=True,
    )
    made = subprocess.run(
        [*cli, "keys", "add", "cluster", *data],
        text=True,
        env=environment,
        check=True,
        capture_output=True,
    )
    key = made.stdout.strip()
    with (tmp_path / "out").open("wb") as printed:
        server = subprocess.Popen(
            [*cli, "serve", "--port", "0", *data],
            stdout=subprocess.PIPE,
            stderr=printed,
            env=environment,
            text=True,
        )
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[3]
            credentials = {"name": "root", "password": PASSWORD}
            token = ask(url, "/api/auth/login", credentials)["token"]
            session = {"training_session_id": "run", "algorithm": "DQN"}
            ask(url, "/api/training/sessions", session, key)
            watch = url.replace("http", "ws", 1) + "/ws/run"
            for secret in (token, key):
                with connect(f"{watch}?token={secret}") as socket:
                    socket.recv(timeout=20)
                with connect(watch, subprotocols=["grandstand", f"token.{secret}"]) as socket:  # type: ignore[list-item]
                    socket.recv(timeout=20)
                with connect(watch) as socket:
                    socket.send(json.dumps({"type": "authorize", "token": secret}))
                    socket.recv(timeout=20)
        finally:
            server.terminate()
            server.wait(30)
            assert server.stdout is not None
            rest = server.stdout.read()
            server.stdout.close()
    logged = rest + "".join(f.read_text() for f in (tmp_path / "out", tmp_path / "log.jsonl"))
    assert "/ws/run" in logged
    secrets = {"password": PASSWORD, "token": token, "key": key, "signing key": SECRET}
    assert [name for name, secret in secrets.items() if secret in logged] == []
    ends = {name: re.split(r"[._]", secret)[-1] for name, secret in secrets.items()}
    assert [name for name, end in ends.items() if len(end) > 8 and end in logged] == []
