"""Jobs as a supervisor has them, on the server's machine or on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Assignment:
    """A job that this supervisor has.

    Attributes:
        id: of the job.
        task: ``session:ID`` or ``evaluation:ID``.
        training: whether it is one; there are places for each kind.
        attempt: of the session; an older one's reports are refused.
        token: for its worker; None where the job was not just given away.
        handle: of its worker; None before it was launched.
        silent_seconds: since anything was heard of it.
        labels: what its machine must have.
    """

    id: int
    task: str
    training: bool
    attempt: int
    token: str | None = None
    handle: str | None = None
    silent_seconds: float = 0.0
    labels: Sequence[str] = ()
