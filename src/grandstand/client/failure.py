"""What is told of a crashed run: enough to see why, and no secrets."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

LAST_CHARACTERS = 8_000
"""As much of the end of a traceback as is sent."""

_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL|PRIVATE", re.IGNORECASE
)
_SECRET_VALUE = re.compile(
    r"""(?ix)
    (?P<name>(?:token|secret|password|passwd|api[_-]?key|credential)[\w.-]*["']?\s*[=:]\s*)
    (?P<value>["'][^"']*["']|[^\s"',;&)\]}]+)
    | (?P<scheme>\bBearer\s+)(?P<bearer>[\w.~+/=-]+)
    | (?P<url>://[^\s:/@]{1,256}:)(?P<password>[^\s@/]{1,256})(?=@)
    """
)


def redacted(text: str, env: Mapping[str, str] = os.environ) -> str:
    """`text` with ``***`` for what looks like a secret, and for the secrets in the environment."""
    for name, value in env.items():
        if len(value) >= 8 and _SECRET_NAME.search(name):
            text = text.replace(value, "***")
    return _SECRET_VALUE.sub(lambda m: f"{m['name'] or m['scheme'] or m['url'] or ''}***", text)


def describe(error: BaseException, extra: Iterable[tuple[str, Any]] = ()) -> dict[str, Any]:
    """The `error` of a failed session: message, type and the end of the traceback, redacted.

    Args:
        error: what was raised.
        extra: further entries, already free of secrets.
    """
    trace = "".join(traceback.format_exception(error))
    return {
        "message": redacted(str(error) or type(error).__name__)[:2000],
        "type": type(error).__name__,
        "traceback": redacted(trace)[-LAST_CHARACTERS:],
        **dict(extra),
    }
