"""`grandstand train`: in this process, or on a server and followed from here."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from grandstand.clock import SystemClock
from grandstand.errors import GrandstandError, ValidationFailed

if TYPE_CHECKING:
    from grandstand.client.client import Client
    from grandstand.worker.alone import Progress as Told

LOOK_SECONDS = 0.5


def overrides(told: list[str]) -> dict[str, Any]:
    """`["high_period=12", "reward.alpha=5"]` as a mapping, values read as YAML.

    Raises:
        ValidationFailed: one has no ``=``.
    """
    found: dict[str, Any] = {}
    for each in told:
        path, sign, text = each.partition("=")
        if not sign or not path:
            raise ValidationFailed(f"--set {each!r} should look like high_period=12")
        section, dot, key = path.partition(".")
        value = yaml.safe_load(text)
        if dot:
            found.setdefault(section, {})[key] = value
        else:
            found[section] = value
    return found


def in_here(
    name: str,
    episodes: int | None,
    seed: int,
    changes: Mapping[str, Any],
    evaluate: int,
    out: Path | None,
) -> bool:
    """Train in this process; True when it ended well.

    Raises:
        NotFound, ValidationFailed: no such scenario, or it is none; or more ranks than cores.
        Unavailable: the training part is not installed.
    """
    import importlib.util

    from grandstand.errors import Unavailable
    from grandstand.model.cores import check_ranks, usable_cores
    from grandstand.model.scenarios import Scenario, load_scenario

    missing = [part for part in ("torch", "numba") if importlib.util.find_spec(part) is None]
    if missing:
        raise Unavailable(
            f"the training part is not installed ({', '.join(missing)} missing)",
            code="training_unavailable",
            detail="Install it with: pip install 'grandstand[train]'",
        )
    if name.endswith((".yaml", ".yml")):
        scenario = Scenario.from_yaml(Path(name).read_text("utf-8"), where=name)
    else:
        scenario = load_scenario(name, (Path("scenarios"),))
    scenario = scenario.with_overrides(changes)
    check_ranks(scenario, usable_cores())
    folder = out or Path("models") / f"{scenario.name}-{seed}"

    from grandstand.worker.alone import train_alone

    console = Console(highlight=False)
    with _bar(console, scenario.name) as (bar, task), _until_interrupted() as stop:

        def report(told: Told) -> bool:
            average = "" if told.average is None else f"return {told.average:,.1f}"
            speed = f"{told.steps_per_second / 1000:,.0f} k steps/s"
            bar.update(task, completed=told.episode, total=told.total, told=f"{average} · {speed}")
            return not stop

        outcome = train_alone(
            scenario, folder, num_episodes=episodes, seed=seed, evaluate=evaluate, report=report
        )
    console.print(f"{outcome.episodes:,} episodes: {outcome.reason}.")
    _score(console, outcome.evaluation)
    console.print(f"Saved in {folder}")
    return True


def on_server(
    url: str,
    name: str,
    episodes: int | None,
    seed: int,
    changes: Mapping[str, Any],
    evaluate: int,
) -> bool:
    """Train on a server and follow it; True when it ended well. Ctrl-C stops the training.

    Raises:
        GrandstandError: the server is away, or refuses.
    """
    from grandstand.client.client import Client

    client, clock = Client(url, mode="online"), SystemClock()
    console = Console(highlight=False)
    body = {
        "scenario_name": name,
        "num_episodes": episodes,
        "seed": seed,
        "overrides": dict(changes),
        "eval_episodes": evaluate,
        "queue": True,
    }
    started = client.request("POST", "/api/training/start", body)
    path = f"/api/training/sessions/{started['session_id']}"
    console.print(f"{client.url}/sessions/{started['session_id']}")
    with _bar(console, name) as (bar, task), _until_interrupted() as stop:
        session = client.request("GET", path)
        asked = False
        while session["status"] not in ("completed", "stopped", "failed"):
            if stop and not asked:
                asked = True
                with contextlib.suppress(GrandstandError):  # it ended meanwhile
                    client.request("POST", f"{path}/stop")
            latest = session.get("latest") or {}
            average = latest.get("average_reward")
            told = session["status"]
            if isinstance(average, (int, float)) and told == "running":
                told = f"return {average:,.1f}"
            bar.update(
                task,
                completed=session["current_episode"],
                total=session["total_episodes"],
                told=told,
            )
            clock.wait(LOOK_SECONDS)
            session = client.request("GET", path)
        bar.update(task, completed=session["current_episode"], told=session["status"])
    console.print(f"{session['status']}: {session['stop_reason']}")
    _score(console, _evaluation(client, path))
    return bool(session["status"] != "failed")


def _evaluation(client: Client, path: str) -> Mapping[str, Any] | None:
    events = client.request("GET", f"{path}/history?type=training_status&limit=1000")
    found: list[Mapping[str, Any]] = [
        event for event in events.get("events", ()) if event.get("event") == "evaluation"
    ]
    return found[-1] if found else None


def _score(console: Console, told: Mapping[str, Any] | None) -> None:
    if told is None:
        return
    console.print(
        f"Return {told['return_mean']:,.1f} ± {told['return_se']:,.1f} over "
        f"{told['episodes']:,} episodes"
        + (
            f": score {told['score']:.3f} (0 is acting alike every month, 1 the exact optimum "
            f"of {told['optimum']:,.1f})"
            if told.get("score") is not None
            else ""
        )
    )


@contextlib.contextmanager
def _bar(console: Console, name: str) -> Iterator[tuple[Progress, TaskID]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield bar, bar.add_task(name, total=1, told="starting")


@contextlib.contextmanager
def _until_interrupted() -> Iterator[list[bool]]:
    """A list that is true once Ctrl-C was pressed; pressed again, it interrupts."""
    pressed: list[bool] = []

    def note(number: int, frame: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)
        sys.stderr.write("\nstopping; the model is kept (Ctrl-C again to drop it)\n")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
