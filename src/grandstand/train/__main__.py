"""`python -m grandstand.train bologna_coppia --seed 7`: train by hand, print score and time."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

from grandstand.errors import GrandstandError
from grandstand.model.scenarios import load_scenario
from grandstand.train.evaluate import evaluate
from grandstand.train.policy import load_policy, save_models
from grandstand.train.trainer import close_trainer, make_trainer


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m grandstand.train", description=__doc__)
    parser.add_argument("scenario")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--episodes", type=int, help="default: the scenario's")
    parser.add_argument("--ranks", type=int, help="processes that train together (1)")
    parser.add_argument("--flat", action="store_true", help="PPO without the Strategist")
    parser.add_argument("--bias", type=float, nargs=2, metavar=("INVEST", "CONSUME"))
    parser.add_argument(
        "--set", default="{}", help="overrides as JSON, e.g. '{\"high_period\": 12}'"
    )
    parser.add_argument("--evaluate", type=int, default=20_000, help="episodes to score with")
    parser.add_argument("--cache", type=Path, help="folder for the reference values")
    parser.add_argument("--save", type=Path, help="folder for the agents")
    parser.add_argument("--curve", action="store_true", help="print a line an update")
    given = parser.parse_args(arguments)
    overrides = json.loads(given.set) | ({"algorithm": "ppo"} if given.flat else {})
    overrides |= {"ranks": given.ranks} if given.ranks else {}
    began, cpu = perf_counter(), process_time()
    trainer = make_trainer(
        load_scenario(given.scenario),
        num_episodes=given.episodes,
        seed=given.seed,
        overrides=overrides,
        start_bias=tuple(given.bias) if given.bias else None,
    )
    step = 0
    for update in trainer:
        step = update.step
        if given.curve and len(update.episodes):
            mean = update.episodes.current_reward.mean()
            rest = " ".join(f"{name}={value:.4g}" for name, value in update.scalars.items())
            sys.stdout.write(f"{update.update} {step} {trainer.episodes_done} {mean:.1f} {rest}\n")
    wall, cpu = perf_counter() - began, process_time() - cpu
    close_trainer(trainer)
    with TemporaryDirectory() as folder:
        saved = save_models(trainer.models(), given.save or Path(folder), given.scenario)
        policy = load_policy(next(path for path in saved.values() if "high" not in path.name))
        result = evaluate(policy, episodes=given.evaluate, seed=1, cache=given.cache)
    known = result.score is not None and result.optimum is not None
    score = f"score {result.score:.4f}  " if known else ""
    optimum = f" of {result.optimum:.1f}" if known else ""
    sys.stdout.write(
        f"{given.scenario} seed {given.seed}: {score}return "
        f"{result.return_mean:.1f} ± {result.return_se:.1f}{optimum}, "
        f"{result.length_mean:.1f} steps; {trainer.episodes_done} episodes, {step} steps in "
        f"{wall:.1f} s ({cpu:.1f} s CPU, {step / wall / 1000:.0f} k/s)\n"
    )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except GrandstandError as error:
        sys.exit(f"{error.message} {error.detail}".strip())
