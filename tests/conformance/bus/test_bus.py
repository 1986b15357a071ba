"""What every bus promises to those who hear in the same process."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from grandstand.bus.base import Bus, Committed, Deleted, News
from grandstand.model.telemetry import parse_batch

from .conftest import Ear

AT = datetime(2026, 1, 1, tzinfo=UTC)


def committed(first: int, session_id: str = "run") -> Committed:
    body = b'{"records": [{"type": "training_metrics", "data": {"episode": %d}}]}' % first
    return Committed(1, session_id, first, first, tuple(parse_batch(body).records), AT)


async def test_listeners_have_heard_once_it_is_told(bus: Bus) -> None:
    ear, own = Ear(), Ear()
    bus.subscribe(ear)
    bus.subscribe(own, own=True)
    told: list[News] = [committed(1), committed(2), Deleted("run")]
    for news in told:
        bus.publish(news)
    assert ear.heard == told
    assert own.heard == told


async def test_a_subscription_ends(bus: Bus) -> None:
    ear = Ear()
    end = bus.subscribe(ear)
    end()
    end()
    bus.publish(Deleted("run"))
    assert ear.heard == []


async def test_one_listeners_fault_costs_nobody_else(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(news: News) -> None:
        raise RuntimeError("stumbled")

    ear = Ear()
    bus.subscribe(stumble)
    bus.subscribe(ear)
    bus.publish(Deleted("run"))
    assert ear.heard == [Deleted("run")]
    assert "a listener failed on Deleted" in caplog.text
