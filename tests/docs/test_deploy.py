"""What lies at the root and in deploy/ for whoever operates a server fits the rest of the project.

No Docker daemon and no systemd runs where the tests do. So nothing is built and started here, but
every file, command, option, setting, extra and metric that these files name is there.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from grandstand.cli import app
from grandstand.settings import check, load_settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
"""With its anchors put in; `${…}` is as written."""
UNITS = sorted(DEPLOY.glob("*.service"))
GIVEN = {
    "POSTGRES_PASSWORD": "letters",
    "JWT_SECRET_KEY": "k" * 48,
    "SITE_HOST": "trainings.example.org",
    "SUPERVISE_KEY": "gsk_x",
}


def filled(text: str) -> str:
    """What compose makes of `${NAME}`, `${NAME:-default}` and `${NAME:?message}`."""

    def value(found: re.Match[str]) -> str:
        assert found[1] in GIVEN, f"{found[1]} is not explained at the head of compose.yaml"
        return GIVEN[found[1]]

    return re.sub(r"\$\{(\w+)(?::[-?][^}]*)?\}", value, text)


def ours() -> Iterator[tuple[str, dict[str, Any]]]:
    """The services that run an image of ours."""
    for name, service in COMPOSE["services"].items():
        if service["image"].startswith("grandstand:"):
            yield name, service


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: name and the rest, continued lines as one."""
    lines = "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    return [(m[1], m[2]) for m in re.finditer(r"^([A-Z]+) (.*)$", joined, re.MULTILINE)]


def assert_is_a_command(words: list[str]) -> None:
    """Hold that the command line understands `words`, without running them."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("grandstand", list(words), resilient_parsing=True)
    rest = [*context._protected_args, *context.args]
    while rest:
        command = command.get_command(context, rest[0])
        assert command is not None, f"there is no command {rest[0]}"
        context = command.make_context(rest[0], rest[1:], parent=context)
        rest = [*getattr(context, "_protected_args", []), *context.args]


def test_the_image_is_made_of_what_is_there_and_lets_in() -> None:
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    assert patterns[1] == "*"
    let_in = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    for name, rest in instructions():
        if name == "COPY" and "--from" not in rest:
            for source in shlex.split(rest)[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch(source, pattern) for pattern in let_in), source
    # Whatever the wheel's build reads is among it.
    assert {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "ui", "src"} <= set(let_in)


def test_the_image_runs_as_somebody_and_is_asked_how_it_is() -> None:
    users = [rest for name, rest in instructions() if name == "USER"]
    assert users[-1] == users[0] == "10001:10001"
    names = [name for name, _ in instructions()]
    assert {"HEALTHCHECK", "VOLUME", "EXPOSE", "STOPSIGNAL"} <= set(names)
    stages = [rest.split(" AS ")[1] for name, rest in instructions() if name == "FROM"]
    assert stages == ["build", "server", "train"]
    entry = [rest for name, rest in instructions() if name == "ENTRYPOINT"]
    assert entry == ['["grandstand"]']
    assert "grandstand" in PYPROJECT["project"]["scripts"]
    for extras in re.findall(r"\.whl\)\[([\w,]+)\]", DOCKERFILE):
        assert set(extras.split(",")) <= set(PYPROJECT["project"]["optional-dependencies"])


def test_compose_sets_what_the_server_knows() -> None:
    image = dict(re.findall(r"^\s+(TRAINING_\w+|DATA_\w+)=(\S+)", DOCKERFILE, re.MULTILINE))
    assert image == {"TRAINING_METRICS_HOST": "0.0.0.0", "DATA_STORAGE_PATH": "/data"}
    for name, service in ours():
        environment = {key: filled(value) for key, value in service["environment"].items()}
        # Where the tests run there is no /data.
        settings = load_settings(env={**image, **environment, "DATA_STORAGE_PATH": "data"})
        assert settings._unknown == [], name
        if "command" in service:  # it serves nothing
            continue
        # Whether this machine has the library for Redis is not the file's matter.
        told = [p for p in check(settings, strict=True) if not p.path.startswith("redis")]
        assert [p for p in told if p.severity == "error"] == [], name


def test_compose_names_what_is_there() -> None:
    services, stages = COMPOSE["services"], re.findall(r" AS (\w+)", DOCKERFILE)
    head = (ROOT / "compose.yaml").read_text().split("name:")[0]
    text = (ROOT / "compose.yaml").read_text()
    for variable in re.findall(r"\$\{(\w+)", text):
        assert re.search(rf"^#   {variable} ", head, re.MULTILINE), f"{variable} is not explained"
    for name, service in services.items():
        for needed in service.get("depends_on", ()):
            assert needed in services, f"{name} needs {needed}"
            if isinstance(service["depends_on"], dict):
                assert "healthcheck" in services[needed]
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).is_file(), source
            else:
                assert source in COMPOSE["volumes"], source
    for _, service in ours():
        assert service["build"]["target"] in stages
        assert service["image"] == f"grandstand:{service['build']['target']}"
        assert_is_a_command(service.get("command", ["serve"]))
    servers = [name for name, service in ours() if "command" not in service]
    assert len(servers) == 2
    proxy = (DEPLOY / "Caddyfile").read_text()
    hosts = services[servers[0]]["environment"]["GRANDSTAND_SECURITY__ALLOWED_HOSTS"]
    for name in servers:
        assert f"{name}:8000" in proxy
        assert name in hosts.split(",")
    assert services[servers[0]] == services[servers[1]]
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    assert services[servers[0]]["environment"]["GRANDSTAND_TRUSTED_PROXIES"] == network["subnet"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_run_commands_that_there_are_with_settings_that_are_known(unit: Path) -> None:
    parser = configparser.ConfigParser(
        strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",)
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text())
    service = parser["Service"]
    assert service["User"] not in ("", "root")
    assert service["NoNewPrivileges"] == "yes"
    for key in ("ExecStartPre", "ExecStart"):
        if key in service:
            program, *words = shlex.split(service[key])
            assert program == "/opt/grandstand/bin/grandstand"
            assert_is_a_command(words)
    environment = dict(pair.split("=", 1) for pair in service["Environment"].split())
    folder = Path(environment.pop("DATA_STORAGE_PATH"))
    assert folder.parts[:3] == ("/", "var", "lib")
    assert folder.name in service["StateDirectory"].split()
    assert load_settings(env=environment)._unknown == []


def test_what_is_not_a_command_is_noticed() -> None:
    for words in (["serv"], ["backup"], ["serve", "--prot", "1"]):
        assert CliRunner().invoke(app, words).exit_code == 2
        with pytest.raises(Exception, match=r"no command|Missing parameter|No such option"):
            assert_is_a_command(words)


def test_rules_and_panels_are_of_metrics_that_there_are() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    known = set(re.findall(r"^\| `(grandstand_\w+)`", page, re.MULTILINE))
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["annotations"]["summary"].endswith(".")
        for name in re.findall(r"grandstand_\w+", rule["expr"]):
            assert name.removesuffix("_bucket") in known, name
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        for target in panel["targets"]:
            for name in re.findall(r"grandstand_\w+", target["expr"]):
                assert name.removesuffix("_bucket") in known, name


def test_the_page_names_every_file() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    for file in [*DEPLOY.iterdir(), ROOT / "Dockerfile", ROOT / "compose.yaml"]:
        assert file.name in page, file.name
