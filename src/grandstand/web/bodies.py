"""What the routes take, as pydantic models: names, bounds, and a word on each."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from grandstand.model.session import Status
from grandstand.model.stopping import StoppingRules
from grandstand.model.telemetry import as_utc, encode
from grandstand.service.rooms import RoomAccess

Moment = Annotated[datetime, AfterValidator(as_utc)]
DEEPEST = 64
"""Levels that free JSON may be nested."""


def _storable(value: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    if level:
        raise ValueError(f"must not be nested more than {DEEPEST} deep")
    try:
        encode(value)
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text; half of a surrogate pair is none") from None
    return value


Free = Annotated[dict[str, Any], AfterValidator(_storable)]
"""Any JSON object that can be stored and given back."""
Tag = Annotated[str, Field(min_length=1, max_length=64)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,32}$")]
Instance = Annotated[str, Field(pattern=r"^[0-9a-f]{8,32}$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Episodes = Annotated[int, Field(ge=1, le=1_000_000_000)]


class Body(BaseModel):
    """A body whose unknown keys are refused by name."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    @field_validator("*")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        """PostgreSQL holds none in a text, see `store/texts.py`; in free JSON it is escaped."""
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and "\0" in text:
                raise ValueError("must not hold NUL (U+0000)")
        return value


class SessionCreate(Body):
    """Open an external session."""

    training_session_id: str | None = Field(None, min_length=1, max_length=512)
    """Your own id; the session's is the same where it fits into a URL. Left out: generated."""
    model_generation: int = Field(1, ge=0, lt=2**31)
    algorithm: str = Field(min_length=1, max_length=256)
    total_episodes: int | None = Field(None, ge=1, le=2**53)
    name: str | None = Field(None, min_length=1, max_length=256)
    notes: str = Field("", max_length=20_000)
    tags: list[Tag] = Field(default_factory=list, max_length=64)
    config: Free = Field(default_factory=dict)
    room_code: str | None = Field(None, max_length=32)
    enable_spectators: bool = True
    resume: bool = False
    """Go on with the session of that id if there is one."""


class SessionUpdate(Body):
    """Change what a session says of itself."""

    status: Status | None = None
    current_episode: int | None = Field(None, ge=0, le=2**53)
    total_episodes: int | None = Field(None, ge=1, le=2**53)
    end_time: Moment | None = None
    name: str | None = Field(None, min_length=1, max_length=256)
    notes: str | None = Field(None, max_length=20_000)
    tags: list[Tag] | None = Field(None, max_length=64)
    archived: bool | None = None


class SessionWords(Body):
    """What people call a session and write beside it."""

    name: str | None = Field(None, min_length=1, max_length=256)
    notes: str | None = Field(None, max_length=20_000)
    tags: list[Tag] | None = Field(None, max_length=64)


SessionIds = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=128)]], Field(min_length=1, max_length=1000)
]


class BulkChange(Body):
    """Do the same to many sessions."""

    ids: SessionIds
    action: Literal["archive", "unarchive", "tag", "untag", "delete"]
    tags: list[Tag] = Field(default_factory=list, max_length=64)
    """For tag and untag."""
    files: bool = False
    """With delete: also model files and checkpoints."""

    @model_validator(mode="after")
    def _tags(self) -> Self:
        if self.action in ("tag", "untag") and not self.tags:
            raise ValueError("name at least one of tags")
        return self


class Sizes(Body):
    """Whose disk use is asked for."""

    ids: SessionIds


class ResumeFrom(Body):
    """The session (and checkpoint) a new training goes on from."""

    session_id: str = Field(min_length=1, max_length=128)
    checkpoint: int | None = Field(None, ge=0)
    """The checkpoint's episode; left out, the newest whole one."""


class TrainingStart(Body):
    """Start a training."""

    scenario_name: str = Field(min_length=1, max_length=100)
    num_episodes: Episodes | None = None
    """Left out: as many as the scenario says."""
    save_interval: int = Field(100, ge=1)
    """A checkpoint at the first update at or after every so many episodes; where every update
    brings so many, as many as cost no more than a fiftieth of the time."""
    eval_episodes: int = Field(10, ge=0, le=100_000)
    """Greedy episodes to play at the end; 0 for none."""
    seed: Seed | None = None
    queue: bool = False
    """Wait in the queue instead of being refused when the server is busy."""
    priority: int = Field(0, ge=-1000, le=1000)
    name: str | None = Field(None, min_length=1, max_length=256)
    tags: list[Tag] = Field(default_factory=list, max_length=64)
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    ranks: int | None = Field(None, ge=1, le=256)
    """Processes that train one policy together, at most one a core; left out: the scenario's."""
    pace: float | None = Field(None, gt=0, le=1e6)
    """Episodes a second, to watch; left out: as fast as it goes."""
    overrides: Free = Field(default_factory=dict)
    """Values of the scenario to replace for this training."""
    resume_from: ResumeFrom | None = None
    early_stopping: StoppingRules | None = None
    """What may end it before its last episode."""
    labels: list[Label] = Field(default_factory=list, max_length=8)
    """What the machine must have that runs it."""


class Take(Body):
    """A supervisor on another machine is there, and takes a training if there is one for it."""

    instance: Instance
    """Of its process."""
    labels: list[Label] = Field(default_factory=list, max_length=8)
    """What its machine has."""
    capacity: int = Field(ge=0, le=1000)
    """Trainings it runs at once."""
    running: int = Field(ge=0, le=10_000)
    """Trainings it runs now."""
    version: str = Field("", max_length=64)
    """Of its program."""
    room: bool = True
    """False: it takes none now."""
    draining: bool = False
    """What it knows of that; a change is told at once."""
    wait_seconds: float = Field(0.0, ge=0, le=30)
    """How long the answer may be held while there is nothing to say."""


class Launched(Body):
    """The worker of a job."""

    attempt: int = Field(ge=0, le=2**31)
    handle: str = Field(min_length=1, max_length=200)
    """By which its supervisor finds it again after a restart."""


class WorkerGone(Body):
    """How a worker ended."""

    attempt: int = Field(ge=0, le=2**31)
    why: str = Field(min_length=1, max_length=500)
    error: Free | None = None
    """What is known of the failure."""
    counts: bool = True
    """False: the training is not to blame."""


class Drain(Body):
    """Whether a supervisor is to take no more trainings."""

    draining: bool


class QueueChange(Body):
    """Move a waiting training. Name one of the three."""

    priority: int | None = Field(None, ge=-1000, le=1000)
    """The highest goes first."""
    before: str | None = Field(None, min_length=1, max_length=128)
    """The waiting session it is to come right before, whose priority it takes."""
    after: str | None = Field(None, min_length=1, max_length=128)
    """The waiting session it is to come right behind, whose priority it takes."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(told is not None for told in (self.priority, self.before, self.after)) != 1:
            raise ValueError("name exactly one of priority, before and after")
        return self


class TrainingStop(Body):
    """Stop a training."""

    session_id: str | None = Field(None, min_length=1, max_length=128)
    """Needed only when several are active."""


class Heartbeat(Body):
    """A worker's sign of life."""

    status: Status | None = None
    wanted: Literal["running", "paused", "stopped"] | None = None
    """The wish the worker knows; the answer is held until there is another one."""
    wait_seconds: float = Field(0, ge=0, le=20)
    listens: list[Literal["pause", "stop"]] = []
    """Of a script: what it looks out for, and may be asked from now on."""
    paused: bool | None = None
    """Of a script: whether it waits now."""


class Finish(Body):
    """How a session ended."""

    status: Literal["completed", "stopped", "failed", "released"]
    reason: str | None = Field(None, max_length=2000)
    error: Free | None = None
    final_metrics: Free | None = None
    models: Free | None = None


class Evaluate(Body):
    """Have a model played."""

    scenario_name: str | None = Field(None, min_length=1, max_length=100)
    """Left out: the one it was trained on."""
    episodes: int = Field(1000, ge=1, le=1_000_000)
    seed: Seed = 0
    greedy: bool = True
    """The policy's mean action instead of a drawn one."""
    market_noise: bool = False
    """Draw the market; without it every month brings its mean return."""
    trajectories: int = Field(0, ge=0, le=100)
    """Episodes to give back month by month."""


class Act(Body):
    """A situation for a model."""

    observation: list[Any] = Field(min_length=1, max_length=100_000)
    """As the environment gives it; for a household the 8 (or, with a goal, 11) raw numbers."""
    greedy: bool = True
    """The action it likes best instead of a drawn one."""
    seed: Seed | None = None
    """Of the draw."""


class CompareModels(Body):
    """Models to set beside one another."""

    models: list[Annotated[str, Field(min_length=1, max_length=128)]] = Field(
        min_length=2, max_length=20
    )
    """Ids of their sessions, or names of scenarios (their newest model)."""


class Evaluated(Body):
    """What a worker found."""

    status: Literal["completed", "failed"]
    result: Free | None = None
    error: Free | None = None


class RoomCreate(Body):
    """Open a session's room."""

    access: RoomAccess = RoomAccess.PUBLIC
    password: str | None = Field(None, min_length=1, max_length=1024)
    """Of a password room, 6 characters or more; left out, one is made and told this once."""
    name: str | None = Field(None, min_length=1, max_length=64)
    max_spectators: int = Field(50, ge=1, le=10_000)
    expires_at: Moment | None = None
    """When it closes by itself."""


class RoomChange(Body):
    """Change a room; what is left out stays."""

    access: RoomAccess | None = None
    password: str | None = Field(None, min_length=1, max_length=1024)
    name: str | None = Field(None, min_length=1, max_length=64)
    max_spectators: int | None = Field(None, ge=1, le=10_000)
    expires_at: Moment | None = None
    """null: never."""


class RoomJoin(Body):
    """Take a seat in a room."""

    user_name: str | None = Field(None, min_length=1, max_length=64)
    """For the others to see; whoever is signed in has their account's."""
    password: str | None = Field(None, min_length=1, max_length=1024)
    invitation: str | None = Field(None, min_length=1, max_length=4096)


class RoomInvite(Body):
    """Make an invitation to a room."""

    hours: float = Field(24, gt=0, le=24 * 30)
