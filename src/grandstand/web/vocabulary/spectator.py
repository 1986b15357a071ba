"""/ws/{session_id}: what a spectator is told, and what it may say."""

from __future__ import annotations

from typing import Final

from grandstand.model.frames import FRAME
from grandstand.model.media import HISTOGRAM, IMAGE, TEXT
from grandstand.model.telemetry import (
    CONNECTION,
    DECISION,
    ERROR,
    GRAPH,
    METRICS,
    STATUS,
)
from grandstand.web.vocabulary.words import (
    AT,
    DECIDED,
    DRAWN,
    ERROR_FIELDS,
    LATEST,
    PHASE,
    SESSION,
    SPREAD,
    WROTE,
    Asked,
    Field,
    Told,
)

ENVELOPE: Final = (
    Field("type", "string", "one of the six below"),
    Field("session_id", "string", "whose"),
    Field("seq", "integer or null", "the record's place in its session; null: not a record"),
    Field("timestamp", "string", "when it happened, UTC"),
    Field("data", "object", "the rest"),
)
PARAMETERS: Final = (
    Field("since", "integer", "the newest `seq` you have: first what you missed, then live", False),
    Field("max_hz", "number", "metrics (and decisions) a second; 10 by default, 0: all", False),
    Field("user_name", "string", "how the other spectators see you, 64 characters", False),
    Field("token", "string", "for browsers, which cannot send an Authorization header", False),
)
STATE: Final = Field("status", "string", "always `connected`")
SUBSCRIPTIONS: Final = Field("subscriptions", "array", "the message types you get")
NAMED: Final = (
    Field("name", "string", "those of one name follow one another"),
    Field("episode", "integer", "the episode it belongs to", False),
    Field("step", "integer", "steps so far", False),
)
TYPES: Final = [METRICS, DECISION, GRAPH, STATUS, CONNECTION, ERROR]

TOLD: Final = (
    Told(
        CONNECTION,
        "snapshot",
        "always the first: where the session stands",
        {
            "event": "snapshot",
            "status": "connected",
            "connection_id": "k3v9mxq2ab7c",
            "session_id": "my_run",
            "session": {**SESSION, "spectator_count": 1},
            "latest": LATEST,
            "last_seq": 2,
            "subscriptions": TYPES,
            "max_hz": 10.0,
        },
        fields=(
            STATE,
            Field("connection_id", "string", "names this connection"),
            Field("session_id", "string", "the session's id"),
            Field("session", "object", "as `GET …/{session_id}` gives it"),
            Field("latest", "object or null", "the newest value of every metric"),
            Field("last_seq", "integer", "what comes live is newer"),
            SUBSCRIPTIONS,
            Field("max_hz", "number", "your rate"),
        ),
    ),
    Told(
        CONNECTION,
        "recovered",
        "answers `since` and `resume`, before the first missed record",
        {
            "event": "recovered",
            "status": "connected",
            "recovered": True,
            "since": 1,
            "last_seq": 2,
        },
        fields=(
            STATE,
            Field(
                "recovered",
                "boolean",
                "whether every record after `since` follows; if not, what follows is new",
            ),
            Field("since", "integer", "what you asked for"),
            Field("last_seq", "integer", "the session's newest; go on from here if not recovered"),
        ),
    ),
    Told(
        CONNECTION,
        "subscribed",
        "answers `subscribe` and `unsubscribe`",
        {"event": "subscribed", "status": "connected", "subscriptions": [DECISION]},
        fields=(STATE, SUBSCRIPTIONS),
    ),
    Told(
        CONNECTION,
        "rate",
        "answers `set_rate`",
        {"event": "rate", "status": "connected", "max_hz": 5.0},
        fields=(STATE, Field("max_hz", "number", "your rate from now on")),
    ),
    Told(
        CONNECTION,
        "pong",
        "answers `ping`",
        {"event": "pong", "status": "connected", "id": 7},
        fields=(STATE, Field("id", "any", "the ping's id, or null")),
    ),
    Told(
        CONNECTION,
        "authorized",
        "answers `authorize`",
        {"event": "authorized", "status": "connected", "expires_at": AT},
        fields=(STATE, Field("expires_at", "time or null", "when the new token ends")),
    ),
    Told(
        ERROR,
        None,
        "what you sent was not understood; the socket stays open",
        {
            "error": "unknown_type",
            "message": "there is no message type 'dance'",
            "detail": "Send subscribe, unsubscribe, resume, set_rate, authorize or ping.",
            "details": {},
            "timestamp": AT,
        },
        fields=ERROR_FIELDS,
    ),
    Told(METRICS, None, "the figures of an episode or step, as reported", LATEST, seq=2),
    Told(DECISION, None, "what the agent weighed and chose", DECIDED, seq=3),
    Told(GRAPH, None, "points to append to a graph", DRAWN, seq=4),
    Told(
        STATUS,
        "status",
        "the session's status changed",
        {
            "event": "status",
            "status": "completed",
            "previous": "running",
            "wanted": "stopped",
            "reason": "completed",
        },
        seq=5,
        fields=(
            Field(
                "status",
                "string",
                "queued, starting, running, pausing, paused, stopping, "
                "stopped, completed, failed or lost",
            ),
            Field("previous", "string or null", "the one before"),
            Field("wanted", "string", "running, paused or stopped", False),
            Field("reason", "string", "why it ended", False),
            Field("error", "object", "why it failed", False),
            Field("final_metrics", "object", "the last figures of a training", False),
            Field("models", "object", "file of each saved model, by its part", False),
        ),
    ),
    Told(
        STATUS,
        "control",
        "somebody asked a worker for a checkpoint, or moved a training in the queue",
        {"event": "control", "asked": "checkpoint"},
        seq=6,
        fields=(
            Field("asked", "string", "`checkpoint` or `move`"),
            Field("priority", "integer", "of a move: the one it has now", False),
        ),
    ),
    Told(
        STATUS,
        "listens",
        "a script said that it may be asked to pause or to stop",
        {"event": "listens", "verbs": ["pause", "stop"]},
        seq=6,
        fields=(Field("verbs", "array", "which of the two"),),
    ),
    Told(
        STATUS,
        "checkpoint",
        "a worker saved a checkpoint",
        {
            "event": "checkpoint",
            "timestamp": AT,
            "episode": 100,
            "step": 6000,
            "folder": "checkpoint_episode_100",
            "bytes": 181000,
            "average_reward": 48.1,
        },
        seq=7,
        fields=(
            Field("episode", "integer", "episodes finished by then"),
            Field("step", "integer", "steps taken by then"),
            Field("folder", "string", "its name"),
            Field("bytes", "integer", "its size"),
            Field("average_reward", "number or null", "mean return of the last ten episodes"),
        ),
    ),
    Told(
        STATUS,
        "checkpoint_damaged",
        "a worker passed over a checkpoint and goes on from an older one",
        {
            "event": "checkpoint_damaged",
            "timestamp": AT,
            "message": "passed over checkpoint_episode_100: state.pt damaged",
        },
        seq=8,
        fields=(Field("message", "string", "which, and what is wrong with it"),),
    ),
    Told(
        STATUS,
        "rank_lost",
        "a rank of a training ended; another attempt goes on from the newest checkpoint",
        {
            "event": "rank_lost",
            "timestamp": AT,
            "message": "rank 1 ended (signal 9)",
        },
        seq=8,
        fields=(Field("message", "string", "which, and how"),),
    ),
    Told(
        STATUS,
        "checkpoint_failed",
        "a checkpoint could not be written; the training goes on",
        {
            "event": "checkpoint_failed",
            "timestamp": AT,
            "episode": 100,
            "message": "No space left on device",
        },
        seq=8,
        fields=(
            Field("episode", "integer", "episodes finished by then"),
            Field("message", "string", "what the disk said"),
        ),
    ),
    Told(
        STATUS,
        "evaluation",
        "a finished training was scored",
        {
            "event": "evaluation",
            "timestamp": AT,
            "scenario_name": "balanced",
            "episodes": 10,
            "greedy": True,
            "market_noise": False,
            "seed": 0,
            "return_mean": 51.2,
            "return_se": 0.4,
            "length_mean": 120.0,
            "months_mean": 120.0,
            "score": 0.97,
            "optimum": 51.6,
            "uniform": 36.9,
            "best_constant": 48.1,
        },
        seq=9,
        fields=(
            Field("return_mean", "number", "mean return of its episodes, and its standard error"),
            Field("length_mean", "number", "steps they lasted"),
            Field("months_mean", "number", "months; like the rest null except of a household"),
            Field("score", "number", "0: as good as equal shares; 1: the exact optimum"),
        ),
    ),
    Told(
        STATUS,
        "room",
        "the session's room was opened, changed or closed, or its time is over; see rooms.md",
        {
            "event": "room",
            "action": "opened",
            "room_code": "F7KPQX",
            "access": "public",
            "max_spectators": 50,
            "expires_at": None,
        },
        seq=10,
        fields=(
            Field("action", "string", "opened, changed, closed or expired"),
            Field("room_code", "string", "what people join by"),
            Field("access", "string", "public, password or private"),
            Field("max_spectators", "integer", "how many seats it has"),
            Field("expires_at", "time or null", "when it closes by itself"),
        ),
    ),
    Told(
        STATUS,
        "presence",
        "spectators came or went; at most once a second, not stored",
        {
            "event": "presence",
            "spectator_count": 2,
            "spectators": ["Ann", "Bo"],
            "joined": ["Bo"],
            "left": [],
            "user_name": "Bo",
            "action": "joined",
        },
        fields=(
            Field("spectator_count", "integer", "those without a name counted too"),
            Field("spectators", "array", "names, at most 100"),
            Field("joined", "array", "names that came"),
            Field("left", "array", "names that went"),
            Field("user_name", "string", "who, where it is a single one with a name", False),
            Field("action", "string", "joined or left, likewise", False),
        ),
    ),
    Told(
        STATUS,
        TEXT,
        "a text was reported",
        {"event": TEXT, **WROTE},
        seq=10,
        fields=(
            *NAMED,
            Field("text", "string", "the text"),
            Field("left_out", "integer", "characters that were cut off its end", False),
        ),
    ),
    Told(
        STATUS,
        HISTOGRAM,
        "a histogram was reported",
        {"event": HISTOGRAM, **SPREAD},
        seq=11,
        fields=(
            *NAMED,
            Field("counts", "array", "of each bin"),
            Field("edges", "array", "of the bins, rising, one more than counts"),
            Field("nan", "integer", "values in no bin; likewise the infinities", False),
            Field("positive_infinity", "integer", "likewise", False),
            Field("negative_infinity", "integer", "likewise", False),
        ),
    ),
    Told(
        STATUS,
        IMAGE,
        "an image was reported; its bytes are fetched by who looks at it",
        {
            "event": IMAGE,
            "url": "/api/training/sessions/my_run/media/12?v=ee000b3db71465fd",
            "name": "track",
            "step": 120,
            "media_type": "image/webp",
            "size_bytes": 38,
            "width": 2,
            "height": 2,
            "digest": "ee000b3db71465fd",
        },
        seq=12,
        fields=(
            *NAMED,
            Field("url", "string", "of its bytes, which never change"),
            Field("media_type", "string", "`image/jpeg`, `image/webp` or `image/png`"),
            Field("size_bytes", "integer", "of the file"),
            Field("width", "integer", "in pixels"),
            Field("height", "integer", "in pixels"),
            Field("digest", "string", "of the bytes"),
            Field("caption", "string", "a line below it", False),
        ),
    ),
    Told(
        STATUS, None, "what a reporter calls an event: a phase, a level, a restart", PHASE, seq=13
    ),
)

SKIPPED: Final = (
    Field("skipped_from", "integer", "first seq left out before this message", False),
    Field("skipped_to", "integer", "last seq left out before this message", False),
)

NAMES: Final = Field("message_types", "array", "some of the six types, or `frame`; at least one")
FRAME_HEADER: Final = (
    Field("type", "string", "always `frame`"),
    Field("session_id", "string", "whose"),
    Field("episode", "integer or null", "the episode it is of"),
    Field("step", "integer or null", "the step it was taken at"),
    Field("return", "number or null", "the episode's return so far"),
    Field("media_type", "string", "`image/jpeg` or `image/webp`"),
    Field("timestamp", "string", "when it arrived, UTC"),
)
"""What the JSON before a frame's image says."""
FRAME_EXAMPLE: Final = {
    "type": FRAME,
    "session_id": "my_run",
    "episode": 3,
    "step": 412,
    "return": 17.0,
    "media_type": "image/jpeg",
    "timestamp": AT,
}
ASKED: Final = (
    Asked(
        "subscribe",
        'get these types; the first time it narrows "all" to them, afterwards it adds',
        "subscribed",
        "bad_message_types",
        {"type": "subscribe", "message_types": [DECISION]},
        (NAMES,),
    ),
    Asked(
        "unsubscribe",
        "no longer get these types",
        "subscribed",
        "bad_message_types",
        {"type": "unsubscribe", "message_types": [DECISION]},
        (NAMES,),
    ),
    Asked(
        "resume",
        "send every record after `since` again, then go on live",
        "recovered",
        "bad_since",
        {"type": "resume", "since": 1},
        (Field("since", "integer", "a seq, 0 or more"),),
    ),
    Asked(
        "set_rate",
        "get at most so many metrics (and decisions) a second",
        "rate",
        "bad_rate",
        {"type": "set_rate", "max_hz": 5},
        (Field("max_hz", "number", "0 (every record) to 1000"),),
    ),
    Asked(
        "authorize",
        "bring a token: first of all, or a new one before the old one ends",
        "authorized",
        "bad_token",
        {"type": "authorize", "token": "TOKEN"},
        (Field("token", "string", "as of an Authorization header"),),
    ),
    Asked(
        "ping",
        "say something",
        "pong",
        None,
        {"type": "ping", "id": 7},
        (Field("id", "any", "comes back", False),),
    ),
)
REFUSALS: Final = {
    "malformed_json": "not JSON",
    "bad_message": "not an object with a `type`, not text, or more than 64 KiB",
    "unknown_type": "no such `type`",
    "bad_message_types": "not a list of message types",
    "bad_since": "not a seq",
    "bad_rate": "not a rate from 0 to 1000",
    "bad_token": "not a text; of one that does not hold, the code says why (`token_expired` …)",
}
"""Codes of a spectator's `error`."""
