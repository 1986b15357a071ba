"""What every metric means: the table of `metrics.yaml`, read.

docs/metrics.md and the page's tooltips are written from it (`grandstand.web.vocabulary.metrics`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

import yaml


class Metric(NamedTuple):
    """One metric, in words.

    Attributes:
        name: as it is reported.
        unit: what the number counts.
        range: what it can be, in words.
        meaning: one sentence.
        source: where its formula is from.
        alias_of: the name under which the same number is told too, if any.
    """

    name: str
    unit: str
    range: str
    meaning: str
    source: str
    alias_of: str | None = None


@dataclass(frozen=True)
class Family:
    """Metrics that belong together.

    Attributes:
        title: a heading.
        text: who reports them, and when; Markdown.
        metrics: in the order to read them.
        prefixes: what may stand before each name, and whose the number then is.
    """

    title: str
    text: str
    metrics: tuple[Metric, ...]
    prefixes: dict[str, str]


def families() -> tuple[Family, ...]:
    """All of them, in the order to read them.

    Raises:
        ValueError: a name stands there twice, or is said to be one that does not.
    """
    file = resources.files("grandstand.model") / "metrics.yaml"
    told: list[dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))
    written: dict[str, Any] = {}
    for family in told:
        if family.get("prefixes"):
            continue  # their names are others than those without
        if twice := written.keys() & family["metrics"].keys():
            raise ValueError(f"metrics.yaml: {', '.join(sorted(twice))} stands there twice")
        written |= family["metrics"]
    return tuple(
        Family(
            family["title"],
            family["text"],
            tuple(_metric(name, row, written) for name, row in family["metrics"].items()),
            dict(family.get("prefixes", {})),
        )
        for family in told
    )


def _metric(name: str, row: Any, written: dict[str, Any]) -> Metric:
    if not isinstance(row, dict):
        return Metric(*(name, *row))
    other: str = row["as"]
    if not isinstance(written.get(other), list):
        raise ValueError(f"metrics.yaml: {name} is said to be {other}, which has no row")
    return Metric(*(name, *written[other], other))


def names() -> frozenset[str]:
    """Every metric that is explained, by its whole name."""
    found: set[str] = set()
    for family in families():
        for metric in family.metrics:
            found |= {f"{prefix}{metric.name}" for prefix in family.prefixes or ("",)}
    return frozenset(found)
