"""The Socket.IO events of trainings, as bytes: what stored records say in that dialect."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from grandstand.live.flow import Item
from grandstand.model.session import Session, Status
from grandstand.model.telemetry import METRICS, STATUS, encode, finite_or_name
from grandstand.service.training import progress_of

ENDS = {
    Status.COMPLETED.value: "training_completed",
    Status.STOPPED.value: "training_stopped",
}


class TrainingEvents:
    """A `live.dialects.Dialect`: ``42["event",{…}]``, an Engine.IO message with an event in it.

    Args:
        sessions: the sessions spoken of, by id, kept up to date by whoever owns the mapping.
    """

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self._sessions = sessions

    def encode(self, session_id: str, item: Item) -> bytes | None:
        session = self._sessions.get(session_id)
        if session is None:
            return None
        said = event_of(session, item)
        return None if said is None else b"42" + encode(said)

    def notice(self, session_id: str, at: datetime, data: bytes) -> bytes | None:
        return None


def event_of(session: Session, item: Item) -> tuple[str, dict[str, Any]] | None:
    """The event a stored record stands for, and its data; None for a record that makes none.

    Args:
        session: the one that reported it, for what the record leaves unsaid.
    """
    if item.type not in (METRICS, STATUS):
        return None
    data: dict[str, Any] = msgspec.json.decode(item.data)
    about: dict[str, Any] = {"session_id": session.session_id, "seq": item.seq}
    if item.skipped is not None:
        about["skipped_from"], about["skipped_to"] = item.skipped
    if item.type == METRICS:
        progress = progress_of({"total_episodes": session.total_episodes, **data})
        return None if progress is None else ("training_progress", {**progress, **about})
    if data.get("event") != "status":
        return None
    status = data.get("status")
    began = "num_episodes" in data and data.get("previous") in (None, Status.STARTING)
    if status == Status.RUNNING and began:  # said by a worker, and not after a pause
        started = {
            "scenario_name": session.scenario_name,
            "num_episodes": session.total_episodes,
            "start_time": session.start_time,
        }
        return "training_started", {**started, **about}
    if status == Status.FAILED:
        error = data.get("error") or {}
        failed = {
            "message": error.get("message") or data.get("reason") or "the training failed",
            "details": finite_or_name(error),
            "code": error.get("type") or "training_failed",
        }
        return "training_error", {**failed, **about}
    name = ENDS.get(str(status))
    if name is None:
        return None
    ended = {
        "scenario_name": session.scenario_name,
        "episodes_completed": data.get("episodes_completed", session.current_episode),
        "total_episodes": session.total_episodes,
        "reason": data.get("reason"),
        "final_metrics": data.get("final_metrics"),
        "models": data.get("models") or {},
    }
    return name, {**ended, **about}
