"""Logging: stdlib loggers `grandstand.*`, formatted by structlog, for people or for machines.

Whoever embeds the server keeps the last word: a level set on a logger before stays, and as soon as
the root logger has handlers (`logging.basicConfig`, a test runner) ours are quiet and the records
go there.

Every line carries what is bound around it (`bound(request_id=…, session_id=…)`, or `bind` for the
rest of a task) and what is passed as `extra`. Tokens and passwords are replaced by stars in every
line of ours.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from typing import Any, TextIO

import structlog
from structlog.contextvars import bind_contextvars as bind
from structlog.contextvars import bound_contextvars as bound

from grandstand.settings import Settings

__all__ = ["bind", "bound", "configure", "of_request", "redact"]

HANDED_ON = ("grandstand", "uvicorn")
"""Loggers whose lines we print: ours, and those of the server underneath."""

_SECRET_KEY = re.compile(
    r"password|passwd|token|secret|authorization|cookie|api_?key", re.IGNORECASE
)
_SECRETS = (
    # A JSON web token, wherever it stands.
    (re.compile(r"eyJ[\w-]{6,}\.[\w-]+\.[\w-]*"), "********"),
    # An API key of ours.
    (re.compile(r"gsk_[\w-]+"), "gsk_********"),
    # "Authorization: Bearer abc"
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]+", re.IGNORECASE), r"\1 ********"),
    # ?token=abc, password: abc, "secret": "abc"; not the code of a traceback, secret = make()
    (
        re.compile(
            r"((?:password|passwd|token|secret|api_?key)(?:=|[\"']?\s*:\s*)[\"']?)[^\s&\"',}]+"
        ),
        r"\1********",
    ),
    # postgresql://user:password@host
    (re.compile(r"(?<=://)([^/@\s:]*):[^/\s@]*@"), r"\1:********@"),
)

_Event = MutableMapping[str, Any]


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Print the lines of `HANDED_ON` as the settings say; a second call replaces the first.

    Args:
        settings: `log_level`, `debug`, `log_format`, `log_file` and its rotation.
        stream: where console lines go; standard error by default.
    """
    target = stream or sys.stderr
    console = _Yielding(target)
    json_lines = settings.log_format == "json"
    console.setFormatter(_formatter(json_lines, colours=target.isatty()))
    handlers: list[logging.Handler] = [console]
    if settings.log_file is not None:
        settings.log_file.parent.mkdir(parents=True, exist_ok=True)
        file = _RotatingFile(
            settings.log_file,
            maxBytes=settings.log_file_max_bytes,
            backupCount=settings.log_file_backups,
            encoding="utf-8",
            delay=True,
        )
        file.setFormatter(_formatter(json_lines=True, colours=False))
        handlers.append(file)
    for name in HANDED_ON:
        logger = logging.getLogger(name)
        for old in [one for one in logger.handlers if isinstance(one, _Ours)]:
            logger.removeHandler(old)
            old.close()
        for handler in handlers:
            logger.addHandler(handler)
        if logger.level == logging.NOTSET or getattr(logger, "_set_by_grandstand", False):
            # What uvicorn says at INFO is about itself; the command line says where the server is.
            quiet = name == "uvicorn" and settings.resolved_log_level() == "INFO"
            logger.setLevel("WARNING" if quiet else settings.resolved_log_level())
            logger._set_by_grandstand = True  # type: ignore[attr-defined]
    # `grandstand.access` says the same and more.
    logging.getLogger("uvicorn.access").setLevel("WARNING")


def of_request() -> str | None:
    """The id of the request that is being answered here, if it has one."""
    found = structlog.contextvars.get_contextvars().get("request_id")
    return str(found) if found is not None else None


def redact(text: str) -> str:
    """`text` with tokens and passwords replaced by stars."""
    for pattern, stars in _SECRETS:
        text = pattern.sub(stars, text)
    return text


class _Ours(logging.Handler):
    """Marks the handlers `configure` made, so it can replace them."""


class _Yielding(_Ours, logging.StreamHandler[TextIO]):
    """Prints, unless the root logger has handlers of its own: then it is their line."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not logging.getLogger().handlers and bool(super().filter(record))


class _RotatingFile(_Ours, RotatingFileHandler):
    """The log file, rotated by size."""


def _formatter(json_lines: bool, colours: bool) -> logging.Formatter:
    last: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _redacted,
    ]
    if json_lines:
        last += [
            _in_order,
            structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
        ]
    else:
        last.append(
            structlog.dev.ConsoleRenderer(
                colors=colours, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            )
        )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ExtraAdder(),
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            _time_of_record,
        ],
        processors=last,
    )


def _time_of_record(_logger: Any, _method: str, event: _Event) -> _Event:
    """The time the line was logged, in UTC, as ISO 8601 with milliseconds."""
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        at = datetime.fromtimestamp(record.created, UTC)
        event["timestamp"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event.pop("color_message", None)  # uvicorn's second copy of its message
    return event


def _redacted(_logger: Any, _method: str, event: _Event) -> _Event:
    """Every value without tokens and passwords."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = "********" if _SECRET_KEY.search(key) else redact(value)
        elif _SECRET_KEY.search(key) and value is not None and not isinstance(value, bool):
            event[key] = "********"
    return event


def _in_order(_logger: Any, _method: str, event: _Event) -> _Event:
    """When, how important, where and what come first in every JSON line."""
    event["message"] = event.pop("event")
    first = ("timestamp", "level", "logger", "message")
    return {name: event.pop(name) for name in first if name in event} | dict(event)
