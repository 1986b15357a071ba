"""Where the server is, who we are to it, and whether to report at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from grandstand.errors import ValidationFailed

DEFAULT_URL = "http://127.0.0.1:8000"


class Mode(StrEnum):
    """What becomes of what a script reports."""

    ONLINE = "online"
    """It is sent to the server."""
    OFFLINE = "offline"
    """It is written to disk only; `grandstand sync` sends it."""
    DISABLED = "disabled"
    """It is dropped, and no server is contacted: for tests and dry runs."""


class Address(Struct, frozen=True):
    """The server's URL (no slash at the end), the token to show, and the mode."""

    url: str
    token: str | None
    mode: Mode

    @classmethod
    def find(
        cls,
        url: str | None = None,
        token: str | None = None,
        mode: str | None = None,
        env: Mapping[str, str] = os.environ,
    ) -> Address:
        """What was given, else ``GRANDSTAND_URL``, ``_TOKEN`` and ``_MODE``, else the defaults.

        Raises:
            ValidationFailed: a URL that is not http(s), or a mode nobody knows.
        """
        url = (url or env.get("GRANDSTAND_URL") or DEFAULT_URL).strip().rstrip("/")
        if not url.startswith(("http://", "https://")):
            raise ValidationFailed(
                f"the server's URL must start with http:// or https://, not {url!r}",
                code="bad_url",
                detail=f"Give url=…, or set GRANDSTAND_URL, for example to {DEFAULT_URL}.",
                details={"field": "url", "value": url},
            )
        said = (mode or env.get("GRANDSTAND_MODE") or Mode.ONLINE).strip().lower()
        if said not in list(Mode):
            raise ValidationFailed(
                f"the mode must be online, offline or disabled, not {said!r}",
                code="unknown_mode",
                detail="Set GRANDSTAND_MODE (or mode=…) to online, to offline to keep everything "
                "on disk for `grandstand sync`, or to disabled to report nothing. Online also "
                "starts while the server is away.",
                details={"field": "mode", "value": said},
            )
        return cls(url, token or env.get("GRANDSTAND_TOKEN") or None, Mode(said))
