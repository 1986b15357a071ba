"""What the words of the wire are written down with, and what they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

AT: Final = "2026-05-01T10:00:00Z"


@dataclass(frozen=True, slots=True)
class Field:
    """A name in a message.

    Attributes:
        kind: its JSON type; `` or null`` behind it where it may be null.
        always: whether it is in every such message.
    """

    name: str
    kind: str
    meaning: str
    always: bool = True


@dataclass(frozen=True, slots=True)
class Told:
    """A message that a spectator's socket sends.

    Attributes:
        type: of the envelope. event: its `data.event`, None for a type that has none.
        data: an example of the envelope's data. seq: of the example; None where there is none.
        fields: what the data holds, where no schema says so.
    """

    type: str
    event: str | None
    meaning: str
    data: dict[str, Any]
    seq: int | None = None
    fields: tuple[Field, ...] = ()

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return self.type if self.event is None else f"{self.type} · {self.event}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A message that a spectator's socket understands.

    Attributes:
        answer: the event it is answered with. refusal: the code of the `error` it may get instead.
    """

    type: str
    meaning: str
    answer: str
    refusal: str | None
    example: dict[str, Any]
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that the reporters' socket takes, or one it answers with."""

    name: str
    meaning: str
    example: Any
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """An event of Socket.IO, sent by the server unless `answer` says how a client's is answered."""

    name: str
    meaning: str
    example: dict[str, Any]
    fields: tuple[Field, ...]
    answer: tuple[Field, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Close:
    """A close code of the WebSockets.

    Attributes:
        again: whether to connect again.
    """

    code: int
    meaning: str
    again: bool


# Parts of examples that come more than once.

LATEST: Final[dict[str, Any]] = {"episode": 1, "current_reward": 1.5, "loss_value": 0.25}
SESSION: Final[dict[str, Any]] = {
    "session_id": "my_run",
    "training_session_id": "my_run",
    "kind": "external",
    "name": "my_run",
    "notes": "",
    "algorithm": "DQN",
    "scenario_name": None,
    "model_generation": 1,
    "status": "running",
    "wanted": "running",
    "verbs": [],
    "stop_reason": None,
    "error": None,
    "start_time": AT,
    "end_time": None,
    "last_seen_at": AT,
    "created_at": AT,
    "current_episode": 1,
    "total_episodes": 100,
    "eta_seconds": None,
    "speed": None,
    "latest": LATEST,
    "last_seq": 2,
    "attempt": 0,
    "spectator_count": 0,
    "room_code": None,
    "enable_spectators": True,
    "tags": [],
    "config": {},
    "parent_session_id": None,
    "archived": False,
}
DECIDED: Final[dict[str, Any]] = {
    "action_probabilities": {"left": 0.2, "jump": 0.8},
    "selected_action": "jump",
    "confidence_score": 0.8,
    "episode": 1,
}
DRAWN: Final[dict[str, Any]] = {
    "graph_id": "q",
    "title": "Q values",
    "data_points": {"mean": [{"timestamp": AT, "value": 2.0}]},
}
PHASE: Final[dict[str, Any]] = {"event": "phase", "phase": "exploit"}
COLUMNS: Final[dict[str, Any]] = {"episode": [2, 3], "current_reward": [1.0, 2.0]}
WROTE: Final[dict[str, Any]] = {"name": "answers/first", "text": "Move left.", "step": 120}
SPREAD: Final[dict[str, Any]] = {"name": "weights/out", "counts": [3, 5], "edges": [-1.0, 0.0, 1.0]}
IMAGE_FILE: Final = "UklGRh4AAABXRUJQVlA4TBEAAAAvAUAAAAfQtSoUqv+BiOh/AAA="
PAINTED: Final[dict[str, Any]] = {"name": "track", "image": IMAGE_FILE, "step": 120}
FAILURE: Final[dict[str, Any]] = {
    "error": "validation_failed",
    "message": "data.episode: expected `int`, got `str`",
    "detail": "",
    "details": {"field": "data.episode", "problem": "expected `int`, got `str`"},
    "timestamp": AT,
}
"""The one error body: of HTTP answers, of a spectator's `error`, of a reporter's refusal."""

ERROR_FIELDS: Final = (
    Field("error", "string", "a stable code, for programs"),
    Field("message", "string", "a sentence, for people"),
    Field("detail", "string", "what to do about it; may be empty"),
    Field("details", "object", "field, value, bound and the like"),
    Field("timestamp", "string", "when, UTC"),
)

CLOSES: Final = (
    Close(1003, "not text that could be JSON", False),
    Close(1006, "no close frame at all: the connection broke", True),
    Close(1007, "a reporter's frame is not UTF-8", False),
    Close(1009, "a frame of more than twice `performance.max_body_bytes`", False),
    Close(
        1011, "something failed on the server (its log says what), or pings went unanswered", True
    ),
    Close(1012, "the server is restarting, or its database is away", True),
    Close(4400, "a Host header that this server does not answer for", False),
    Close(4401, "no valid token", False),
    Close(4403, "not allowed: the token, or the Origin of the page", False),
    Close(4404, "no such session", False),
    Close(4409, "conflict: the session has ended, or a newer worker reports", False),
    Close(4410, "the session was deleted", False),
    Close(4422, "a value that cannot be stored", False),
    Close(
        4429,
        "too many connections; the reason begins with the seconds to wait: `10 seconds: …`",
        True,
    ),
    Close(4508, "too slow: you left too much unread", True),
)
