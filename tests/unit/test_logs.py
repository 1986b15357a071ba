"""Logging: both formats, bound fields, redaction, and the last word for whoever embeds us."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from grandstand import logs
from grandstand.settings import Settings


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """The loggers as a fresh process has them: no handlers, no levels."""
    root = logging.getLogger()
    ours = [root, *(logging.getLogger(name) for name in logs.HANDED_ON)]
    before = [(one, one.handlers[:], one.level) for one in ours]
    for one in ours:
        one.handlers[:] = []
        one.setLevel(logging.NOTSET)
        one.__dict__.pop("_set_by_grandstand", None)
    yield
    for one, handlers, level in before:
        one.handlers[:] = handlers
        one.setLevel(level)
        one.__dict__.pop("_set_by_grandstand", None)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def configure(settings: Settings, stream: io.StringIO) -> None:
    """As outside a test runner, which keeps handlers of its own on the root logger."""
    logging.getLogger().handlers.clear()
    logs.configure(settings, stream)


def test_a_line_carries_what_is_bound_and_passed(stream: io.StringIO) -> None:
    configure(Settings(log_format="json"), stream)
    with logs.bound(request_id="r1", session_id="s1"):
        logging.getLogger("grandstand.web").info("took %d", 3, extra={"seconds": 0.5})
    logging.getLogger("grandstand.web").info("outside")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["message"] == "took 3"
    assert first["level"] == "info"
    assert first["logger"] == "grandstand.web"
    assert first["timestamp"].endswith("Z")
    assert (first["request_id"], first["session_id"], first["seconds"]) == ("r1", "s1", 0.5)
    assert "request_id" not in second


def test_console_lines_are_for_people(stream: io.StringIO) -> None:
    configure(Settings(), stream)
    logging.getLogger("grandstand.store").warning("disk is nearly full")
    assert "disk is nearly full" in stream.getvalue()
    assert "grandstand.store" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_no_token_and_no_password_is_printed(stream: io.StringIO, log_format: str) -> None:
    configure(Settings.model_validate({"log_format": log_format}), stream)
    logger = logging.getLogger("grandstand.web")
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
    logger.info("GET /ws/x?token=hunter2 Authorization: Bearer hunter2 %s", token)
    logger.info("opening postgresql://user:hunter2@db/x", extra={"password": "hunter2"})
    try:
        raise RuntimeError("password=hunter2")
    except RuntimeError:
        logger.exception("failed")
    assert "hunter2" not in stream.getvalue()
    assert token not in stream.getvalue()
    assert "RuntimeError" in stream.getvalue()


def test_the_level_is_the_settings_one(stream: io.StringIO) -> None:
    configure(Settings(log_level="WARNING"), stream)
    logging.getLogger("grandstand.x").info("no")
    configure(Settings(log_level="WARNING", debug=True), stream)
    logging.getLogger("grandstand.x").debug("yes")
    assert "no" not in stream.getvalue()
    assert stream.getvalue().count("yes") == 1, "a second call replaces the first"


def test_a_level_set_before_stays(stream: io.StringIO) -> None:
    logging.getLogger("grandstand").setLevel(logging.ERROR)
    logging.getLogger("grandstand.live").setLevel(logging.DEBUG)
    configure(Settings(), stream)
    logging.getLogger("grandstand.web").warning("quiet")
    logging.getLogger("grandstand.live").debug("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


def test_handlers_on_the_root_logger_take_over(stream: io.StringIO) -> None:
    theirs = io.StringIO()
    configure(Settings(), stream)
    logging.basicConfig(level=logging.INFO, stream=theirs, format="%(name)s - %(message)s")
    logging.getLogger("grandstand.web").info("hello")
    assert theirs.getvalue() == "grandstand.web - hello\n"
    assert stream.getvalue() == ""


def test_the_file_is_json_and_rotates(tmp_path: Path, stream: io.StringIO) -> None:
    file = tmp_path / "logs" / "server.log"
    configure(Settings(log_file=file, log_file_max_bytes=2000, log_file_backups=2), stream)
    for number in range(60):
        logging.getLogger("grandstand.web").info("line %d", number)
    configure(Settings(), stream)
    names = sorted(path.name for path in file.parent.iterdir())
    assert names == ["server.log", "server.log.1", "server.log.2"]
    last = json.loads(file.read_text().splitlines()[-1])
    assert last["message"] == "line 59"
