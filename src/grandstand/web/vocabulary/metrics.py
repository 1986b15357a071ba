"""Writes docs/metrics.md, or with ``--page`` what the page's tooltips say of metrics."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from grandstand.model.metrics import Family, Metric, families

_INTRODUCTION = """\
# Metrics

Written by `make docs` out of `src/grandstand/model/metrics.yaml`; change it there.

Every number that Grandstand reports by itself or knows by name: what it counts, what it can be,
what it means, and where its formula is from. The page says the same where the number stands: point
at its label, or reach it with Tab. Any other name is a metric too and means what its reporter says.

`reward` is whatever the task rewards with; in a household, the utility that the scenario defines.
"""

_PAGE = """\
/** Written by `make docs` out of src/grandstand/model/metrics.yaml; change it there. */

/** Meaning, unit and range of each metric by name; a text is another name of the same number. */
export const MEANINGS: Readonly<Record<string, readonly [string, string, string] | string>> = {
"""


def reference() -> str:
    """The whole page, as Markdown."""
    return "\n".join([_INTRODUCTION, *(_section(family) for family in families())])


def _section(family: Family) -> str:
    rows = "".join(
        f"| {_named(metric, family)} | {metric.unit} | {metric.range} | {_said(metric)} |"
        f" {metric.source} |\n"
        for metric in family.metrics
    )
    head = "| name | unit | range | meaning | formula |\n|---|---|---|---|---|\n"
    return f"## {family.title}\n\n{family.text}\n\n{head}{rows}"


def _named(metric: Metric, family: Family) -> str:
    return ", ".join(f"`{prefix}{metric.name}`" for prefix in family.prefixes or ("",))


def _said(metric: Metric) -> str:
    if metric.alias_of is None:
        return metric.meaning
    return f"The same as `{metric.alias_of}`."


def page() -> str:
    """The table that the page's tooltips are made of, as TypeScript."""
    lines = [_PAGE.rstrip("\n")]
    prefixes: dict[str, str] = {}
    for family in families():
        prefixes |= family.prefixes
        lines += _entries(family)
    lines.append("};\n")
    whose = ", ".join(f"{_quoted(prefix)}: {_quoted(who)}" for prefix, who in prefixes.items())
    lines.append("/** Whose number it is, by what stands before its name. */")
    lines.append(f"export const WHOSE: Readonly<Record<string, string>> = {{ {whose} }};")
    return "\n".join(lines) + "\n"


def _entries(family: Family) -> Iterator[str]:
    for metric in family.metrics:
        if metric.alias_of == metric.name:
            continue  # behind a prefix, of the same meaning as without
        said = (
            f"[{_quoted(metric.meaning)}, {_quoted(metric.unit)}, {_quoted(metric.range)}]"
            if metric.alias_of is None
            else _quoted(metric.alias_of)
        )
        yield f"  {_quoted(metric.name)}: {said},"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


if __name__ == "__main__":
    sys.stdout.write(page() if "--page" in sys.argv[1:] else reference())
