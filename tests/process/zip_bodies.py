"""For schemathesis: bodies that are archives are sent as the bytes they are."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.serializer("application/zip")
def as_it_is(ctx: Any, value: Any) -> bytes:
    """The bytes of a generated body."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return bytes(getattr(value, "data", value))
