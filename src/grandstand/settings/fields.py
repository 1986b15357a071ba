"""The settings: every field with its bounds, its default and a sentence.

Frozen: a running server's settings never change under it. `env` in a field's extra data is the
short environment variable that also sets it; every field has a long one (see `layers`). `later`
marks a field that is understood but that this version does not act on yet.
"""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
)

SAMPLE_SECRETS = frozenset({"your-secret-key", "production-secret-key", "changeme", "secret"})
"""Secrets that stand in published examples, so anybody can sign with them."""

DEFAULT_DATA_PATH = Path("data/training_metrics")
DEFAULT_DATABASE_URL = "sqlite:///data/training_metrics.db"


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
]


class Section(BaseModel):
    """What all sections share: frozen, and a key nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class DatabaseConfig(Section):
    """Where records are kept."""

    enabled: bool = Field(
        True,
        description="False keeps everything in a temporary SQLite file that is removed at the end.",
    )
    url: str | None = Field(
        None,
        repr=False,
        description=f"Database URL. Unset: `{DEFAULT_DATABASE_URL}`, or `training_metrics.db` "
        "inside `data_storage_path` where that one is set. "
        "`postgresql://user:password@host/name` keeps records in PostgreSQL, which "
        "`pip install 'grandstand[postgres]'` brings the driver for.",
        json_schema_extra={"env": "DATABASE_URL"},
    )


class RedisConfig(Section):
    """The bus between several instances on one PostgreSQL. One process alone needs none."""

    enabled: bool | None = Field(
        None,
        description="Whether to use Redis, which `pip install 'grandstand[redis]'` brings the "
        "library for. Unset: as soon as `redis.url` is set. It needs PostgreSQL beside it.",
    )
    url: str | None = Field(
        None,
        repr=False,
        description="Redis URL, such as `redis://localhost:6379/0`.",
        json_schema_extra={"env": "REDIS_URL"},
    )
    host: str = Field("localhost", description="Redis host, where `redis.url` is unset.")
    port: int = Field(6379, ge=1, le=65535, description="Redis port, where `redis.url` is unset.")
    name: str = Field(
        "grandstand",
        min_length=1,
        description="What keys and channels in Redis begin with. Alike at every instance on one "
        "database; different where servers of several databases share a Redis.",
    )

    @property
    def active(self) -> bool:
        """Whether Redis is asked for: said outright, or implied by a URL."""
        return self.url is not None if self.enabled is None else self.enabled

    @property
    def address(self) -> str | None:
        """The URL to use; None where Redis is not asked for."""
        if not self.active:
            return None
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.url or f"redis://{host}:{self.port}/0"


class SecurityConfig(Section):
    """Who may do what, and from where."""

    enable_auth: bool = Field(
        False,
        description="Ask every request and socket for a token. Off, the server answers everybody "
        "who can reach it, so it only binds to this machine.",
    )
    jwt_secret_key: SecretStr | None = Field(
        None,
        description="Signs tokens. At least 32 characters, needed when `security.enable_auth` is "
        'on; `python -c "import secrets; print(secrets.token_urlsafe(48))"` makes one.',
        json_schema_extra={"env": "JWT_SECRET_KEY"},
    )
    cors_origins: list[str] = Field(
        ["http://localhost:3000", "http://localhost:4000"],
        description="Origins of other pages that may call this server from a browser. The "
        "server's own page always may. `*` allows every origin, without credentials.",
        json_schema_extra={"env": "CORS_ORIGINS"},
    )
    allowed_hosts: list[str] = Field(
        [],
        description="Names this server is reached by (`Host` header), besides loopback names and "
        "`host`. `*` allows any name, which gives up the guard against DNS rebinding.",
    )
    allow_public_without_auth: bool = Field(
        False,
        description="Bind to other than loopback addresses with auth off. Everybody in reach may "
        "then start trainings and delete sessions: for closed networks and containers.",
    )

    token_hours: float = Field(12, gt=0, le=24 * 366, description="Hours that signing in lasts.")
    token_leeway_seconds: float = Field(
        10,
        ge=0,
        le=300,
        description="How far the clocks of those who make and read a token may be apart.",
    )
    watch_token_minutes: float = Field(
        15,
        gt=0,
        le=24 * 60,
        description="Minutes that a watch token from a room lasts; whoever has one renews it.",
    )

    def secret(self) -> str | None:
        """The signing key, or None where it is unset or a published sample."""
        value = self.jwt_secret_key.get_secret_value() if self.jwt_secret_key else ""
        return value if value and value not in SAMPLE_SECRETS else None


class IntegrationConfig(Section):
    """What stands beside this server."""

    game_server_url: str | None = Field(
        None,
        description="Address of the game server whose rooms show this server's sessions: below it, "
        "`/webhooks/grandstand` is told what becomes of them, as `webhook_endpoints` are.",
        json_schema_extra={"env": "GAME_SERVER_URL"},
    )
    enable_spectator_integration: bool = Field(
        True,
        description="Let sessions have rooms to be watched in; off, none is opened.",
    )
    webhook_endpoints: list[str] = Field(
        [],
        description="Addresses told when a session starts, pauses, ends or fails "
        "([webhooks.md](webhooks.md)).",
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description="Signs what is sent there: `whsec_` and the base64 of 24 to 64 random bytes. "
        "Left out, one is made and kept in the database; `grandstand webhook-secret` prints it.",
    )


class PerformanceConfig(Section):
    """Bounds that keep the server quick and its memory flat."""

    max_connections_per_session: int = Field(
        50,
        ge=1,
        description="Most spectators of one session; the next is asked to come back later.",
        json_schema_extra={"env": "MAX_CONNECTIONS_PER_SESSION"},
    )
    max_connections_per_address: int = Field(
        200,
        ge=1,
        description="Most live connections from one address. Behind a proxy, name it in "
        "`trusted_proxies`, or everybody seems to come from there.",
    )
    max_total_connections: int = Field(
        1000, ge=1, description="Most live connections of all sessions together."
    )
    metrics_history_size: int = Field(
        10_000,
        ge=1,
        description="Records that a spectator who asks for a rate (not for every row) may have "
        "missed and still be sent one by one; who missed more goes on with the newest. Stored "
        "records are never dropped for it.",
    )
    cleanup_interval_seconds: float = Field(
        300,
        gt=0,
        description="Seconds between two rounds of housekeeping: what is long past is packed, "
        "and what `retention` says is old is dropped.",
    )
    enable_rate_limiting: bool = Field(
        False,
        description="Limit requests, ingest and connections as `limits` says. Wrong passwords are "
        "limited always.",
    )
    max_body_bytes: int = Field(
        8 * 1024 * 1024, ge=1024, description="Largest request body or socket frame, in bytes."
    )
    live_max_hz: float = Field(
        10,
        ge=0,
        description="Metrics messages a second and session to a live socket that asks for no "
        "other rate; 0 sends every one. Nothing is left out of what is stored.",
    )
    send_queue_bytes: int = Field(
        1024 * 1024,
        ge=64 * 1024,
        description="Bytes that may wait for one slow spectator before it is closed with 4508.",
    )


_RATE = re.compile(r"\s*[1-9]\d*/(second|minute|hour|day)\s*")


def _rates(value: str) -> str:
    if not all(_RATE.fullmatch(part) for part in value.split(";")):
        raise ValueError("write it as 20/minute (or second, hour, day), several with ; between")
    return value


Rates = Annotated[str, AfterValidator(_rates)]


class LimitsConfig(Section):
    """How much is too much, as `20/minute` or, several that all hold, `5/minute; 20/hour`.

    Counted is by credential, else by address (of IPv6 the network of 64 bits). All but the first
    want `performance.enable_rate_limiting`.
    """

    wrong_passwords: Rates = Field(
        "5/minute; 20/hour; 100/day",
        description="Wrong passwords, of users and of rooms together, from one address. Always on.",
    )
    requests: Rates = Field("3000/minute", description="Requests over HTTP.")
    ingest_kib: Rates = Field("1048576/minute", description="What reporters send, in KiB.")
    connections: Rates = Field("300/minute", description="New sockets from one address.")


class TrainingConfig(Section):
    """How trainings are run."""

    launcher: str = Field(
        "local",
        pattern=r"^(local|ray)$",
        description="What starts workers: `local` (child processes) or `ray` (jobs of a cluster).",
    )
    ray_address: str = Field(
        "http://127.0.0.1:8265",
        min_length=1,
        description="Where the Ray cluster's dashboard is; its job API takes the workers.",
    )
    ray_python: str = Field(
        "python",
        min_length=1,
        description="The Python on the cluster's nodes, which has `grandstand[train,ray]`.",
    )
    worker_url: str = Field(
        "",
        description="How workers on other machines reach this server; left out: as it listens.",
    )
    max_concurrent_trainings: int = Field(
        1,
        ge=0,
        description="Trainings that run at the same time on this machine; more wait in the queue. "
        "0 leaves them all to supervisors on other machines.",
    )
    labels: list[str] = Field(
        default_factory=list,
        max_length=8,
        description="What this machine has (`gpu`, say), for trainings that ask for it.",
    )
    heartbeat_seconds: float = Field(
        5.0,
        gt=0,
        description="Seconds between a worker's signs of life; silent for three, it is lost.",
    )
    threads_per_worker: int = Field(1, ge=1, description="CPU threads of one worker.")
    nice: int = Field(
        10, ge=0, le=19, description="How far workers step back for the server (0 not at all)."
    )
    max_attempts: int = Field(
        5, ge=1, description="How often a lost training is started again before it counts failed."
    )
    keep_checkpoints: int = Field(
        10,
        ge=1,
        description="How many of a session's newest checkpoints stay, beside its best one.",
    )
    max_archive_bytes: int = Field(
        512 * 2**20,
        ge=2**20,
        description="Largest checkpoint or model that a worker on another machine may send.",
    )
    scenarios_dir: Path | None = Field(
        None,
        description="The folder of your own scenarios (YAML), besides the shipped ones; "
        "left out, `scenarios` in `data_storage_path`.",
    )


class RetentionConfig(Section):
    """What is thinned out, and when. All off: nothing is dropped unless asked for."""

    delete_ended_sessions_days: float | None = Field(
        None,
        gt=0,
        description="Delete sessions with all their records this many days after they ended. "
        "Model files stay.",
    )
    drop_audit_days: float | None = Field(
        None, gt=0, description="Drop lines of the audit log after so many days."
    )
    drop_packed_log_days: float | None = Field(
        None,
        gt=0,
        description="Drop the raw log of a session (its history: decisions, events, records as "
        "they came, images) this many days after it ended. Its series stay.",
    )
    keep_image_bytes: int | None = Field(
        None,
        gt=0,
        description="Of each session, keep the newest images of so many bytes altogether. Of "
        "older ones only what was told of them stays: name, step, size.",
    )


class Settings(Section):
    """All settings of one server. `load_settings` reads them; tests may build them directly."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on. Others than loopback need auth, see "
        "`security.allow_public_without_auth`.",
        json_schema_extra={"env": "TRAINING_METRICS_HOST"},
    )
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        description="Port to listen on; 0 takes a free one and prints it.",
        json_schema_extra={"env": "TRAINING_METRICS_PORT"},
    )
    debug: bool = Field(
        False,
        description="Log at DEBUG, whatever `log_level` says.",
        json_schema_extra={"env": "TRAINING_METRICS_DEBUG"},
    )
    log_level: LogLevel = Field("INFO", description="Least important level that is logged.")
    log_format: Literal["console", "json"] = Field(
        "console", description="Lines for people, or one JSON object a line for machines."
    )
    log_file: Path | None = Field(None, description="Log into this file as well, always as JSON.")
    log_file_max_bytes: int = Field(
        10 * 1024 * 1024, ge=0, description="Size at which `log_file` is rotated; 0 never."
    )
    log_file_backups: int = Field(5, ge=0, description="Rotated files that are kept.")
    root_path: str = Field(
        "",
        pattern=r"^(/.*[^/])?$",
        description="Path a proxy serves this server under, such as `/grandstand`.",
    )
    trusted_proxies: list[str] = Field(
        [],
        description="Proxies whose `X-Forwarded-…` headers count, as addresses or networks.",
    )
    data_storage_path: Path = Field(
        DEFAULT_DATA_PATH,
        description="Folder for everything the server writes beside the database.",
        json_schema_extra={"env": "DATA_STORAGE_PATH"},
    )
    models_dir: Path | None = Field(
        None,
        description="Folder for models and checkpoints. Unset: `models` in `data_storage_path`.",
    )
    database: DatabaseConfig = DatabaseConfig()
    redis: RedisConfig = RedisConfig()
    security: SecurityConfig = SecurityConfig()
    integration: IntegrationConfig = IntegrationConfig()
    performance: PerformanceConfig = PerformanceConfig()
    limits: LimitsConfig = LimitsConfig()
    training: TrainingConfig = TrainingConfig()
    retention: RetentionConfig = RetentionConfig()

    # Where each value came from, and the names in the environment nobody knows; see `layers`.
    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _unknown: list[str] = PrivateAttr(default_factory=list)
    _processes: int = PrivateAttr(default=1)
    _temporary: Path | None = PrivateAttr(default=None)

    def resolved_models_dir(self) -> Path:
        """Where models and checkpoints lie."""
        return self.models_dir or self.data_storage_path / "models"

    def resolved_scenarios_dir(self) -> Path:
        """Where scenarios of one's own lie; made when the first is saved."""
        return self.training.scenarios_dir or self.data_storage_path / "scenarios"

    def resolved_database_url(self) -> str:
        """The URL to open.

        With `database.enabled` off it names a file in a temporary folder, the same one at every
        call, that goes when the process ends.
        """
        if not self.database.enabled:
            if self._temporary is None:
                self._temporary = Path(tempfile.mkdtemp(prefix="grandstand-"))
                atexit.register(shutil.rmtree, self._temporary, ignore_errors=True)
            return f"sqlite:///{self._temporary / 'training_metrics.db'}"
        if self.database.url:
            return self.database.url
        if self.data_storage_path == DEFAULT_DATA_PATH:
            return DEFAULT_DATABASE_URL
        return f"sqlite:///{self.data_storage_path / 'training_metrics.db'}"

    def resolved_log_level(self) -> str:
        """The level to log at: DEBUG when debugging, else `log_level`."""
        return "DEBUG" if self.debug else self.log_level
