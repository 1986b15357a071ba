"""``python -m grandstand.worker.actor``: loads models and acts with them, for a server without
torch.

Reads a JSON object a line from standard input and answers each with one line:
``{"folder", "model_name", "observation", "greedy", "seed"}`` gives ``{"result": …}`` or
``{"error": …, "status": …}``. Ends when its input does.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from grandstand.errors import GrandstandError, ValidationFailed
from grandstand.worker.__main__ import limit_threads
from grandstand.worker.evaluation import model_file

if TYPE_CHECKING:
    from grandstand.train.policy import Acting

log = logging.getLogger("grandstand.worker")

KEPT = 8
"""Models that stay loaded."""


class Shelf:
    """The models used last, loaded."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[tuple[Path, int], Acting] = OrderedDict()

    def take(self, path: Path, seed: int) -> Acting:
        """The policy in `path` as it is on disk now.

        Raises:
            NotFound, ValidationFailed: see `load_policy`.
        """
        from grandstand.train.policy import load_policy

        key = path, path.stat().st_mtime_ns if path.exists() else 0
        policy = self._loaded.pop(key, None) or load_policy(path)
        policy.reseed(seed)
        self._loaded[key] = policy
        if len(self._loaded) > KEPT:
            self._loaded.popitem(last=False)
        return policy


def act(shelf: Shelf, told: Mapping[str, Any]) -> dict[str, Any]:
    """The action a model takes in the situation that is told.

    Raises:
        NotFound, ValidationFailed: no such model, or the observation does not fit it.
    """
    seed = told.get("seed")
    policy = shelf.take(
        model_file(Path(told["folder"]), told["model_name"]),
        int.from_bytes(os.urandom(4), "big") if seed is None else int(seed),
    )
    try:
        action = policy.act(told["observation"], greedy=bool(told.get("greedy", True)))
    except (TypeError, ValueError) as error:
        raise ValidationFailed(
            "observation should be a list of numbers", details={"field": "observation"}
        ) from error
    return {"action": action.tolist(), "names": list(policy.action_names)}


def serve(lines: Iterable[str], out: IO[str]) -> None:
    """Answer every line."""
    shelf = Shelf()
    for line in lines:
        answer: dict[str, Any]
        try:
            answer = {"result": act(shelf, json.loads(line))}
        except GrandstandError as error:
            body = {
                "error": error.code,
                "message": error.message,
                "detail": error.detail,
                "details": error.details,
            }
            answer = {"error": body, "status": error.http_status}
        except Exception:
            log.exception("a model could not act")
            answer = {"error": {"message": "the model could not act"}, "status": 500}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    limit_threads(1)
    serve(sys.stdin, sys.stdout)
