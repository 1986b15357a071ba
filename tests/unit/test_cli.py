"""The command line: what it prints, what it refuses, and how fast its help is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def grandstand(
    *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grandstand", *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


def test_help_names_every_command() -> None:
    done = grandstand("--help")
    assert done.returncode == 0
    for command in ("serve", "demo", "config", "version"):
        assert command in done.stdout


def test_help_needs_neither_server_nor_torch() -> None:
    code = (
        "import sys, grandstand.cli; heavy = {'torch', 'fastapi', 'sqlalchemy', 'pydantic', "
        "'numpy'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_show_prints_values_with_their_sources(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"training": {"nice": 3}}))
    done = grandstand(
        "config",
        "show",
        "--config",
        str(file),
        TRAINING_METRICS_PORT="8123",
        JWT_SECRET_KEY="z" * 40,
    )
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert rows["training.nice"].split()[1] == "3"
    assert f"file {file}" in rows["training.nice"]
    assert "8123" in rows["port"]
    assert "environment TRAINING_METRICS_PORT" in rows["port"]
    assert "default" in rows["host"]
    assert "z" * 40 not in done.stdout


def test_check_is_content_with_the_defaults(tmp_path: Path) -> None:
    done = grandstand("config", "check", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "The settings are fine.\n")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("GRANDSTAND_TRAINING__NISE", "3", "did you mean GRANDSTAND_TRAINING__NICE?"),
        ("GRANDSTAND_SECURITY__ENABLE_AUTH", "true", "no key to sign with"),
        ("TRAINING_METRICS_PORT", "eighty", "port = eighty"),
        ("GRANDSTAND_CONFIG", "gone.json", "cannot be read"),
    ],
)
def test_check_says_what_is_wrong_and_exits_2(variable: str, value: str, words: str) -> None:
    done = grandstand("config", "check", **{variable: value})
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["--host", "0.0.0.0"], {}, "while auth is off"),
        (["--port", "70000"], {}, "port = 70000 (flag)"),
        (["--config", "gone.yaml"], {}, "cannot be read"),
        ([], {"REDIS_URL": "redis://localhost:6379"}, "Set DATABASE_URL to a PostgreSQL"),
        (["--workers", "2"], {}, "Set REDIS_URL, and DATABASE_URL to a PostgreSQL"),
        ([], {"DATABASE_URL": "mysql://db/x"}, "write sqlite:///path/to/file.db or postgresql://"),
    ],
)
def test_serve_refuses_what_cannot_work(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], words: str
) -> None:
    done = grandstand("serve", *arguments, cwd=tmp_path, **variables)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "nothing is written before the settings are judged"


def test_version_is_the_packages() -> None:
    assert grandstand("version").stdout.startswith("grandstand 0.")
