"""A bar, what was measured against it, and how a run of them is kept and shown."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

SCORE = "score"
"""A unit: 1 is the optimum, and the third digit behind the point counts."""


@dataclass
class Bar:
    """One line of the table.

    Attributes:
        section, name: where it belongs and what is measured.
        bar: what is asked, in words.
        samples: one figure for each repeat, in `unit`.
        against: what it is compared with, in words and figures.
        ratio: the figure over what it is compared with, None where the bar is absolute.
        met: None where nothing is asked; such a line only orients.
        note: what a reader should know besides.
    """

    section: str
    name: str
    bar: str
    samples: list[float]
    unit: str
    against: str = ""
    ratio: float | None = None
    met: bool | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.samples)

    @property
    def measured(self) -> str:
        """The figure and its spread."""
        shown = "{:.4f}".format if self.unit == SCORE else figure
        middle, least, most = map(shown, (self.median, min(self.samples), max(self.samples)))
        unit = "" if self.unit == SCORE else self.unit
        spread = "" if least == most else f"({least}–{most}) "
        return f"{middle} {spread}{unit}".rstrip()

    @property
    def verdict(self) -> str:
        """In one word."""
        return "–" if self.met is None else "met" if self.met else "missed"


@dataclass
class Run:
    """What one call of the bench gathers.

    Attributes:
        quick: small counts, to see that it works.
        repeats: how often each figure is taken.
        peers: whether foreign peers (those of `.venv-bench`) take part.
    """

    quick: bool
    repeats: int
    peers: bool = True
    part: str = ""
    bars: list[Bar] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def pick(self, quick: Any, full: Any) -> Any:
        """The smaller or the larger of two counts."""
        return quick if self.quick else full

    def add(self, bar: Bar) -> Bar:
        """Keep a bar and show it."""
        self.bars.append(bar)
        self.parts.append(self.part)
        ratio = "" if bar.ratio is None else f"  ratio {bar.ratio:.2f}"
        against = f"  against {bar.against}" if bar.against else ""
        note = f"  [{bar.note}]" if bar.note else ""
        say(f"  {bar.name}: {bar.measured}{against}{ratio}  asked {bar.bar}: {bar.verdict}{note}")
        return bar

    def section(self, name: str, work: Callable[[Run], None]) -> None:
        """Run a section; one that fails is told of and does not stop the others."""
        say(f"{name}")
        self.part = name
        begun = time.monotonic()
        try:
            work(self)
        except Exception as error:  # told here and in the result: a bench goes on
            self.failures[name] = f"{type(error).__name__}: {error}"
            say(f"  {name} failed: {self.failures[name]}")
        self.seconds[name] = round(time.monotonic() - begun, 1)

    def as_dict(self) -> dict[str, Any]:
        """For the JSON file."""
        bars = [
            {"part": part, **asdict(bar), "median": bar.median}
            for part, bar in zip(self.parts, self.bars, strict=True)
        ]
        return {
            "quick": self.quick,
            "repeats": self.repeats,
            "bars": bars,
            "failures": self.failures,
            "seconds": self.seconds,
        }


def say(text: str) -> None:
    """A line for whoever waits."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def figure(value: float) -> str:
    """A number with three digits that count."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.2f} M"
    if size >= 1e4:
        return f"{value / 1e3:.0f} k" if size >= 1e5 else f"{value / 1e3:.1f} k"
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def medians(samples: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(samples)
