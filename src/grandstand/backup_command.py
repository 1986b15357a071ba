"""`grandstand backup` and `restore`: at the database and the folders, no server is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from grandstand.service.backups import Backup, Places

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file: .json, .yaml or .toml."),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder for everything the server writes.")
]


def backup(
    target: Annotated[
        Path,
        typer.Argument(metavar="FILE|DIR", help="A folder gets a file named after the time."),
    ],
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Of the backups in that folder, remove all but so many."),
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Back up database, models, checkpoints and scenarios into one file, while the server runs."""
    from grandstand.clock import SystemClock
    from grandstand.doctor.finding import size
    from grandstand.errors import BadRequest
    from grandstand.service import backups

    clock = SystemClock()
    at, begun = clock.now(), clock.monotonic()
    into_folder = target.is_dir() or not target.name.endswith(backups.SUFFIX)
    if keep is not None and not into_folder:
        raise BadRequest("--keep is for a folder of backups", detail="Name a folder.")
    file = target / backups.default_name(at) if into_folder else target
    made = backups.take(_places(config, data_dir), file, at)
    typer.echo(f"{made.file}  {size(made.size_bytes)}, {clock.monotonic() - begun:.1f} s")
    typer.echo(_content(made))
    for one in made.damaged:
        typer.echo(f"was damaged before: {one}", err=True)
    if keep is not None:
        for old in backups.older(target, keep):
            old.unlink()
            typer.echo(f"removed {old}")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From grandstand backup.")],
    force: Annotated[
        bool, typer.Option("--force", help="Put aside what is there; PostgreSQL's is replaced.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only read it through and verify it.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Put a backup back where no server runs; it is verified before anything is touched."""
    from grandstand.clock import SystemClock
    from grandstand.service import restore as restoring

    if check:
        found = restoring.check(file)
        typer.echo(f"{file} is whole, of {found.created_at:%Y-%m-%d %H:%M} UTC")
        typer.echo(_content(found))
        return
    places = _places(config, data_dir)
    done = restoring.restore(places, file, SystemClock().now(), force=force)
    typer.echo(f"Restored what was backed up at {done.backup.created_at:%Y-%m-%d %H:%M} UTC.")
    typer.echo(_content(done.backup))
    for place in done.kept:
        typer.echo(f"What was there before is kept: {place}")


def _places(config: Path | None, data_dir: Path | None) -> Places:
    """Where a server of these settings keeps things."""
    from grandstand.errors import BadRequest
    from grandstand.service.backups import Places
    from grandstand.settings import load_settings

    settings = load_settings(config, flags={"data_storage_path": data_dir})
    if not settings.database.enabled:
        raise BadRequest(
            "database.enabled is off: records are in a temporary file of the server's process",
            code="no_database_file",
        )
    return Places(
        settings.resolved_database_url(),
        {
            "models": settings.resolved_models_dir(),
            "scenarios": settings.resolved_scenarios_dir(),
        },
    )


def _content(backup: Backup) -> str:
    facts = backup.facts
    return (
        f"{_many(len(facts.sessions), 'session')}, {_many(facts.records, 'record')}, "
        f"{_many(backup.files, 'file')} of models and scenarios; {backup.kind}, "
        f"tables {facts.schema}, Grandstand {backup.version}"
    )


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
