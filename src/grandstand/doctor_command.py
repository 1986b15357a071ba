"""`grandstand doctor`: what works here, what does not, what to do.

It changes nothing: a file is written and removed to see how long the disk takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grandstand import __version__
from grandstand.errors import GrandstandError

if TYPE_CHECKING:
    from grandstand.doctor.finding import Finding, State
    from grandstand.settings import Settings


def doctor(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Settings file: .json, .yaml or .toml."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder for everything the server writes.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what works here and what to do about what does not; exit code 1 if something does not."""
    found = []
    for finding in _findings(config, data_dir):
        found.append(finding)
        if not as_json:
            typer.echo(f"{finding.state:<5} {finding.name:<9} {finding.message}")
            if finding.advice:
                typer.echo(f"{'':<15} → {finding.advice}")
    bad = [finding.name for finding in found if finding.state == "fail"]
    if as_json:
        told = {"ok": not bad, "version": __version__, "findings": [asdict(f) for f in found]}
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
    if bad:
        raise typer.Exit(1)


def _findings(config: Path | None, data_dir: Path | None) -> Iterator[Finding]:
    from grandstand.doctor import machine, neighbours
    from grandstand.doctor.finding import Finding
    from grandstand.settings import load_settings

    yield machine.python()
    try:
        settings = load_settings(config, flags={"data_storage_path": data_dir})
    except GrandstandError as error:
        yield Finding("settings", "fail", error.message.replace("\n", " "), error.detail)
        return
    yield from _settings(settings)
    yield from machine.examine_machine(settings)
    yield from neighbours.examine_neighbours(settings)


def _settings(settings: Settings) -> Iterator[Finding]:
    from grandstand.doctor.finding import Finding
    from grandstand.settings import check

    problems = check(settings, strict=True)
    for problem in problems:
        state: State = "fail" if problem.severity == "error" else "warn"
        where = f"{problem.path}: " if problem.path else ""
        yield Finding("settings", state, f"{where}{problem.message}")
    if not problems:
        yield Finding("settings", "ok", "nothing is wrong with them")
