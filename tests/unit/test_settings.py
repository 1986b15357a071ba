"""Settings: layers, names, refusals, and what is shown of them."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from grandstand.errors import ValidationFailed
from grandstand.settings import (
    DatabaseConfig,
    PerformanceConfig,
    RedisConfig,
    SecurityConfig,
    Settings,
    check,
    describe,
    load_settings,
)
from grandstand.settings.layers import RESERVED, extra, long_variable, lookup, walk
from grandstand.settings.problems import is_loopback

GOOD_SECRET = "q" * 48

DOCUMENTED_FILE = {
    "host": "localhost",
    "port": 8000,
    "debug": False,
    "database": {"enabled": True, "url": "sqlite:///data/training_metrics.db"},
    "redis": {"enabled": False, "host": "localhost", "port": 6379},
    "security": {"enable_auth": False, "cors_origins": ["http://localhost:3000"]},
    "integration": {
        "game_server_url": "http://localhost:4000",
        "enable_spectator_integration": True,
    },
    "performance": {
        "max_connections_per_session": 50,
        "metrics_history_size": 10000,
        "cleanup_interval_seconds": 300,
    },
}


def errors(settings: Settings) -> list[str]:
    return [f"{p.path}: {p.message}" for p in check(settings) if p.severity == "error"]


def warnings(settings: Settings) -> list[str]:
    return [f"{p.path}: {p.message}" for p in check(settings) if p.severity == "warning"]


def test_the_defaults_start_a_server_on_this_machine_only() -> None:
    settings = load_settings(env={})
    assert check(settings) == []
    assert is_loopback(settings.host)
    assert settings.port == 8000
    assert settings.resolved_database_url() == "sqlite:///data/training_metrics.db"
    assert settings.resolved_models_dir() == Path("data/training_metrics/models")


def test_the_documented_variables_work_as_written() -> None:
    settings = load_settings(
        env={
            "TRAINING_METRICS_HOST": "localhost",
            "TRAINING_METRICS_PORT": "8123",
            "TRAINING_METRICS_DEBUG": "true",
            "DATABASE_URL": "sqlite:///elsewhere/metrics.db",
            "JWT_SECRET_KEY": GOOD_SECRET,
            "CORS_ORIGINS": "http://localhost:3000,http://localhost:4000",
            "GAME_SERVER_URL": "http://localhost:4000",
            "MAX_CONNECTIONS_PER_SESSION": "7",
            "DATA_STORAGE_PATH": "elsewhere/files",
        }
    )
    assert (settings.host, settings.port, settings.debug) == ("localhost", 8123, True)
    assert settings.resolved_database_url() == "sqlite:///elsewhere/metrics.db"
    assert settings.security.secret() == GOOD_SECRET
    assert settings.security.cors_origins == ["http://localhost:3000", "http://localhost:4000"]
    assert settings.integration.game_server_url == "http://localhost:4000"
    assert settings.performance.max_connections_per_session == 7
    assert settings.data_storage_path == Path("elsewhere/files")
    assert settings.resolved_log_level() == "DEBUG"
    assert errors(settings) == []


@pytest.mark.parametrize("suffix", ["json", "yaml", "yml", "toml"])
def test_the_documented_file_works_as_written(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"grandstand.{suffix}"
    if suffix == "toml":
        lines = [
            f"{k} = {json.dumps(v)}" for k, v in DOCUMENTED_FILE.items() if type(v) is not dict
        ]
        for section, values in DOCUMENTED_FILE.items():
            if isinstance(values, dict):
                lines += [f"[{section}]", *(f"{k} = {json.dumps(v)}" for k, v in values.items())]
        file.write_text("\n".join(lines))
    else:
        file.write_text(json.dumps(DOCUMENTED_FILE))  # JSON is YAML
    settings = load_settings(file, env={})
    assert settings.host == "localhost"
    assert settings.redis.active is False
    assert settings.security.cors_origins == ["http://localhost:3000"]
    assert errors(settings) == []
    assert settings.integration.game_server_url == "http://localhost:4000"
    assert check(settings) == []


def test_a_later_layer_wins(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"host": "localhost", "port": 1, "log_level": "warning"}))
    env = {"GRANDSTAND_CONFIG": str(file), "TRAINING_METRICS_PORT": "2", "GRANDSTAND_PORT": "3"}
    settings = load_settings(env=env, flags={"port": 4, "host": None})
    assert (settings.host, settings.port, settings.log_level) == ("localhost", 4, "WARNING")
    assert load_settings(env=env).port == 3, "the long name wins over the short one"
    sources = {row.path: row.source for row in describe(settings)}
    assert sources["port"] == "flag"
    assert sources["host"] == f"file {file}"
    assert sources["debug"] == "default"
    by_env = {row.path: row.source for row in describe(load_settings(env=env))}
    assert by_env["port"] == "environment GRANDSTAND_PORT"


def test_every_field_is_reached_by_its_long_variable() -> None:
    special = {
        "log_level": "ERROR",
        "log_format": "json",
        "root_path": "/below",
        "redis.enabled": "true",
        "performance.max_body_bytes": "5000",
        "training.max_archive_bytes": "5000000",
        "training.launcher": "ray",
        "performance.send_queue_bytes": "70000",
        "limits.wrong_passwords": "1/minute; 2/hour",
        "limits.requests": "1/second",
        "limits.ingest_kib": "1/day",
        "limits.connections": "1/hour",
    }
    for path, _ in walk():
        before = lookup(Settings(), path)
        if path in special:
            text = special[path]
        elif isinstance(before, bool):
            text = str(not before).lower()
        elif isinstance(before, int | float) or path.endswith(("_days", "keep_image_bytes")):
            text = "11"
        else:
            text = "something, else"
        settings = load_settings(env={long_variable(path): text})
        assert lookup(settings, path) != before, path


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a, b ,,c", ["a", "b", "c"]), ('["a", "b"]', ["a", "b"]), ("[]", [])],
)
def test_lists_are_json_or_comma_separated(text: str, expected: list[str]) -> None:
    settings = load_settings(env={"GRANDSTAND_SECURITY__ALLOWED_HOSTS": text})
    assert settings.security.allowed_hosts == expected


def test_an_empty_variable_counts_as_unset() -> None:
    assert load_settings(env={"DATABASE_URL": "", "TRAINING_METRICS_PORT": " "}) == Settings()


def test_a_key_nobody_knows_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("training:\n  max_concurent_trainings: 2\nport_number: 3\n")
    with pytest.raises(ValidationFailed) as caught:
        load_settings(file, env={})
    first, second = caught.value.details["problems"]
    assert "training.max_concurent_trainings" in first
    assert "did you mean training.max_concurrent_trainings?" in first
    assert "port_number" in second


def test_an_unknown_variable_is_a_warning_at_start_and_an_error_in_a_check() -> None:
    settings = load_settings(env={"GRANDSTAND_TRAINING__NISE": "3"})
    (problem,) = check(settings)
    assert problem.severity == "warning"
    assert "GRANDSTAND_TRAINING__NICE" in problem.message
    assert check(settings, strict=True)[0].severity == "error"


def test_reserved_names_are_left_alone() -> None:
    names = {f"GRANDSTAND_{name}": "" for name in RESERVED}
    names |= {"GRANDSTAND_URL": "http://x", "GRANDSTAND_TOKEN": "t", "GRANDSTAND_MODE": "offline"}
    assert check(load_settings(env=names), strict=True) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TRAINING_METRICS_PORT", "70000", ["port = 70000", "TRAINING_METRICS_PORT", "65535"]),
        ("GRANDSTAND_LOG_LEVEL", "LOUD", ["log_level = LOUD", "'DEBUG'"]),
        ("GRANDSTAND_ROOT_PATH", "below/", ["root_path = below/"]),
        ("GRANDSTAND_TRAINING__NICE", "x", ["training.nice = x", "valid integer"]),
        ("CORS_ORIGINS", "[1", ["security.cors_origins = [1", "valid list"]),
    ],
)
def test_a_value_out_of_bounds_names_key_value_source_and_bound(
    name: str, value: str, words: list[str]
) -> None:
    with pytest.raises(ValidationFailed) as caught:
        load_settings(env={name: value})
    for word in words:
        assert word in caught.value.message


def test_a_refused_secret_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"security": {"jwt_secret_key": ["hunter2"]}}))
    with pytest.raises(ValidationFailed) as caught:
        load_settings(file, env={})
    assert "hunter2" not in caught.value.message
    with pytest.raises(ValidationError) as raw:
        SecurityConfig(jwt_secret_key=["hunter2"])  # type: ignore[arg-type]
    assert "hunter2" not in str(raw.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.json", None, "No such file"),
        ("odd.ini", "a=1", "should end in"),
        ("broken.json", "{", "not valid JSON"),
        ("broken.yaml", "a: [", "not valid YAML"),
        ("broken.toml", "a =", "not valid TOML"),
        ("list.json", "[1]", "top level"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValidationFailed, match=words):
        load_settings(file, env={})


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("# nothing yet\n")
    assert load_settings(file, env={}) == Settings()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(security=SecurityConfig(enable_auth=True)), "no key to sign with"),
        (
            Settings(security=SecurityConfig(enable_auth=True, jwt_secret_key="your-secret-key")),
            "published examples",
        ),
        (
            Settings(
                security=SecurityConfig(enable_auth=True, jwt_secret_key="production-secret-key")
            ),
            "published examples",
        ),
        (Settings(security=SecurityConfig(enable_auth=True, jwt_secret_key="short")), "needs 32"),
        (Settings(host="0.0.0.0"), "while auth is off"),
        (Settings(host="::"), "while auth is off"),
        (Settings(host="example.org"), "while auth is off"),
        (Settings(database=DatabaseConfig(url="mysql://u:hunter2@db/x")), "write sqlite://"),
        (Settings(database=DatabaseConfig(url="postgresql+asyncpg://db/x")), "write sqlite://"),
        (Settings(database=DatabaseConfig(url="mysql://db/x")), "not understood"),
        (Settings(database=DatabaseConfig(url="data.db")), "not understood"),
        (Settings(redis=RedisConfig(enabled=True)), "Set DATABASE_URL to a PostgreSQL"),
        (
            Settings(redis=RedisConfig(url="redis://localhost:6379")),
            "Set DATABASE_URL to a PostgreSQL",
        ),
        (load_settings(env={"WEB_CONCURRENCY": "4"}), "4 server processes"),
        (load_settings(env={"CORS_ORIGINS": "http://a.example/"}), "no origin"),
        (load_settings(env={"GRANDSTAND_TRAINING__SCENARIOS_DIR": "/nowhere"}), "no folder"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(settings: Settings, words: str) -> None:
    (message,) = errors(settings)
    assert words in message
    assert "hunter2" not in message
    assert message.endswith(".")


def test_ray_is_asked_for_where_it_is_installed() -> None:
    found = errors(load_settings(env={"GRANDSTAND_TRAINING__LAUNCHER": "ray"}))
    if importlib.util.find_spec("ray") is None:
        (message,) = found
        assert "Ray is not installed" in message
    else:
        assert found == []


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@db/x", "postgres:///x", "postgresql+psycopg://db/x", "sqlite://"]
)
def test_every_url_that_the_store_understands_passes(url: str) -> None:
    assert errors(Settings(database=DatabaseConfig(url=url))) == []


def test_postgres_without_its_driver_is_refused_with_the_line_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as where it was never installed
    (message,) = errors(Settings(database=DatabaseConfig(url="postgres://u:hunter2@db/x")))
    assert "pip install 'grandstand[postgres]'" in message
    assert "hunter2" not in message
    assert errors(Settings(database=DatabaseConfig(url="sqlite://"))) == []


@pytest.mark.parametrize(
    "settings",
    [
        Settings(host="0.0.0.0", security=SecurityConfig(allow_public_without_auth=True)),
        Settings(
            host="0.0.0.0", security=SecurityConfig(enable_auth=True, jwt_secret_key=GOOD_SECRET)
        ),
        Settings(host="::1"),
        Settings(host="127.8.8.8"),
        Settings(security=SecurityConfig(cors_origins=["*"])),
        Settings(redis=RedisConfig(enabled=False, url="redis://localhost")),
        Settings(performance=PerformanceConfig(max_total_connections=5)),
        load_settings(env={"WEB_CONCURRENCY": "1"}),
    ],
)
def test_what_can_work_is_let_through(settings: Settings) -> None:
    assert check(settings) == []


def test_a_sample_secret_is_never_used() -> None:
    settings = load_settings(env={"JWT_SECRET_KEY": "your-secret-key"})
    assert settings.security.secret() is None
    assert "published examples" in warnings(settings)[0]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.write_text("")
    (message,) = errors(Settings(data_storage_path=file / "below"))
    assert "is a file" in message
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        (message,) = errors(Settings(data_storage_path=tmp_path / "new"))
        assert "may not be written to" in message
        tmp_path.chmod(0o700)


def test_a_disabled_database_is_temporary_and_said() -> None:
    settings = Settings(database=DatabaseConfig(enabled=False, url="sqlite:///kept.db"))
    url = settings.resolved_database_url()
    assert "kept.db" not in url
    assert url == settings.resolved_database_url()
    assert "temporary" in warnings(settings)[0]


def test_the_database_follows_a_data_folder_of_ones_own(tmp_path: Path) -> None:
    settings = Settings(data_storage_path=tmp_path)
    assert settings.resolved_database_url() == f"sqlite:///{tmp_path}/training_metrics.db"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_secrets_and_passwords_are_not_shown() -> None:
    settings = load_settings(
        env={
            "JWT_SECRET_KEY": GOOD_SECRET,
            "DATABASE_URL": "postgresql://user:hunter2@db/x",
            "REDIS_URL": "redis://:hunter2@cache/0",
        }
    )
    shown = "\n".join(" ".join(row) for row in describe(settings)) + repr(settings)
    assert GOOD_SECRET not in shown
    assert "hunter2" not in shown
    assert "postgresql://user:********@db/x" in shown


def test_every_field_has_a_sentence() -> None:
    for path, field in walk():
        text = field.description or ""
        assert text.rstrip().endswith("."), path
        assert set(extra(field)) <= {"env", "later"}, path
