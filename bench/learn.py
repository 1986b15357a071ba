"""One training in a process of its own, for `bench.learning`: prints its score as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from grandstand.model.scenarios import Scenario
from grandstand.train.evaluate import evaluate
from grandstand.train.policy import load_policy, save_models
from grandstand.train.trainer import make_trainer

GOOD = 0.97
LOOK_SECONDS = 0.5


def main() -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", type=Path, help="a YAML file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--episodes", type=int)
    parser.add_argument("--set", default="{}")
    parser.add_argument("--bias", type=float, nargs=2)
    parser.add_argument("--evaluate", type=int, default=20_000)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--to-good", action="store_true", help="also when it first scored .97")
    given = parser.parse_args()
    trainer = make_trainer(
        Scenario.from_yaml(given.scenario.read_text()),
        num_episodes=given.episodes,
        seed=given.seed,
        overrides=json.loads(given.set),
        start_bias=tuple(given.bias) if given.bias else None,
    )
    step, seconds, cpu = 0, 0.0, 0.0
    snapshots: list[tuple[float, dict[str, Any]]] = []
    began, began_cpu = perf_counter(), process_time()
    for update in trainer:
        step = update.step
        now, now_cpu = perf_counter(), process_time()
        seconds, cpu = seconds + now - began, cpu + now_cpu - began_cpu
        if given.to_good and seconds >= LOOK_SECONDS * (len(snapshots) + 1):
            snapshots.append((seconds, trainer.models()))
        began, began_cpu = perf_counter(), process_time()

    def score(models: dict[str, Any], episodes: int) -> Any:
        with TemporaryDirectory() as folder:
            saved = save_models(models, Path(folder), "bench")
            policy = load_policy(next(p for p in saved.values() if "high" not in p.name))
            return evaluate(policy, episodes=episodes, seed=1, cache=given.cache)

    final = score(trainer.models(), given.evaluate)
    good = None
    for at, models in snapshots:
        if score(models, 2000).score >= GOOD:
            good = at
            break
    told = {
        "score": final.score,
        "return": final.return_mean,
        "optimum": final.optimum,
        "months": final.months_mean,
        "episodes": trainer.episodes_done,
        "steps": step,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "seconds_to_good": good,
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
