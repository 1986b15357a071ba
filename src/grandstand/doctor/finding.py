"""What the doctor finds, one line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes:
        state: "fail" keeps the server from working, "warn" is worth a look.
        advice: what to do; empty where all is well.
    """

    name: str
    state: State
    message: str
    advice: str = ""


def size(count: float) -> str:
    """Bytes, as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
