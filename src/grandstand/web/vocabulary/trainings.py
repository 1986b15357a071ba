"""Socket.IO: the events of trainings, and the one a client sends."""

from __future__ import annotations

from typing import Final

from grandstand.web.vocabulary.spectator import SKIPPED
from grandstand.web.vocabulary.words import AT, Event, Field

SESSION_ID: Final = Field("session_id", "string", "which training")
SEQ: Final = Field("seq", "integer", "its place in the session")
SCENARIO: Final = Field("scenario_name", "string", "its scenario")
END_FIELDS: Final = (
    SCENARIO,
    Field("episodes_completed", "integer", "how many it made"),
    Field("total_episodes", "integer", "how many it was to make"),
    Field("reason", "string or null", "why it ended"),
    Field("final_metrics", "object or null", "the last figures"),
    Field("models", "object", "file of each saved model, by its part"),
    SESSION_ID,
    SEQ,
)
_END: Final = {
    "scenario_name": "balanced",
    "episodes_completed": 100,
    "total_episodes": 100,
    "reason": "completed",
    "final_metrics": {"avg_reward": 3.5},
    "models": {"high_agent": "models/balanced_high_agent.pt"},
    "session_id": "a7c2k9mxq3vb",
    "seq": 102,
}
EVENTS: Final = (
    Event(
        "connection_established",
        "the greeting",
        {"message": "connected to Grandstand", "sid": "x4Bq", "server_version": "0.1.0"},
        (
            Field("message", "string", "for people"),
            Field("sid", "string", "names this connection"),
            Field("server_version", "string", "Grandstand's"),
        ),
    ),
    Event(
        "training_started",
        "a worker began",
        {
            "scenario_name": "balanced",
            "num_episodes": 100,
            "start_time": AT,
            "session_id": "a7c2k9mxq3vb",
            "seq": 2,
        },
        (
            SCENARIO,
            Field("num_episodes", "integer", "how many it is to make"),
            Field("start_time", "string", "when, UTC"),
            SESSION_ID,
            SEQ,
        ),
    ),
    Event(
        "training_progress",
        "the newest figures, ten times a second at most",
        {
            "episode": 7,
            "total_episodes": 100,
            "avg_reward": 3.5,
            "avg_duration": 12.0,
            "avg_cash": 3000.0,
            "avg_invested": 9000.0,
            "stability": 0.9,
            "goal_adherence": 0.8,
            "elapsed_time": 1.5,
            "session_id": "a7c2k9mxq3vb",
            "seq": 3,
        },
        (
            Field("episode", "integer", "episodes finished"),
            Field("total_episodes", "integer", "how many it is to make"),
            Field("avg_reward", "number", "recent average of the episodes' returns"),
            Field("avg_duration", "number", "… of their months"),
            Field("avg_cash", "number", "… of cash at their end"),
            Field("avg_invested", "number", "… of what is invested at their end"),
            Field("stability", "number", "… share of stable months"),
            Field("goal_adherence", "number", "… how near to the goal"),
            Field("elapsed_time", "number", "seconds of training, pauses left out"),
            SESSION_ID,
            SEQ,
            *SKIPPED,
        ),
    ),
    Event("training_completed", "it made all its episodes", _END, END_FIELDS),
    Event(
        "training_stopped", "it was stopped before", {**_END, "reason": "asked to stop"}, END_FIELDS
    ),
    Event(
        "training_error",
        "it failed",
        {
            "message": "no memory left",
            "details": {"type": "MemoryError", "message": "no memory left"},
            "code": "MemoryError",
            "session_id": "a7c2k9mxq3vb",
            "seq": 4,
        },
        (
            Field("message", "string", "a sentence"),
            Field("details", "object", "all that is known, such as a traceback"),
            Field("code", "string", "its kind"),
            SESSION_ID,
            SEQ,
        ),
    ),
    Event(
        "subscribe_training",
        "**sent by you:** hear one session or one scenario only; `{}`: all again",
        {"session_id": "a7c2k9mxq3vb", "since": 0},
        (
            Field("session_id", "string", "this one", False),
            Field("scenario_name", "string", "or those of this scenario", False),
            Field("since", "integer", "with `session_id`: first what came after this seq", False),
        ),
        answer=(
            Field(
                "subscribed",
                "any",
                '`"all"`, `{session_id}`, `{scenario_name}`, or null if refused',
            ),
            Field("recovered", "boolean", "with `since`: whether nothing is missing", False),
            Field("error", "string", "a code, if refused", False),
            Field("message", "string", "a sentence, if refused", False),
        ),
    ),
    Event(
        "authorize",
        "**sent by you:** go on with another token, before the one it came with ends",
        {"token": "TOKEN"},
        (Field("token", "string", "of the same seat, where it is from a room"),),
        answer=(
            Field("authorized", "boolean", "whether it holds"),
            Field("expires_at", "time or null", "when it ends", False),
            Field("error", "string", "a code, if refused", False),
            Field("message", "string", "a sentence, if refused", False),
        ),
    ),
)
