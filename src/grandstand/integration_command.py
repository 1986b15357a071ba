"""What `grandstand tail` and `grandstand export` do: TensorBoard's event files in and out."""

from __future__ import annotations

from pathlib import Path

import typer

from grandstand.client.client import Client
from grandstand.client.tensorboard.follow import Follower
from grandstand.errors import Unavailable, ValidationFailed


def tail(
    folder: Path,
    server: str | None,
    name: str | None,
    algorithm: str | None,
    silent_minutes: float,
    once: bool,
) -> bool:
    """Follow a log directory, or import it once.

    Returns:
        Whether everything that was read is stored.

    Raises:
        ValidationFailed: with `once`, there is no event file.
        GrandstandError: the server refuses a session.
    """
    with Client(server, mode="online") as client:
        follower = Follower(folder, client, name=name, algorithm=algorithm)
        if once:
            follower.look()
            if not follower.runs:
                raise ValidationFailed(
                    f"{folder} holds no event files",
                    code="no_event_files",
                    detail="Name the folder that TensorBoard would be given as --logdir.",
                )
            done = follower.finish()
        else:
            try:
                follower.follow(silent_minutes * 60)
            except KeyboardInterrupt:
                done = follower.leave()
    for run in follower.runs.values():
        typer.echo(f"{run.name}  {run.reported} values")
    return done


def export(session_id: str, folder: Path, server: str | None) -> bool:
    """Write a session as an event file below `folder`; whether all of it could be had.

    Raises:
        GrandstandError: no such session, or no server.
        Unavailable: the disk does not take it.
    """
    with Client(server, mode="online") as client:
        try:
            written = client.export_tensorboard(session_id, folder)
        except OSError as error:
            raise Unavailable(f"cannot write into {folder}: {error}", code="disk_failed") from error
    typer.echo(
        f"{written.path}: {written.scalars:,} scalars, {written.texts:,} texts, "
        f"{written.histograms:,} histograms, {written.images:,} images"
    )
    if written.missing:
        typer.echo(f"{written.missing:,} images are not on the server any more.", err=True)
    return not written.missing
