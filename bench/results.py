"""Results: a small JSON file for each run, and the table of full runs in README.md."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from bench.bars import Bar, Run, figure
from bench.machine import ROOT, load_average
from bench.servers import WORK

FOLDER = ROOT / "bench" / "results"
README = ROOT / "bench" / "README.md"
BEGIN = "<!-- results: written by `make bench`, newest first -->"
END = "<!-- end of results -->"


def keep(run: Run, about: dict[str, Any], today: date) -> Path:
    """Write a run's JSON file, and its table into the README when it is a full run.

    A run of some sections only replaces those of the same day's file.
    """
    folder = WORK if run.quick else FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{today.isoformat()}{'-quick' if run.quick else ''}.json"
    told = {"date": today.isoformat(), **about, "load_at_end": load_average(), **run.as_dict()}
    if path.exists():
        _carry_over(told, json.loads(path.read_text()), run)
    path.write_text(json.dumps(told, indent=1) + "\n")
    if not run.quick:
        _into_readme(told)
    return path


def _carry_over(told: dict[str, Any], before: dict[str, Any], run: Run) -> None:
    """Take over from the same day's earlier file what was not measured again."""
    again = set(run.seconds)
    for part, seconds in before.get("seconds", {}).items():
        if part not in again:
            told["seconds"][part] = seconds
            if part in before["failures"]:
                told["failures"][part] = before["failures"][part]
    told["bars"] += [bar for bar in before["bars"] if bar["part"] not in again]


def table(told: dict[str, Any]) -> str:
    """One run as Markdown."""
    bars = [
        Bar(**{k: v for k, v in bar.items() if k not in ("median", "part")}) for bar in told["bars"]
    ]
    met = sum(bar.met is True for bar in bars)
    missed = [bar.name for bar in bars if bar.met is False]
    lines = [
        f"### {told['date']}",
        "",
        f"{told['cpu']}, {told['cores']} cores, {told['memory_gb']:g} GB, kernel {told['kernel']}; "
        f"Python {told['python']}, SQLite {told['sqlite']}, "
        + ", ".join(f"{name} {version}" for name, version in told["versions"].items())
        + f"; commit {told['commit']}. Load average before {told['load_at_start']:g}, after "
        f"{told['load_at_end']:.2f}. Median of {told['repeats']} repeats (least–greatest).",
        "",
        f"{met} bars met, {len(missed)} missed" + (f": {'; '.join(missed)}." if missed else "."),
    ]
    for name, problem in told["failures"].items():
        lines += ["", f"**{name} failed**: {problem}"]
    for section in dict.fromkeys(bar.section for bar in bars):
        lines += [
            "",
            f"**{section}**",
            "",
            "| measured | bar | figure | beside | ratio | | remark |",
            "|---|---|---|---|---|---|---|",
        ]
        for bar in bars:
            if bar.section == section:
                ratio = "" if bar.ratio is None else figure(bar.ratio)
                cells = (bar.name, bar.bar, bar.measured, bar.against, ratio, bar.verdict, bar.note)
                lines.append("| " + " | ".join(c.replace("|", "/") for c in cells) + " |")
    return "\n".join(lines) + "\n"


def _into_readme(told: dict[str, Any]) -> None:
    text = README.read_text()
    head, rest = text.split(BEGIN, 1)
    body, tail = rest.split(END, 1)
    # One table a day; those of other days stay, newest first.
    days = [part for part in body.split("\n### ") if part.strip()]
    kept = [f"### {part.strip()}\n" for part in days if not part.strip().startswith(told["date"])]
    README.write_text(head + BEGIN + "\n\n" + "\n".join([table(told), *kept]) + "\n" + END + tail)
