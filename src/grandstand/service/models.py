"""Trained models: described with their sessions and scores, compared, played, removed."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol

from grandstand.errors import Conflict, Unavailable, ValidationFailed
from grandstand.model.session import ALIVE, Session
from grandstand.service.evaluations import Evaluations, shown
from grandstand.service.ledger import Ledger
from grandstand.service.shelf import Model, Shelf
from grandstand.store import evaluations
from grandstand.store import sessions as session_rows

NORMAL_95 = 1.959964
"""Standard errors to each side of a mean that hold 95 % of a normal distribution."""


class Player(Protocol):
    """Loads models and acts with them; the house itself has no torch."""

    async def act(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """The action for ``{folder, model_name, observation, greedy, seed}``.

        Raises:
            ValidationFailed, NotFound: as the model says.
            Unavailable: it cannot be played.
        """


class Models:
    """The verbs of models.

    Args:
        shelf: where their files are.
        player: acts with them.
        missing: says what keeps them from being played here, None when nothing does.
    """

    def __init__(
        self,
        ledger: Ledger,
        shelf: Shelf,
        scores: Evaluations,
        player: Player,
        missing: Callable[[bool], Unavailable | None],
    ) -> None:
        self._ledger = ledger
        self._shelf = shelf
        self._scores = scores
        self._player = player
        self.missing = missing

    async def described(self) -> list[dict[str, Any]]:
        """Every model with its session's words and its newest evaluation, newest first."""
        models = await asyncio.to_thread(self._shelf.all)
        ids = [model.id for model in models]

        def work(connection: Any) -> tuple[dict[str, Session], dict[str, Any]]:
            found = (session_rows.find(connection, model_id) for model_id in ids)
            sessions = {s.session_id: s for s in found if s is not None}
            return sessions, evaluations.completed(connection, ids)

        sessions, scored = await self._ledger.database.read(work)
        return [_described(model, sessions.get(model.id), scored.get(model.id)) for model in models]

    async def describe(self, name: str) -> dict[str, Any]:
        """One model as in `described`, with its scenario, its configuration and all evaluations.

        Raises:
            NotFound: there is none.
        """
        model = await asyncio.to_thread(self._shelf.get, name)

        def work(connection: Any) -> tuple[Session | None, dict[str, Any], list[Any]]:
            return (
                session_rows.find(connection, model.id),
                evaluations.completed(connection, [model.id]),
                evaluations.listing(connection, model.id),
            )

        session, scored, every = await self._ledger.database.read(work)
        return {
            **_described(model, session, scored.get(model.id)),
            "scenario": self._scores.scenario_of(model),
            "config": session.config if session is not None else {},
            "evaluations": [shown(row) for row in every],
        }

    async def remove(self, name: str) -> None:
        """Delete a model's files; its session, records and checkpoints stay.

        The documented paths then show the newest model of that scenario that is left.

        Raises:
            NotFound: there is none.
            Conflict: its session still runs (code ``session_running``).
        """
        model = await asyncio.to_thread(self._shelf.get, name)
        session = await self._ledger.database.read(lambda c: session_rows.find(c, model.id))
        if session is not None and session.status in ALIVE:
            raise Conflict(
                f"session {model.id} is {session.status.value}",
                code="session_running",
                detail="Stop it first.",
                details={"session_id": model.id, "status": session.status.value},
            )
        await asyncio.to_thread(self._shelf.remove, model)

    async def compare(self, names: Sequence[str]) -> dict[str, Any]:
        """Models beside one another: returns with intervals, and where their configurations
        differ.

        Each model's newest finished evaluation counts. Two are compared by the difference of their
        mean returns with its 95 % interval, 1.96 standard errors to each side (the episodes of two
        evaluations are taken as independent; with the same seed they are closer than that).

        Raises:
            NotFound: one of them is not there.
            ValidationFailed: fewer than two.
        """
        wanted = list(dict.fromkeys(names))
        if len(wanted) < 2:
            raise ValidationFailed(
                "models: name at least two different ones", details={"field": "models"}
            )
        models = [await self.describe(name) for name in wanted]
        pairs = [_difference(a, b) for a, b in itertools.combinations(models, 2)]
        flat = {m["id"]: _flat({"config": m["config"], "scenario": m["scenario"]}) for m in models}
        paths = sorted({path for values in flat.values() for path in values})
        differing = [
            {"path": path, "values": {key: values.get(path) for key, values in flat.items()}}
            for path in paths
            if len({json.dumps(values.get(path)) for values in flat.values()}) > 1
        ]
        keep = ("id", "name", "session_name", "algorithm", "evaluation", "episodes", "saved_at")
        return {
            "models": [{key: m[key] for key in keep} for m in models],
            "pairs": pairs,
            "differences": differing,
        }

    async def act(
        self, name: str, observation: Any, *, greedy: bool, seed: int | None
    ) -> dict[str, Any]:
        """What a model does in one situation.

        Raises:
            NotFound: there is none.
            ValidationFailed: the observation does not fit it.
            Unavailable: models cannot be played here.
        """
        model = await asyncio.to_thread(self._shelf.get, name)
        if (missing := self.missing(False)) is not None:
            raise missing
        told = {"folder": model.folder, "model_name": model.name, "observation": observation}
        return await self._player.act({**told, "greedy": greedy, "seed": seed})


def _described(model: Model, session: Session | None, scored: Any) -> dict[str, Any]:
    saved = datetime.fromtimestamp(model.saved_at, UTC)
    return {
        **asdict(model),
        "saved_at": saved,
        "session_name": session.name if session is not None else None,
        "algorithm": session.algorithm if session is not None else None,
        "status": session.status if session is not None else None,
        "episodes": session.current_episode if session is not None else None,
        "tags": session.tags if session is not None else [],
        "evaluation": shown(scored) if scored is not None else None,
    }


def _difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """How much more a earns than b, where both were scored on the same scenario."""
    told: dict[str, Any] = {"a": a["id"], "b": b["id"], "difference": None, "interval": None}
    one, other = a["evaluation"], b["evaluation"]
    if not one or not other or one["scenario_name"] != other["scenario_name"]:
        told["why_not"] = "both need an evaluation on the same scenario"
        return told
    difference = one["return_mean"] - other["return_mean"]
    margin = NORMAL_95 * math.hypot(one["return_se"], other["return_se"])
    told["difference"] = difference
    told["interval"] = [difference - margin, difference + margin]
    return told


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted path."""
    if isinstance(value, Mapping) and value:
        found: dict[str, Any] = {}
        for key, inner in value.items():
            found |= _flat(inner, f"{path}.{key}" if path else str(key))
        return found
    return {path: value}


def no_training_part(command: str, detail: str = "") -> Unavailable:
    """The answer while the learning part is not installed."""
    return Unavailable(
        "the training part is not installed",
        code="training_unavailable",
        detail=detail or f"Install it with: {command}",
        details={"command": command},
    )
