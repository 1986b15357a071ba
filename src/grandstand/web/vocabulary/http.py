"""Reporting and reading over HTTP: a request and its answer for each, in an order that works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from grandstand.model.telemetry import METRICS, STATUS
from grandstand.web.vocabulary.words import (
    AT,
    COLUMNS,
    DECIDED,
    DRAWN,
    FAILURE,
    LATEST,
    PHASE,
    SESSION,
)

BASE: Final = "/api/training/sessions"


@dataclass(frozen=True, slots=True)
class Call:
    """A request and its answer.

    Attributes:
        path: with an example's session in it; route: as the OpenAPI document has it.
        answer: decoded JSON; text where it is a file; None where there is none.
        status: of the answer.
    """

    what: str
    method: str
    path: str
    answer: Any
    status: int = 200
    body: dict[str, Any] | None = None

    @property
    def route(self) -> str:
        """The path without what is an example's."""
        return self.path.partition("?")[0].replace("/my_run", "/{session_id}")


MADE: Final = {**SESSION, "current_episode": 0, "latest": None, "last_seq": 1}
LATER: Final = {
    "episode": 3,
    "current_reward": 2.0,
    "loss_value": 0.25,
    "extra": {"grad/norm": 0.5},
}
NOW: Final = {**SESSION, "current_episode": 3, "latest": LATER, "last_seq": 7}
CALLS: Final = (
    Call(
        "Open a session; your id becomes its `session_id` where it fits into a URL. With "
        '`"resume": true` one that is there already goes on',
        "POST",
        BASE,
        MADE,
        201,
        {"training_session_id": "my_run", "algorithm": "DQN", "total_episodes": 100},
    ),
    Call(
        "Report metrics: all but `episode` may be missing or null, other names go into `extra`. "
        'NaN and infinities are `"NaN"`, `"Infinity"`, `"-Infinity"`',
        "POST",
        f"{BASE}/my_run/metrics",
        {"message": "recorded", "seq": 2},
        body={**LATEST, "extra": {"grad/norm": 0.5}},
    ),
    Call(
        "Report a decision; what is odd about it is stored and said in `warnings`",
        "POST",
        f"{BASE}/my_run/bot_decision",
        {
            "message": "recorded",
            "seq": 3,
            "warnings": ["action_probabilities add up to 0.9, not 1"],
        },
        body={**DECIDED, "action_probabilities": {"left": 0.1, "jump": 0.8}},
    ),
    Call(
        "Append points to a graph",
        "POST",
        f"{BASE}/my_run/graph_update",
        {"message": "recorded", "seq": 4},
        body=DRAWN,
    ),
    Call(
        "Report many records at once, at most 10,000 and 8 MiB: all are stored or none. The same "
        '`batch_id` again is answered `"duplicate": true` and stored once. '
        "Answers to records have `wanted` where people want the session paused or stopped",
        "POST",
        f"{BASE}/my_run/records",
        {"accepted": 3, "last_seq": 7, "duplicate": False},
        body={
            "batch_id": "b1",
            "records": [
                {"type": METRICS, "columns": COLUMNS},
                {"type": STATUS, "data": PHASE, "key": "phase 1"},
            ],
        },
    ),
    Call(
        "Read records back, in order, a page at a time: `cursor` is the `next_cursor` of the page "
        "before. `type` may also be training_status, text, histogram and image (then in `events`, "
        "`texts`, …). Also `after`, `before` (times), `until_seq`, `episode_from`, `episode_to`, "
        "`metrics` (names, also of media)",
        "GET",
        f"{BASE}/my_run/history?type=training_metrics,bot_decision&since_seq=2&limit=1",
        {
            "session_id": "my_run",
            "metrics_data": [],
            "bot_decisions": [
                {
                    "action_probabilities": {"left": 0.1, "jump": 0.8},
                    "selected_action": "jump",
                    "confidence_score": 0.8,
                    "episode": 1,
                    "seq": 3,
                    "timestamp": AT,
                }
            ],
            "graph_data": [],
            "total_points": 1,
            "oldest_seq": 1,
            "next_cursor": "3",
        },
    ),
    Call(
        "Read curves, of at most `max_points` points each: `x` is episode, step, time or "
        "seq, `from` and `to` bound it",
        "GET",
        f"{BASE}/my_run/series?metrics=current_reward&max_points=1000",
        {
            "session_id": "my_run",
            "x": "episode",
            "last_seq": 7,
            "metrics": ["current_reward", "loss_value", "grad/norm"],
            "series": {
                "current_reward": {
                    "x": [1, 2, 3],
                    "seq": [2, 5, 6],
                    "min": [1.5, 1.0, 2.0],
                    "max": [1.5, 1.0, 2.0],
                    "mean": [1.5, 1.0, 2.0],
                    "last": [1.5, 1.0, 2.0],
                    "count": [1, 1, 1],
                    "points": 3,
                }
            },
        },
    ),
    Call(
        "Take everything as a file: csv, ndjson or parquet, with the filters of `history`",
        "GET",
        f"{BASE}/my_run/export?format=csv&until_seq=2",
        f"seq,timestamp,episode,step,current_reward,loss_value,grad/norm\n"
        f"2,{AT},1,0,1.5,0.25,0.5\n",
    ),
    Call(
        "Look at a session",
        "GET",
        f"{BASE}/my_run",
        NOW,
    ),
    Call(
        "List sessions: those not ended, or `status` (a list with commas, or `all`), `algorithm`, "
        "`tag`, `q`, `archived`, `sort`, `limit`, `cursor`, `group`, `within`",
        "GET",
        f"{BASE}?status=running,paused&limit=1",
        {
            "sessions": [NOW],
            "total": 1,
            "counts": {"running": 1},
            "next_cursor": None,
        },
    ),
    Call(
        "A value that cannot be: the error names it",
        "POST",
        f"{BASE}/my_run/metrics",
        {
            **FAILURE,
            "message": "episode: expected `int`, got `str`",
            "details": {"field": "episode", "problem": "expected `int`, got `str`"},
        },
        422,
        {"episode": "first"},
    ),
    Call(
        "Change a session, or end it: `status` completed, stopped or failed",
        "PUT",
        f"{BASE}/my_run",
        {
            **NOW,
            "status": "completed",
            "wanted": "stopped",
            "stop_reason": "completed",
            "end_time": AT,
            "last_seq": 8,
            "tags": ["baseline"],
        },
        body={"status": "completed", "tags": ["baseline"]},
    ),
    Call(
        "Delete a session with all its records (`force=true` for a managed one that runs)",
        "DELETE",
        f"{BASE}/my_run",
        None,
        204,
    ),
)
