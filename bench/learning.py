"""Learning: how fast, how well, on which scenarios; and what people and the API notice of it."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from bench.bars import SCORE, Bar, Run, say
from bench.machine import ALLOWED, ROOT, cores, pinned
from bench.servers import WORK, Server, grandstand
from grandstand.model.environments import Environment
from grandstand.model.scenarios import Scenario, shipped_scenarios

SECTION = "Learning"
SESSIONS = "/api/training/sessions"
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
Task: TypeAlias = tuple[Scenario, int, dict[str, Any]]
"""What to train on, with which seed and overrides."""
UNSEEN: dict[str, dict[str, Any]] = {
    # Made up once, before the first run on them, and left as they are.
    "tight_family": {
        "income": 2600,
        "fixed_expenses": 1750,
        "variable_expense_mean": 780,
        "variable_expense_std": 90,
        "income_growth": 0.02,
        "safety_threshold": 2500,
        "max_months": 96,
        "initial_cash": 4000,
        "risk_tolerance": 0.4,
    },
    "rich_single": {
        "income": 9000,
        "fixed_expenses": 2500,
        "variable_expense_mean": 1500,
        "variable_expense_std": 700,
        "income_growth": 0.01,
        "safety_threshold": 10_000,
        "max_months": 180,
        "initial_cash": 20_000,
        "risk_tolerance": 0.8,
    },
    "wild_bills": {
        "income": 3000,
        "fixed_expenses": 1000,
        "variable_expense_mean": 900,
        "variable_expense_std": 450,
        "safety_threshold": 3000,
        "max_months": 72,
        "initial_cash": 1500,
        "risk_tolerance": 0.5,
    },
}


def speed(run: Run) -> None:
    """Environment, trainer and Stable-Baselines3, in steps a second of one core."""
    steps = run.pick(300_000, 2_000_000)
    _batch_environment(run)
    ours = {
        "two levels": [_trained_steps(run, steps, {}) for _ in range(run.repeats)],
        "flat": [_trained_steps(run, steps, {"algorithm": "ppo"}) for _ in range(run.repeats)],
    }
    if not run.peers or importlib.util.find_spec("stable_baselines3") is None:
        say("  (Stable-Baselines3 left out; pip install stable-baselines3 into .venv brings it)")
        for name, values in ours.items():
            run.add(Bar(SECTION, f"{name}: steps/s", "–", values, "steps/s"))
        return
    batch = [_sb3("batch", steps) for _ in range(run.repeats)]
    python = [_sb3("python", steps // 20) for _ in range(run.repeats)]
    peer, slow = statistics.median(batch), statistics.median(python)
    for name, least in (("two levels", 1.0), ("flat", 1.3)):
        median = statistics.median(ours[name])
        run.add(
            Bar(
                SECTION,
                f"{name}: steps/s",
                f"≥ {least} × SB3 on our environment"
                + (", ≥ 250 k" if name == "two levels" else ""),
                ours[name],
                "steps/s",
                against=f"SB3 PPO on our batch environment {peer / 1000:.0f} k/s",
                ratio=median / peer,
                met=median / peer >= least and (name == "flat" or median >= 250_000),
            )
        )
    median = statistics.median(ours["two levels"])
    run.add(
        Bar(
            SECTION,
            "two levels beside SB3 on Python environments",
            "≥ 10 ×",
            ours["two levels"],
            "steps/s",
            against=f"SB3 PPO on 8 Python environments {slow / 1000:.1f} k/s",
            ratio=median / slow,
            met=median / slow >= 10,
        )
    )


def households() -> list[Scenario]:
    """The shipped scenarios that have an optimum to be scored against."""
    return [s for s in shipped_scenarios().values() if isinstance(s.environment, Environment)]


def scores(run: Run) -> None:
    """Every shipped scenario, default length, two at a time."""
    tasks = [(scenario, seed, {}) for scenario in households() for seed in _seeds(run)]
    flat = [(scenario, 1, {"algorithm": "ppo"}) for scenario in households()]
    if run.quick:
        tasks, flat = tasks[:2], flat[:1]
    found = _many(tasks)
    _score_bars(run, "shipped", found)
    two_levels = {(name, seed): told["score"] for name, seed, told in found}
    gaps = [
        told["score"] - two_levels[name, seed]
        for name, seed, told in _many(flat)
        if (name, seed) in two_levels
    ]
    run.add(
        Bar(
            SECTION,
            "flat above two levels, same seed",
            "≤ .003",
            [round(gap, 4) for gap in gaps],
            SCORE,
            met=max(gaps) <= 0.003,
            note="spread over the shipped scenarios; the worst counts",
        )
    )


def unseen(run: Run) -> None:
    """Scenarios never seen before, the same."""
    scenarios = [
        Scenario.from_mapping({"name": name, "environment": environment})
        for name, environment in UNSEEN.items()
    ]
    tasks: list[Task] = [(scenario, seed, {}) for scenario in scenarios for seed in _seeds(run)]
    _score_bars(run, "never seen before", _many(tasks[:2] if run.quick else tasks))


def _seeds(run: Run) -> range:
    return range(1, run.pick(1, 5) + 1)


def _score_bars(run: Run, what: str, found: list[tuple[str, int, dict[str, Any]]]) -> None:
    if not found:
        return
    for name in dict.fromkeys(name for name, _, _ in found):
        mine = [told for other, _, told in found if other == name]
        values = [round(told["score"], 4) for told in mine]
        run.add(
            Bar(
                SECTION,
                f"score, {name}",
                "each seed ≥ .985",
                values,
                SCORE,
                met=min(values) >= 0.985,
                note="seeds from 1: " + " ".join(f"{value:.4f}" for value in values),
            )
        )
    values = [told["score"] for _, _, told in found]
    median = statistics.median(values)
    run.add(
        Bar(
            SECTION,
            f"score, all {what}: median",
            "≥ .995",
            [round(median, 4)],
            SCORE,
            met=median >= 0.995,
            note=f"{len(values)} runs, worst {min(values):.4f}",
        )
    )


def pace(run: Run) -> None:
    """Time to a score of .97, alone on its core."""
    times = []
    scenarios = households()
    for scenario in scenarios[: run.pick(1, len(scenarios))]:
        told = _learn(scenario, 1, {}, core=cores()[0], more=["--to-good", "--evaluate", "2000"])
        times.append(told["seconds_to_good"] if told["seconds_to_good"] is not None else 999.0)
        say(f"  {scenario.name}: {times[-1]:.1f} s")
    run.add(
        Bar(
            SECTION,
            "time to score .97, every shipped scenario",
            "median ≤ 5 s, worst ≤ 10 s",
            times,
            "s",
            met=statistics.median(times) <= 5 and max(times) <= 10,
            note="looked at every half second; one seed each; without a server",
        )
    )


def short(run: Run) -> None:
    """The documents' example: a thousand episodes."""
    scenario = shipped_scenarios()["bologna_coppia"]
    for name, bias, least in (("", None, 0.95), (" from start bias (0, 0)", (0, 0), 0.90)):
        more = ["--episodes", "1000", *(["--bias", "0", "0"] if bias else [])]
        values = [
            round(_learn(scenario, seed, {}, core=cores()[0], more=more)["score"], 4)
            for seed in range(1, run.pick(2, 6))
        ]
        run.add(
            Bar(
                SECTION,
                f"1000 episodes of bologna_coppia{name}: score",
                f"≥ {least:.2f}",
                values,
                SCORE,
                met=min(values) >= least,
                note="the least counts",
            )
        )


def orders(run: Run) -> None:
    """How soon an order takes effect, what a checkpoint costs, and the API beside two trainings."""
    with training_server() as server:
        ids = [start(server, name) for name in ("bologna_coppia", "balanced")]
        for session in ids:
            until(server, session, lambda s: s["current_episode"] > 0)
        _status_beside(run, server)
        _pauses(run, server, ids[0])
        for session in ids:
            server.ask("POST", f"{SESSIONS}/{session}/stop")
            until(server, session, lambda s: s["status"] == "stopped")
    _checkpoint_cost(run)


def _status_beside(run: Run, server: Server) -> None:
    waits = []
    for _ in range(run.pick(200, 2000)):
        began = time.perf_counter()
        server.ask("GET", "/api/training/status")
        waits.append((time.perf_counter() - began) * 1000)
        threading.Event().wait(0.01)
    waits.sort()
    p99 = waits[int(len(waits) * 0.99)]
    run.add(
        Bar(
            SECTION,
            "GET /api/training/status beside two trainings: p99",
            "≤ 20 ms",
            [p99],
            "ms",
            met=p99 <= 20,
            note=f"p50 {waits[len(waits) // 2]:.1f} ms; two workers and the client on both cores",
        )
    )


def _pauses(run: Run, server: Server, session: str) -> None:
    taken = []
    for _ in range(run.pick(5, 40)):
        for verb, status in (("pause", "paused"), ("resume", "running")):
            began = time.perf_counter()
            server.ask("POST", f"{SESSIONS}/{session}/{verb}")
            until(server, session, lambda s, status=status: s["status"] == status)
            if verb == "pause":
                taken.append(time.perf_counter() - began)
        threading.Event().wait(0.1)
    taken.sort()
    p99 = taken[min(int(len(taken) * 0.99), len(taken) - 1)]
    run.add(
        Bar(
            SECTION,
            "a pause takes effect: p99",
            "≤ 0.3 s",
            [p99],
            "s",
            met=p99 <= 0.3,
            note=f"median {statistics.median(taken):.2f} s of {len(taken)}, two trainings on two "
            "cores; asked until told by the worker",
        )
    )


def _checkpoint_cost(run: Run) -> None:
    code = """
import json, sys, time, tempfile
from pathlib import Path
from grandstand.model.scenarios import load_scenario
from grandstand.train.checkpoint import save_checkpoint
from grandstand.train.trainer import make_trainer
trainer = make_trainer(load_scenario("bologna_coppia"), seed=1)
took, updates = [], []
with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
    for _ in range(30):
        began = time.perf_counter(); update = next(trainer)
        updates.append(time.perf_counter() - began)
        began = time.perf_counter()
        path = save_checkpoint(
            Path(folder), trainer.episodes_done, trainer.state_dict(), trainer.models(), {}, [])
        took.append(time.perf_counter() - began)
    size = sum(file.stat().st_size for file in path.iterdir())
print(json.dumps([took[2:], updates[2:], size]))
"""
    WORK.mkdir(exist_ok=True)
    done = python(["-c", code, str(WORK)], cores()[0])
    took, updates, size = json.loads(done)
    milliseconds = [1000 * each for each in took]
    median = statistics.median(milliseconds)
    run.add(
        Bar(
            SECTION,
            "a checkpoint, synced to disk",
            "≤ 5 ms",
            milliseconds,
            "ms",
            against=f"an update, {1000 * statistics.median(updates):.0f} ms",
            ratio=statistics.median(took) / statistics.median(updates),
            met=median <= 5,
            note=f"{size / 1024:.0f} KiB",
        )
    )


def _batch_environment(run: Run) -> None:
    code = """
import sys, time
import numpy as np
from grandstand.model.scenarios import load_scenario
from grandstand.train.household_batch import HouseholdBatch
envs = HouseholdBatch(load_scenario("bologna_coppia"), 4096)
envs.reset(seed=1)
shares = np.tile([0.15, 0.8, 0.05], (4096, 1))
envs.step(shares)
steps = int(sys.argv[1])
began = time.perf_counter()
for _ in range(steps // 4096):
    envs.step(shares)
print(steps / (time.perf_counter() - began))
"""
    steps = str(run.pick(4_000_000, 60_000_000))
    values = [float(python(["-c", code, steps], cores()[0])) for _ in range(run.repeats)]
    run.add(
        Bar(
            SECTION,
            "batch environment, 4096 households",
            "≥ 30 M steps/s",
            values,
            "steps/s",
            met=statistics.median(values) >= 30e6,
            note="with observations, records of the books and restarts",
        )
    )


def _trained_steps(run: Run, steps: int, overrides: dict[str, Any]) -> float:
    """Steps a second of a training through a server, telemetry on, as its session says."""
    with training_server() as server:
        session = start(server, "bologna_coppia", overrides=overrides)
        done = until(
            server, session, lambda s: (s["latest"] or {}).get("step", 0) >= steps, seconds=300
        )
        series = server.ask(
            "GET", f"{SESSIONS}/{session}/series?metrics=steps_per_second&max_points=1000"
        )
        server.ask("POST", f"{SESSIONS}/{session}/stop")
        assert done
        values = [v for v in series["series"]["steps_per_second"]["mean"] if v]
        return float(statistics.median(values[2:]))


def _sb3(kind: str, steps: int) -> float:
    script = str(ROOT / "bench" / "peers" / "sb3_household.py")
    return float(python([script, kind, "--steps", str(max(steps, 40_000))], cores()[0]))


def _many(
    tasks: list[Task],
) -> list[tuple[str, int, dict[str, Any]]]:
    """Trainings side by side, one to a core: their scores count, not their times."""
    free = list(ALLOWED[:2])

    def work(task: Task) -> tuple[str, int, dict[str, Any]]:
        scenario, seed, overrides = task
        core = free.pop()
        try:
            told = _learn(scenario, seed, overrides, core=core)
        finally:
            free.append(core)
        say(f"  {scenario.name} seed {seed} {overrides or ''}: {told['score']:.4f}")
        return scenario.name, seed, told

    with ThreadPoolExecutor(len(free)) as pool:
        return list(pool.map(work, tasks))


def _learn(
    scenario: Scenario,
    seed: int,
    overrides: dict[str, Any],
    *,
    core: int,
    more: list[str] | None = None,
) -> dict[str, Any]:
    WORK.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=WORK) as file:
        file.write(scenario.to_yaml())
        file.flush()
        words = ["-m", "bench.learn", file.name, "--seed", str(seed)]
        words += ["--set", json.dumps(overrides), "--cache", str(WORK / "cache"), *(more or [])]
        told: dict[str, Any] = json.loads(python(words, core))
        return told


def python(words: list[str], *cores: int) -> str:
    """The last line that a Python process on these cores prints."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, **THREADS},
        preexec_fn=pinned(*cores),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
    return done.stdout.strip().splitlines()[-1]


@contextmanager
def training_server() -> Iterator[Server]:
    """A server whose workers may use both cores, and two trainings at a time."""
    with grandstand(GRANDSTAND_TRAINING__MAX_CONCURRENT_TRAININGS="2") as server:
        for task in Path(f"/proc/{server.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), set(ALLOWED[:2]))
        yield server


def start(server: Server, name: str, **more: Any) -> str:
    body = {"scenario_name": name, "seed": 1, "eval_episodes": 0, "num_episodes": 500_000, **more}
    return str(server.ask("POST", "/api/training/start", body)["session_id"])


def until(server: Server, session: str, holds: Any, seconds: float = 120.0) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while True:
        found: dict[str, Any] = server.ask("GET", f"{SESSIONS}/{session}")
        if holds(found):
            return found
        if time.monotonic() > deadline or found["status"] in ("failed", "completed"):
            raise RuntimeError(f"{session} is {found['status']}: {found['error']}")
        threading.Event().wait(0.01)
