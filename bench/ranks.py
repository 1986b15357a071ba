"""Two ranks beside one: steps a second of the trainer alone, and of a training through a server.

`python -m bench.ranks ROUNDS` is the trainer alone, in a process of its own.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from bench.bars import Bar, Run
from bench.learning import SECTION, SESSIONS, python, start, training_server, until
from bench.machine import ALLOWED
from grandstand.model.scenarios import shipped_scenarios

LEAST = 1.45
WARM_STEPS = 150_000
"""Left out at the start: compiling, first connections."""
WARM_UPDATES = 6
UPDATES = 12
"""A turn of one trainer, about two seconds; then it is the other's."""


def measure(run: Run) -> None:
    """One and two ranks in turn; each pair, run right after each other, gives one ratio."""
    if len(ALLOWED) < 2:
        raise RuntimeError("two ranks want two cores, and here is one")
    _compare(run, "trainer alone", *_alone(run.pick(3, 24)))
    steps = run.pick(300_000, 3_000_000)
    one, two = [], []
    for number in range(run.repeats):
        for ranks in (1, 2) if number % 2 == 0 else (2, 1):
            (one if ranks == 1 else two).append(_through_server(ranks, steps))
    _compare(run, "server on the same two cores", one, two, asked=False)


def _compare(
    run: Run, what: str, one: list[float], two: list[float], *, asked: bool = True
) -> None:
    ratios = [b / a for a, b in zip(one, two, strict=True)]
    middle, alone = statistics.median(ratios), statistics.median(one)
    run.add(
        Bar(
            SECTION,
            f"two ranks, {what}: steps/s of wall",
            f"≥ {LEAST} × one rank" if asked else "–",
            two,
            "steps/s",
            against=f"one rank {alone / 1000:.0f} k/s",
            ratio=middle,
            met=middle >= LEAST if asked else None,
            note=f"{len(ratios)} pairs, {min(ratios):.2f}–{max(ratios):.2f} ×",
        )
    )


def _alone(rounds: int) -> tuple[list[float], list[float]]:
    one, two = json.loads(python(["-m", "bench.ranks", str(rounds)], *ALLOWED[:2]))
    return one, two


def _in_turn(rounds: int) -> Iterator[tuple[float, float]]:
    """Steps a second of one and of two ranks, a few updates each at a time."""
    from grandstand.train.trainer import make_trainer  # here, since it brings PyTorch along

    scenario = shipped_scenarios()["bologna_coppia"]

    def trainer(ranks: int) -> Any:
        return make_trainer(scenario, num_episodes=10**6, seed=1, overrides={"ranks": ranks})

    def speed(trainer: Any) -> float:
        began, first = time.perf_counter(), last_step[id(trainer)]
        for _ in range(UPDATES):
            last_step[id(trainer)] = next(trainer).step
        return float(last_step[id(trainer)] - first) / (time.perf_counter() - began)

    last_step: dict[int, int] = {}
    alone = trainer(1)
    with closing(trainer(2)) as pair:
        for one in (alone, pair):
            for _ in range(WARM_UPDATES):
                last_step[id(one)] = next(one).step
        for number in range(rounds):
            if number % 2:
                second = speed(pair)
                yield speed(alone), second
            else:
                yield speed(alone), speed(pair)


def _through_server(ranks: int, steps: int) -> float:
    """From one report to another by the wall clock: what lies between updates counts too."""
    with training_server() as server:
        session = start(server, "bologna_coppia", ranks=ranks)
        marks = []
        for wanted in (WARM_STEPS, WARM_STEPS + steps):
            found = until(server, session, lambda s, w=wanted: _step(s) >= w, seconds=300)
            marks.append((_step(found), time.perf_counter()))
        server.ask("POST", f"{SESSIONS}/{session}/stop")
        (began, first), (ended, last) = marks
        return (ended - began) / (last - first)


def _step(session: dict[str, object]) -> int:
    latest = session["latest"]
    return int(latest.get("step") or 0) if isinstance(latest, dict) else 0


if __name__ == "__main__":
    pairs = list(_in_turn(int(sys.argv[1])))
    print(json.dumps([list(column) for column in zip(*pairs, strict=True)]))
