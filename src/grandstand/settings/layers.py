"""How settings are read: defaults < file < environment < flags, each value with its source.

The environment knows every field under a long name, ``GRANDSTAND_SECURITY__ENABLE_AUTH`` for
`security.enable_auth`, and some under a short one, ``JWT_SECRET_KEY``; the long one wins. A list is
JSON or comma-separated; an empty variable counts as unset.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from grandstand.errors import ValidationFailed
from grandstand.settings.fields import Section, Settings

PREFIX = "GRANDSTAND_"
CONFIG_VARIABLE = "GRANDSTAND_CONFIG"
RESERVED = frozenset({"URL", "TOKEN", "MODE", "SPOOL", "CONFIG"})
"""``GRANDSTAND_…`` names the SDK and the command line use for themselves."""


class Described(NamedTuple):
    """One setting as `describe` shows it."""

    path: str
    value: str
    source: str


def walk(section: type[Section] = Settings, above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting as (dotted path, field), in the order they are declared."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from walk(kind, f"{above}{name}.")
        else:
            yield f"{above}{name}", field


def extra(field: FieldInfo) -> dict[str, Any]:
    """A field's extra data: `env` (short variable) and `later` (not acted on yet)."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def long_variable(path: str) -> str:
    """The environment variable of a dotted path."""
    return PREFIX + path.upper().replace(".", "__")


def load_settings(
    config: Path | None = None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings from all layers.

    Args:
        config: a JSON, YAML or TOML file; None takes ``GRANDSTAND_CONFIG``, if set.
        env: the environment; None takes this process's.
        flags: dotted path → value, from the command line; None values are not set.

    Raises:
        ValidationFailed: a file that cannot be read, a key nobody knows or a value out of bounds.
            The message names key, value and where it stands; `details["problems"]` lists all.
    """
    variables = os.environ if env is None else env
    known = dict(walk())
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []

    file = config or (Path(variables[CONFIG_VARIABLE]) if variables.get(CONFIG_VARIABLE) else None)
    if file is not None:
        for path, value in _flatten(_read(file)):
            if path in known:
                values[path], sources[path] = value, f"file {file}"
            else:
                problems.append(f"{path} (in {file}) is no setting{_meant(path, known)}.")

    for path, field in known.items():
        for name in (extra(field).get("env"), long_variable(path)):
            if name and variables.get(name, "").strip():
                values[path] = _from_text(variables[name], field)
                sources[path] = f"environment {name}"

    for path, value in (flags or {}).items():
        if path not in known:
            problems.append(f"{path} (a flag) is no setting{_meant(path, known)}.")
        elif value is not None:
            values[path], sources[path] = value, "flag"

    try:
        settings = Settings.model_validate(_nest(values))
    except ValidationError as error:
        problems += [_sentence(item, known, values, sources) for item in error.errors()]
    if problems:
        raise ValidationFailed(
            "\n".join(problems),
            code="invalid_settings",
            detail="docs/settings.md lists every setting with its bounds.",
            details={"problems": problems},
        )
    settings._sources = sources
    settings._unknown = _unknown(variables, known)
    settings._processes = _processes(variables)
    return settings


def describe(settings: Settings) -> list[Described]:
    """Every setting with its value (secrets and passwords hidden) and where it came from."""
    rows = []
    for path, _ in walk():
        value = lookup(settings, path)
        source = settings._sources.get(path)
        if source is None:
            source = "default" if value == lookup(Settings(), path) else "code"
        rows.append(Described(path, shown(value), source))
    return rows


def lookup(settings: Settings, path: str) -> Any:
    """The value at a dotted path."""
    value: Any = settings
    for name in path.split("."):
        value = getattr(value, name)
    return value


def shown(value: Any) -> str:
    """A value as text, with a secret or the password in a URL replaced by stars."""
    if value is None:
        return "unset"
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(shown, value)) or "none"
    return re.sub(r"(?<=://)([^/@\s:]*):[^/\s]*@", r"\1:********@", str(value))


def _read(file: Path) -> dict[str, Any]:
    """A configuration file's content."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValidationFailed(
            f"The configuration file {file} cannot be read: {reason}.", code="invalid_settings"
        ) from error
    try:
        match file.suffix.lower():
            case ".json":
                content = json.loads(text)
            case ".yaml" | ".yml":
                import yaml

                content = yaml.safe_load(text)
            case ".toml":
                content = tomllib.loads(text)
            case _:
                raise ValidationFailed(
                    f"The configuration file {file} should end in .json, .yaml, .yml or .toml.",
                    code="invalid_settings",
                )
    except ValidationFailed:
        raise
    except Exception as error:  # each parser has its own; what they say is for the user
        raise ValidationFailed(
            f"The configuration file {file} is not valid {file.suffix[1:].upper()}: {error}",
            code="invalid_settings",
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValidationFailed(
            f"The configuration file {file} should hold keys and values at its top level.",
            code="invalid_settings",
        )
    return content


def _flatten(
    content: Mapping[Any, Any], section: type[Section] = Settings, above: str = ""
) -> Iterator[tuple[str, Any]]:
    """Dotted paths of a nested mapping, descending only into sections."""
    for key, value in content.items():
        name = str(key)
        field = section.model_fields.get(name)
        kind = field.annotation if field else None
        if isinstance(kind, type) and issubclass(kind, Section) and isinstance(value, Mapping):
            yield from _flatten(value, kind, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of `_flatten`."""
    nested: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return nested


def _from_text(text: str, field: FieldInfo) -> Any:
    """An environment variable's value; lists are JSON or comma-separated."""
    kinds = [field.annotation]
    if get_origin(field.annotation) in (Union, UnionType):
        kinds = list(get_args(field.annotation))
    if not any(get_origin(kind) is list for kind in kinds):
        return text.strip()
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text  # the validation that follows says it is no list
    return [part.strip() for part in text.split(",") if part.strip()]


def _unknown(variables: Mapping[str, str], known: Mapping[str, FieldInfo]) -> list[str]:
    """A sentence for every ``GRANDSTAND_…`` variable that sets nothing."""
    names = {long_variable(path) for path in known} | {PREFIX + name for name in RESERVED}
    sentences = []
    for name in sorted(variables):
        if name.startswith(PREFIX) and name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]}?" if close else "; docs/settings.md lists them all."
            sentences.append(f"{name} (in the environment) sets nothing{hint}")
    return sentences


def _processes(variables: Mapping[str, str]) -> int:
    """How many server processes the surroundings ask for (uvicorn obeys WEB_CONCURRENCY)."""
    text = variables.get("WEB_CONCURRENCY", "")
    return int(text) if text.isdigit() else 1


def _meant(path: str, known: Mapping[str, FieldInfo]) -> str:
    last = path.rpartition(".")[2]
    by_name = [other for other in known if other.rpartition(".")[2] == last]
    close = by_name or difflib.get_close_matches(path, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _sentence(
    item: Any,
    known: Mapping[str, FieldInfo],
    values: Mapping[str, Any],
    sources: Mapping[str, str],
) -> str:
    """One validation error as: path = value (source): what is wrong."""
    path = ".".join(str(part) for part in item["loc"])
    owner = next((p for p in known if path == p or path.startswith(f"{p}.")), path)
    value = "********" if owner.endswith("secret_key") else shown(values.get(owner))
    message = str(item["msg"])
    return f"{path} = {value} ({sources.get(owner, 'code')}): {message[:1].lower()}{message[1:]}."
