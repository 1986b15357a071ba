"""A session: one training being recorded, ours (managed) or anybody's (external)."""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from grandstand.errors import Conflict

ID_PATTERN = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_UNSAFE = re.compile(r"[^A-Za-z0-9._~-]+")


class Kind(StrEnum):
    """Who runs the training."""

    MANAGED = "managed"
    EXTERNAL = "external"


class Status(StrEnum):
    """Where a session is; `ALLOWED` says what may follow."""

    QUEUED = "queued"
    """Waiting for a worker."""
    STARTING = "starting"
    """A worker was launched and has not reported yet."""
    RUNNING = "running"
    PAUSING = "pausing"
    """Asked to pause; the worker has not said it did."""
    PAUSED = "paused"
    STOPPING = "stopping"
    """Asked to stop; the worker has not said it did."""
    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"
    LOST = "lost"
    """Silent for three heartbeats; a record or a new attempt brings it back."""


class Wanted(StrEnum):
    """What people asked for. The worker reads it and follows."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


PERIODS_TO_LOST = 3
"""Heartbeats that may be missed before a session, its worker or a supervisor counts as lost."""
ENDED = frozenset({Status.STOPPED, Status.COMPLETED, Status.FAILED})
"""Statuses in which nothing is running and nothing will by itself."""

ALIVE = frozenset({Status.STARTING, Status.RUNNING, Status.PAUSING, Status.PAUSED, Status.STOPPING})
"""Statuses in which a worker or a script is expected to report."""

ALLOWED: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset(
        {Status.STARTING, Status.STOPPED, Status.FAILED, Status.PAUSED, Status.RUNNING}
    ),
    Status.STARTING: frozenset(
        {
            Status.RUNNING,
            Status.QUEUED,
            Status.PAUSING,
            Status.STOPPING,
            Status.STOPPED,
            Status.FAILED,
            Status.LOST,
        }
    ),
    Status.RUNNING: frozenset(
        {
            Status.PAUSING,
            Status.PAUSED,
            Status.STOPPING,
            Status.STOPPED,
            Status.COMPLETED,
            Status.FAILED,
            Status.LOST,
            Status.QUEUED,
        }
    ),
    Status.PAUSING: frozenset(
        {
            Status.PAUSED,
            Status.RUNNING,
            Status.STOPPING,
            Status.STOPPED,
            Status.COMPLETED,
            Status.FAILED,
            Status.LOST,
            Status.QUEUED,
        }
    ),
    Status.PAUSED: frozenset(
        {
            Status.RUNNING,
            Status.STARTING,
            Status.STOPPING,
            Status.STOPPED,
            Status.COMPLETED,
            Status.FAILED,
            Status.LOST,
            Status.QUEUED,
        }
    ),
    Status.STOPPING: frozenset(
        {Status.STOPPED, Status.COMPLETED, Status.FAILED, Status.LOST, Status.QUEUED}
    ),
    Status.LOST: frozenset(
        {
            Status.RUNNING,
            Status.PAUSED,
            Status.QUEUED,
            Status.STOPPED,
            Status.COMPLETED,
            Status.FAILED,
        }
    ),
    Status.STOPPED: frozenset({Status.QUEUED, Status.RUNNING}),
    Status.FAILED: frozenset({Status.QUEUED, Status.RUNNING}),
    Status.COMPLETED: frozenset({Status.RUNNING}),
}
"""The one table of status changes. From an ended status only `resume` leads on."""


def check_change(session_id: str, now: Status, new: Status) -> None:
    """Refuse a status change the table does not know.

    Raises:
        Conflict: with code ``status_conflict``, naming both and what may follow.
    """
    if new == now or new in ALLOWED[now]:
        return
    allowed = sorted(s.value for s in ALLOWED[now])
    raise Conflict(
        f"session {session_id} is {now.value} and cannot become {new.value}",
        code="status_conflict",
        detail=f"From {now.value} it may become: {', '.join(allowed) or 'nothing'}.",
        details={"session_id": session_id, "status": now.value, "allowed": allowed},
    )


class Session(msgspec.Struct, kw_only=True, frozen=True):
    """One session as every door shows it."""

    session_id: str
    training_session_id: str
    kind: Kind
    name: str
    notes: str = ""
    algorithm: str
    scenario_name: str | None = None
    model_generation: int = 1
    status: Status
    wanted: Wanted
    verbs: list[str] = []
    """What may be asked of it right now: of pause, resume, stop, checkpoint."""
    stop_reason: str | None = None
    error: dict[str, Any] | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    last_seen_at: datetime | None = None
    created_at: datetime
    current_episode: int = 0
    total_episodes: int | None = None
    eta_seconds: float | None = None
    speed: float | None = None
    """Environment steps, or else episodes, a second: the reporter's own figure."""
    latest: dict[str, Any] | None = None
    """The newest known value of every metric, in the shape of a metrics record."""
    last_seq: int = 0
    attempt: int = 0
    """How many workers have claimed it; only the newest may report."""
    spectator_count: int = 0
    room_code: str | None = None
    enable_spectators: bool = True
    tags: list[str] = []
    config: dict[str, Any] = {}
    parent_session_id: str | None = None
    archived: bool = False


def slug(text: str) -> str:
    """`text` made safe for a URL path: 1 to 128 of ``[A-Za-z0-9._~-]``.

    The names ``.`` and ``..`` would walk up a path and are never returned.
    """
    safe = _UNSAFE.sub("-", text).strip("-.")[:128].strip("-.")
    return safe or new_id()


def new_id() -> str:
    """A fresh session id: 12 unambiguous characters, about 59 bits."""
    drawn = secrets.randbelow(len(_ALPHABET) ** 12)
    letters = []
    for _ in range(12):
        drawn, letter = divmod(drawn, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    return "".join(letters)


def session_id_of(training_session_id: str) -> str:
    """The `session_id` under which a reporter's own id is served."""
    plain = ID_PATTERN.fullmatch(training_session_id) and training_session_id.strip(".")
    return training_session_id if plain else slug(training_session_id)
