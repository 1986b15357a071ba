"""A training without a server: the same trainer, its models and history in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grandstand.model.scenarios import Scenario
from grandstand.model.stopping import Plateau, StoppingRules


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        average: mean return of the last 10 episodes, None before the first.
        steps_per_second: environment steps of the last update over its seconds.
    """

    episode: int
    total: int
    average: float | None
    steps_per_second: float


@dataclass(frozen=True)
class Outcome:
    """What a training came to.

    Attributes:
        reason: why it ended, a sentence.
        files: paths of models, history and scenario.
        evaluation: see `grandstand.train.evaluate.Evaluation`; None when none was asked for.
    """

    episodes: int
    reason: str
    files: list[Path]
    evaluation: dict[str, Any] | None


def train_alone(
    scenario: Scenario,
    folder: Path,
    *,
    num_episodes: int | None,
    seed: int,
    evaluate: int,
    report: Callable[[Progress], bool],
) -> Outcome:
    """Train, save the models and score them.

    Args:
        scenario: with all overrides applied.
        folder: for the files; made if missing.
        num_episodes: None takes the scenario's.
        seed: of the training and, one further, of the evaluation.
        evaluate: greedy episodes to score with; 0 for none.
        report: called after each update; False ends the training there.

    Raises:
        Diverged: the networks did, and nothing helped.
        RankLost: one of several ranks is gone; nothing is saved.
        OSError: the folder cannot be written to.
    """
    from grandstand.train.policy import save_models
    from grandstand.train.stopping import EarlyStopping
    from grandstand.train.trainer import close_trainer, make_trainer
    from grandstand.worker.checkpoints import History
    from grandstand.worker.evaluation import assess

    folder.mkdir(parents=True, exist_ok=True)
    trainer = make_trainer(scenario, num_episodes=num_episodes, seed=seed)
    with ExitStack() as held:
        held.callback(close_trainer, trainer)
        patience = scenario.training.patience_steps
        plateau = Plateau(patience_steps=patience) if patience else None
        stopping = EarlyStopping(StoppingRules(plateau=plateau))
        history, reason, models = History(), "all episodes done", None
        for update in trainer:
            history.add(update)
            rows = update.episodes
            ending = stopping.look(update)
            if plateau and stopping.improved:
                models = trainer.models()
            told = Progress(
                trainer.episodes_done,
                trainer.num_episodes,
                float(rows.average_reward[-1]) if len(rows) else None,
                update.scalars.get("steps_per_second", float("nan")),
            )
            if not report(told):
                reason, models = "stopped by request", None
                break
            if ending is not None:
                reason = ending.reason
                break
        else:
            models = None
    saved = save_models(models or trainer.models(), folder, scenario.name)
    told_files = [*saved.values(), folder / f"{scenario.name}_history.json"]
    history.write(told_files[-1])
    (folder / "scenario.json").write_text(json.dumps(scenario.to_mapping(), indent=2), "utf-8")
    evaluation = None
    if evaluate:
        evaluation = assess(folder, scenario.name, None, episodes=evaluate, seed=seed + 1)
        del evaluation["trajectories"]
    return Outcome(
        trainer.episodes_done, reason, [*told_files, folder / "scenario.json"], evaluation
    )
