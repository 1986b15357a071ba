"""Writes docs/settings.md: ``python -m grandstand.settings.reference > docs/settings.md``."""

from __future__ import annotations

import sys
from typing import Any

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

from grandstand.settings.fields import Section, Settings
from grandstand.settings.layers import extra, long_variable, lookup, shown, walk

_INTRODUCTION = """\
# Settings

Written by `make docs` out of `src/grandstand/settings/fields.py`; change it there.

Each value is the last one set by: its default, the configuration file (`--config FILE` or
`GRANDSTAND_CONFIG`; JSON, YAML or TOML), the environment, a flag of the command line.
`grandstand config show` prints every value and which of them it came from; `grandstand config
check` says what cannot work. A key nobody knows is an error, in the file as in `config check`.

In the environment every setting has a long name, `GRANDSTAND_` and its path with two underscores
for each dot; some have a short one too, and the long one wins. Lists are comma-separated or JSON.
An empty variable counts as unset. `GRANDSTAND_URL`, `GRANDSTAND_TOKEN`, `GRANDSTAND_MODE`,
`GRANDSTAND_SPOOL` and `GRANDSTAND_CONFIG` belong to the SDK and the command line.

A configuration file holds the sections as they stand here:

```yaml
host: 127.0.0.1
port: 8000
performance:
  max_connections_per_session: 100
training:
  max_concurrent_trainings: 2
```
"""


def reference() -> str:
    """The whole page, as Markdown."""
    parts = [_INTRODUCTION]
    section = None
    for path, field in walk():
        name = path.rpartition(".")[0]
        if name != section:
            section = name
            parts.append(_heading(name))
        parts.append(_entry(path, field))
    return "\n".join(parts)


def _heading(name: str) -> str:
    if not name:
        return "## Server\n"
    kind: Any = Settings.model_fields[name].annotation
    assert issubclass(kind, Section)
    return f"## {name}\n\n{kind.__doc__}\n"


def _entry(path: str, field: FieldInfo) -> str:
    facts = [f"Default: {_default(path)}."]
    if bounds := _bounds(field):
        facts.append(f"Bounds: {bounds}.")
    names = [f"`{name}`" for name in (extra(field).get("env"), long_variable(path)) if name]
    facts.append(f"Environment: {' or '.join(names)}.")
    later = " **No effect in this version yet.**" if extra(field).get("later") else ""
    return f"### `{path}`\n\n{field.description}{later}\n\n{' '.join(facts)}\n"


def _default(path: str) -> str:
    text = shown(lookup(Settings(), path))
    return text if text in ("unset", "none") else f"`{text}`" if text else "empty"


def _bounds(field: FieldInfo) -> str:
    words = {Ge: ("ge", "at least"), Gt: ("gt", "more than"), Le: ("le", "at most")}
    return ", ".join(
        f"{words[type(item)][1]} {getattr(item, words[type(item)][0]):g}"
        for item in field.metadata
        if type(item) in words
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
