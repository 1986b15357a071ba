"""`grandstand supervise`: this machine runs trainings of a server elsewhere."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from pathlib import Path
from typing import Annotated

import typer

from grandstand.errors import Conflict, GrandstandError, Unauthenticated, Unavailable

log = logging.getLogger("grandstand.supervisor")

NAME_WAIT_SECONDS = 60.0


def supervise(
    server: Annotated[
        str, typer.Option("--server", envvar="GRANDSTAND_URL", help="The server's address.")
    ],
    token: Annotated[
        str | None,
        typer.Option(envvar="GRANDSTAND_TOKEN", help="A token or API key that may supervise."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Its own among all; left out: this machine's.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="What this machine has, for trainings that ask for it. Repeatable."),
    ] = None,
    capacity: Annotated[int, typer.Option(min=1, max=1000, help="Trainings at once.")] = 1,
    folder: Annotated[
        Path, typer.Option(help="For what workers write until it is with the server.")
    ] = Path("grandstand-work"),
) -> None:
    """Run a server's trainings on this machine, until Ctrl-C.

    Checkpoints and models go to the server; a machine that dies loses no training.
    """
    from grandstand.launch.runtime import Runtime

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    runtime = Runtime()
    if not runtime.ready():
        setup = runtime.setup()
        typer.echo(f"{setup.message} {setup.command}", err=True)
        raise typer.Exit(2)
    try:
        asyncio.run(_supervise(server, token, name or _own_name(), label or [], capacity, folder))
    except GrandstandError as error:
        typer.echo(f"{error.message}. {error.detail}".strip(), err=True)
        if isinstance(error, Unauthenticated):
            typer.echo("Give a --token, or set GRANDSTAND_TOKEN.", err=True)
        raise typer.Exit(2) from None


def _own_name() -> str:
    host = socket.gethostname().partition(".")[0]
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in host)[:64] or "machine"


async def _supervise(
    server: str, token: str | None, name: str, labels: list[str], capacity: int, folder: Path
) -> None:
    from grandstand.client.address import Address
    from grandstand.client.desk import RemoteDesk
    from grandstand.client.transport import HttpTransport
    from grandstand.clock import SystemClock
    from grandstand.launch.local import LocalLauncher
    from grandstand.launch.supervisor import Supervisor

    clock = SystemClock()
    url = Address.find(server, token).url
    desk = RemoteDesk(HttpTransport(url, token), clock, name=name, labels=labels, capacity=capacity)
    until = clock.monotonic() + NAME_WAIT_SECONDS
    while True:
        try:
            await desk.open(0)
        except (Conflict, Unavailable) as error:
            # The one before it may have been killed a moment ago; the server may be starting.
            if clock.monotonic() > until:
                raise
            log.warning("%s; trying again", error.message)
            await clock.sleep(2.0)
        else:
            break
    work = await asyncio.to_thread(folder.resolve)
    supervisor = Supervisor(
        desk,
        LocalLauncher(clock),
        LocalLauncher(clock),
        lambda training: training,
        clock,
        capacity=capacity,
        evaluations=0,
        heartbeat_seconds=desk.heartbeat_seconds,
        folder=work,
        environment={
            "GRANDSTAND_WORKER_NICE": str(desk.nice),
            "GRANDSTAND_WORK_FOLDER": str(work / "work"),
        },
    )
    await supervisor.open(url)
    said = f", with {', '.join(labels)}" if labels else ""
    log.info("%s takes up to %d trainings of %s%s", name, capacity, url, said)
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, leave.set)
    while not leave.is_set() and not (desk.draining and supervisor.running == 0):
        waiting = asyncio.ensure_future(leave.wait())
        await asyncio.wait((waiting, asyncio.ensure_future(clock.sleep(0.5))), timeout=1.0)
        waiting.cancel()
    log.info("leaving; workers take a checkpoint first")
    await supervisor.aclose()
