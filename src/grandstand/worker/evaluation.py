"""Playing a trained model and scoring it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grandstand.client.client import Client
from grandstand.client.failure import describe
from grandstand.model.scenarios import Scenario
from grandstand.worker.machine import facts

log = logging.getLogger("grandstand.worker")


def model_file(folder: Path, model_name: str) -> Path:
    """The file that `load_policy` reads a saved model from."""
    flat = folder / f"{model_name}_agent.pt"
    return flat if flat.is_file() else folder / f"{model_name}_low_agent.pt"


def assess(
    folder: Path,
    model_name: str,
    scenario: Scenario | None,
    *,
    episodes: int,
    seed: int,
    greedy: bool = True,
    market_noise: bool = False,
    trajectories: int = 0,
    cache: str | None = None,
) -> dict[str, Any]:
    """Let a saved model live for some episodes; see `grandstand.train.evaluate.evaluate`.

    Args:
        folder: holds the model's files.
        model_name: what their names begin with.
        scenario: where it lives; None takes the one it was trained on.
        episodes, seed, greedy, market_noise, trajectories: see there.
        cache: folder for reference values.

    Raises:
        NotFound: there is no such model.
    """
    from grandstand.train.evaluate import evaluate
    from grandstand.train.policy import load_policy

    return evaluate(
        load_policy(model_file(folder, model_name), seed=seed),
        scenario,
        episodes=episodes,
        seed=seed,
        greedy=greedy,
        market_noise=market_noise,
        trajectories=trajectories,
        cache=Path(cache) if cache else None,
    ).to_mapping()


def run_evaluation(client: Client, evaluation_id: str, order: Mapping[str, Any]) -> int:
    """Carry out an evaluation's order and report the result.

    Returns:
        The exit status: 0, or 1 when it failed.

    Raises:
        GrandstandError: the server does not take the result.
    """
    path = f"/api/evaluations/{evaluation_id}"
    try:
        result = assess(
            Path(order["model_folder"]),
            order["model_name"],
            Scenario.from_mapping(order["scenario"]) if order.get("scenario") else None,
            episodes=order["episodes"],
            seed=order["seed"],
            greedy=order["greedy"],
            market_noise=order["market_noise"],
            trajectories=order["trajectories"],
            cache=order.get("cache_folder"),
        )
    except Exception as error:
        log.exception("the evaluation failed")
        client.request("PUT", path, {"status": "failed", "error": describe(error, facts())})
        return 1
    client.request("PUT", path, {"status": "completed", "result": result})
    return 0
