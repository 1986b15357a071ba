"""The command line. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import errno
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from grandstand import (
    access_command,
    backup_command,
    doctor_command,
    rooms_command,
    supervise_command,
)
from grandstand.errors import GrandstandError

if TYPE_CHECKING:
    from grandstand.settings import Settings

CANNOT_START = 2
"""Exit code when something the user can mend keeps a command from running."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train agents, record what they report, watch and steer them live.",
)
config_app = typer.Typer(no_args_is_help=True, help="Show the settings, or check them.")
app.add_typer(config_app, name="config")
app.add_typer(access_command.users, name="users")
app.add_typer(access_command.keys, name="keys")
app.add_typer(rooms_command.rooms, name="rooms")
app.command("token")(access_command.token)
app.command("supervise")(supervise_command.supervise)
app.command("backup")(backup_command.backup)
app.command("restore")(backup_command.restore)
app.command("doctor")(doctor_command.doctor)


class ExportFormat(StrEnum):
    """What a session is written as."""

    tensorboard = "tensorboard"


class LogFormat(StrEnum):
    """How log lines look."""

    console = "console"
    json = "json"


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file: .json, .yaml or .toml."),
]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder for everything the server writes.")
]
LogLevel = Annotated[str | None, typer.Option(help="Least important level that is logged.")]
LogFormatOption = Annotated[LogFormat | None, typer.Option(help="Lines for people or machines.")]
Debug = Annotated[bool, typer.Option("--debug", help="Log everything.")]


@app.command()
def serve(
    config: ConfigFile = None,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    log_level: LogLevel = None,
    log_format: LogFormatOption = None,
    debug: Debug = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Server processes; several need PostgreSQL and Redis."),
    ] = None,
) -> None:
    """Run the server and its page until Ctrl-C."""
    settings = _settings(config, host, port, data_dir, log_level, log_format, debug)
    if workers is not None:
        settings._processes = workers
    _serve(settings, demo=False)


@app.command()
def demo(
    config: ConfigFile = None,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    log_level: LogLevel = None,
    log_format: LogFormatOption = None,
    debug: Debug = False,
) -> None:
    """Run the server with trainings to look at, slowed down so there is something to see.

    The training part (PyTorch) is installed first where it is missing. Started again, it goes on
    with what is unfinished.
    """
    _serve(_settings(config, host, port, data_dir, log_level, log_format, debug), demo=True)


@app.command()
def train(
    scenario: Annotated[str, typer.Argument(help="Its name, or a .yaml file of your own.")],
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes to train; left out: the scenario's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same curve.")] = 0,
    ranks: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that train together, one a core; left out: 1."),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Replace a value: high_period=12, reward.alpha=5. Repeatable."),
    ] = None,
    evaluate: Annotated[
        int, typer.Option(min=0, help="Greedy episodes to score the model with; 0 for none.")
    ] = 1000,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the model; left out: models/SCENARIO-SEED.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(envvar="GRANDSTAND_URL", help="Train on this server instead of in here."),
    ] = None,
) -> None:
    """Train on a scenario, with a progress bar. Ctrl-C stops it and keeps the model."""
    from grandstand import training_command

    changes = training_command.overrides(override or [])
    if ranks is not None:
        changes["ranks"] = ranks
    if server is not None:
        done = training_command.on_server(server, scenario, episodes, seed, changes, evaluate)
    else:
        done = training_command.in_here(scenario, episodes, seed, changes, evaluate, out)
    if not done:
        raise typer.Exit(1)


ServerUrl = Annotated[
    str | None, typer.Option("--server", envvar="GRANDSTAND_URL", help="The server's address.")
]
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]


@app.command()
def pause(session_id: SessionId, server: ServerUrl = None) -> None:
    """Have a training pause at its next update."""
    _order("pause", session_id, server)


@app.command()
def resume(session_id: SessionId, server: ServerUrl = None) -> None:
    """Have a paused training go on, or a stopped one from its newest checkpoint."""
    _order("resume", session_id, server)


@app.command()
def stop(session_id: SessionId, server: ServerUrl = None) -> None:
    """Have a training stop at its next update; its model is kept."""
    _order("stop", session_id, server)


@app.command()
def checkpoint(session_id: SessionId, server: ServerUrl = None) -> None:
    """Have a training take a checkpoint at its next update."""
    _order("checkpoint", session_id, server)


@app.command()
def queue(server: ServerUrl = None) -> None:
    """List the trainings that wait for a free place."""
    from grandstand.client.client import Client

    with Client(server, mode="online") as client:
        waiting = client.queue()
    for row in waiting:
        session = row["session"]
        typer.echo(
            f"{row['position']:>3}  {session['session_id']}  {session['name']}"
            + (f"  priority {row['priority']}" if row["priority"] else "")
        )
    if not waiting:
        typer.echo("Nothing waits.")


@app.command()
def sync(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="What a training left on disk, or a folder of such; .grandstand by default.",
        ),
    ] = None,
    server: ServerUrl = None,
    token: Annotated[
        str | None, typer.Option(envvar="GRANDSTAND_TOKEN", help="What the server asks for.")
    ] = None,
) -> None:
    """Send what trainings left on disk while the server was away, or ran offline."""
    from grandstand.client.spool import spool_folder
    from grandstand.client.sync import sync as send_all
    from grandstand.client.transport import HttpTransport

    where = folder or spool_folder() or Path(".grandstand")
    results = send_all(where, lambda url: HttpTransport(url, token), url=server)
    for result in results:
        refused = f", {result.refused} refused" if result.refused else ""
        state = f"kept: {result.why}" if result.why else "done"
        name = result.session_id or result.folder.name
        typer.echo(f"{name}  {result.sent} records sent{refused}  {state}")
    if any(result.why for result in results):
        raise typer.Exit(1)


@app.command()
def watch(
    session_id: SessionId,
    server: ServerUrl = None,
    plain: Annotated[bool, typer.Option("--plain", help="A line for each record.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each.")] = False,
) -> None:
    """Watch a training live, until it has ended. Ctrl-C leaves; the training goes on."""
    from grandstand import watching_command

    watching_command.watch(server, session_id, plain=plain, as_json=as_json)


@app.command()
def sessions(
    server: ServerUrl = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the sessions of a server, newest first."""
    from grandstand import watching_command

    watching_command.sessions(server, everything=everything, as_json=as_json)


@app.command()
def tail(
    folder: Annotated[
        Path, typer.Argument(metavar="LOGDIR", help="The folder TensorBoard would be given.")
    ],
    server: ServerUrl = None,
    name: Annotated[
        str | None, typer.Option(help="Begins the sessions' names; left out: the folder's name.")
    ] = None,
    algorithm: Annotated[str | None, typer.Option(help="What the runs train with.")] = None,
    silent_minutes: Annotated[
        float, typer.Option(min=0.1, help="A run silent for so long is completed.")
    ] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="Import what is there, and end.")] = False,
) -> None:
    """Report TensorBoard's event files as sessions, live, until Ctrl-C."""
    from grandstand import integration_command

    if not integration_command.tail(folder, server, name, algorithm, silent_minutes, once):
        raise typer.Exit(1)


@app.command()
def export(
    session_id: SessionId,
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A log directory; the session gets a folder in it."),
    ],
    format: Annotated[
        ExportFormat, typer.Option("--format", help="TensorBoard's event files.")
    ] = ExportFormat.tensorboard,
    server: ServerUrl = None,
) -> None:
    """Write a session for TensorBoard: scalars, texts, histograms and images."""
    from grandstand import integration_command

    if not integration_command.export(session_id, folder, server):
        raise typer.Exit(1)


@config_app.command("show")
def config_show(config: ConfigFile = None) -> None:
    """Print every setting, its value (secrets hidden) and where it came from."""
    from grandstand.settings import describe, load_settings

    rows = describe(load_settings(config))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for path, value, source in rows:
        typer.echo(f"{path:<{widths[0]}}  {value:<{min(widths[1], 40)}}  {source}")


@config_app.command("check")
def config_check(config: ConfigFile = None) -> None:
    """Say what cannot work; exit code 0 when the server would start."""
    from grandstand.settings import check, load_settings

    problems = check(load_settings(config), strict=True)
    for problem in problems:
        typer.echo(str(problem), err=True)
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(CANNOT_START)
    typer.echo("The settings are fine.")


@app.command("webhook-secret")
def webhook_secret(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Print the secret that webhooks are signed with, for whoever checks them."""
    import asyncio

    from grandstand.assembly import build
    from grandstand.settings import load_settings
    from grandstand.store import facts
    from grandstand.web.outbound import FACT, new_secret

    settings = load_settings(config, flags={"data_storage_path": data_dir})
    if (told := settings.integration.webhook_secret) is not None:
        typer.echo(told.get_secret_value())
        return

    async def read() -> str:
        house = build(settings)
        try:
            return await house.database.write(
                lambda connection: facts.get_or_make(connection, FACT, new_secret)
            )
        finally:
            await house.aclose()

    typer.echo(asyncio.run(read()))


@app.command()
def version() -> None:
    """Print the version."""
    from grandstand import __version__

    typer.echo(f"grandstand {__version__}")


def main() -> None:
    """Entry point: expected failures become one or two sentences and exit code 2."""
    try:
        app()
    except GrandstandError as error:
        _refuse(f"{error.message}\n{error.detail}".strip())


def _order(verb: str, session_id: str, server: str | None) -> None:
    from grandstand.client.client import Client

    with Client(server, mode="online") as client:
        answer = getattr(client, verb)(session_id)
    was = "" if answer["changed"] else " already"
    typer.echo(f"{session_id} is {answer['status']}, wanted: {answer['wanted']}{was}")


def _settings(
    config: Path | None,
    host: str | None,
    port: int | None,
    data_dir: Path | None,
    log_level: str | None,
    log_format: LogFormat | None,
    debug: bool,
) -> Settings:
    from grandstand.settings import load_settings

    flags = {
        "host": host,
        "port": port,
        "data_storage_path": data_dir,
        "log_level": log_level,
        "log_format": log_format.value if log_format else None,
        "debug": True if debug else None,
    }
    return load_settings(config, flags=flags)


def _serve(settings: Settings, demo: bool) -> None:
    """Check, say where the server is, and run it until it is told to stop."""
    import logging

    from grandstand import logs
    from grandstand.settings import check

    problems = check(settings)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        _refuse("\n".join(f"{p.path + ': ' if p.path else ''}{p.message}" for p in errors))
    logs.configure(settings)
    for problem in problems:
        where = f"{problem.path}: " if problem.path else ""
        logging.getLogger("grandstand.settings").warning("%s%s", where, problem.message)

    from grandstand.web.server import serve as run

    try:
        if settings._processes > 1:
            from grandstand.web.workers import serve_many

            serve_many(settings, settings._processes, on_ready=_ready)
        else:
            run(settings, demo=demo, on_ready=_ready)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            raise
        _refuse(_no_address(settings, error.errno))


def _ready(url: str) -> None:
    typer.echo(f"Grandstand is at {url}  (Ctrl-C stops it)")
    sys.stdout.flush()


def _no_address(settings: Settings, code: int) -> str:
    """Why the server cannot listen where it was told to, and what to do."""
    where = f"{settings.host}:{settings.port}"
    if code == errno.EADDRINUSE:
        return (
            f"Port {settings.port} is taken: another program (perhaps another Grandstand) listens "
            f"at {where}. Stop it, or choose another port: --port {settings.port + 1} "
            f"(make run PORT={settings.port + 1}), or --port 0 for any free one."
        )
    if code == errno.EACCES:
        return f"This user may not listen at {where}; ports from 1024 on are open to everybody."
    return f"This machine has no address {settings.host}; --host 127.0.0.1 is always there."


def _refuse(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise SystemExit(CANNOT_START)
