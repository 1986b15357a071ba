"""`grandstand users`, `keys` and `token` at the database, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grandstand.cli import app
from grandstand.errors import GrandstandError


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("JWT_SECRET_KEY", "k" * 48)
    data = ["--data-dir", str(tmp_path)]

    def run(*words: str, sent: str | None = None, code: int = 0) -> str:
        told = CliRunner().invoke(app, [*words, *data], input=sent)
        assert told.exit_code == code, told.output + str(told.exception)
        return told.output.strip()

    return run


def test_accounts_from_the_first_on(run: Any) -> None:
    assert "users add NAME --admin" in run("users", "list")
    told = run("users", "add", "root", "--admin", "--password-stdin", sent="correct horse\n")
    assert told == "root may admin, metrics, operate, report, supervise, watch"
    run("users", "add", "ann", "--scope", "report", "--password-stdin", sent="correct horse\n")
    told = run("users", "change", "Ann", "--scope", "watch", "--disable")
    assert told == "ann may watch, but is disabled"
    assert run("users", "list").splitlines() == [
        "ann  watch  disabled",
        "root  admin, metrics, operate, report, supervise, watch",
    ]
    run("users", "remove", "ann")
    assert "ann" not in run("users", "list")


def test_what_cannot_be_is_said(run: Any, tmp_path: Path) -> None:
    data = ["--data-dir", str(tmp_path)]
    for words, sent in (
        (("users", "add", "ann", "--password-stdin"), "short\n"),
        (("users", "add", "ann", "--scope", "all", "--password-stdin"), "correct horse\n"),
        (("users", "add", "ann"), None),
        (("users", "remove", "nobody"), None),
        (("keys", "revoke", "nothing"), None),
    ):
        told = CliRunner().invoke(app, [*words, *data], input=sent)
        assert isinstance(told.exception, GrandstandError), words


def test_keys_come_and_go(run: Any) -> None:
    key = run("keys", "add", "cluster", "--session", "run", "--days", "30")
    assert key.startswith("gsk_")
    (line,) = run("keys", "list").splitlines()
    assert "cluster" in line
    assert "session run" in line
    assert "never used" in line
    run("keys", "revoke", line.split()[0])
    assert "revoked" in run("keys", "list")


def test_a_token_is_printed(run: Any) -> None:
    assert run("token", "wall", "--scope", "watch", "--hours", "1").count(".") == 2
