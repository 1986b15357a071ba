"""How an update becomes records, at once or at a pace."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from grandstand.client.client import Client
from grandstand.clock import ManualClock
from grandstand.train.trainer import DecisionColumns, EpisodeColumns, Update
from grandstand.worker.reports import Reports

from ..client.conftest import RecordingServer  # noqa: TID252 - tests are no package


def update(number: int, first: int, rows: int, months: int = 4) -> Update:
    ones = np.ones(rows)
    month = np.arange(1, months + 1)
    return Update(
        number,
        number * 1000,
        EpisodeColumns(
            np.arange(first, first + rows), ones, ones, ones, ones, ones / 1000, {"stability": ones}
        ),
        {"low/policy_loss": 0.5},
        DecisionColumns(
            np.full(months, first), month, 120, *(np.full(months, v) for v in (0.2, 0.3, 0.5)),
            *(np.full(months, v) for v in (1.0, np.nan, np.nan, 100.0, 0.9)),
        ),
    )  # fmt: skip


def keys(server: RecordingServer) -> list[str | None]:
    return [r.key for b in server.batches for r in b.records]


def test_without_a_pace_everything_goes_at_once(office: Any) -> None:
    session = Client(office.url).attach("s")
    reports = Reports(session, ManualClock(), pace=None, total_episodes=10)
    reports.add(update(1, 1, 5))
    assert reports.next_due is None
    session.flush()
    assert keys(office) == ["update 1", "update 1 scalars", "update 1 decision 3"]
    scalars, decision = office.rows()[-2:]
    assert scalars["episode"] == 5
    assert scalars["step"] == 1000
    assert scalars["extra"] == {"low/policy_loss": 0.5}
    assert decision["selected_action"] == "consume"
    assert "goal_share" not in decision["extra"]  # a flat policy has none


def test_a_pace_sets_when(office: Any) -> None:
    session = Client(office.url).attach("s")
    clock = ManualClock()
    reports = Reports(session, clock, pace=8.0, total_episodes=100)
    reports.add(update(1, 1, 8))
    sent: list[tuple[float, int]] = []
    while (due := reports.next_due) is not None:
        clock.wait(due - clock.monotonic())
        reports.send_due()
        session.flush()
        sent.append((clock.monotonic(), len(office.episodes())))
    assert clock.monotonic() == 1.0
    assert (0.25, 2) in sent
    assert (0.5, 4) in sent
    assert sent[-1] == (1.0, 8)
    assert "update 1 rows 2-4" in keys(office)
    assert keys(office)[-1] == "update 1 scalars"
    elapsed = [r["training_time_elapsed"] for r in office.rows() if "current_reward" in r]
    assert elapsed[-1] == 1.0


def test_the_next_update_begins_where_the_last_one_ends(office: Any) -> None:
    clock = ManualClock()
    reports = Reports(Client(office.url).attach("s"), clock, pace=10.0, total_episodes=100)
    reports.add(update(1, 1, 10, months=0))
    clock.wait(1.0)
    reports.send_due()
    clock.wait(0.25)  # computing the next one
    reports.add(update(2, 11, 10, months=0))
    assert reports.next_due is not None
    assert 1.25 < reports.next_due < 1.6


def test_rows_that_are_stored_already_are_not_slowed_down(office: Any) -> None:
    clock = ManualClock()
    session = Client(office.url).attach("s")
    reports = Reports(session, clock, pace=10.0, total_episodes=100, stored_until=25)
    reports.add(update(1, 1, 20))
    reports.send_due()
    assert reports.next_due is None
    reports.add(update(2, 21, 20, months=0))
    reports.send_due()
    assert reports.next_due is not None
    reports.send_all()
    session.flush()
    assert office.episodes() == list(range(1, 41))


def test_a_pause_puts_everything_off(office: Any) -> None:
    clock = ManualClock()
    reports = Reports(Client(office.url).attach("s"), clock, pace=4.0, total_episodes=100)
    reports.add(update(1, 1, 4, months=0))
    before = reports.next_due
    clock.wait(100)
    reports.shift(100)
    assert before is not None
    assert reports.next_due == before + 100


def test_the_frame_of_an_update_is_shown(office: Any) -> None:
    class Frame(NamedTuple):
        image: bytes
        media_type: str
        episode: int
        step: int
        ret: float

    image = b"\xff\xd8\xff the agent at play"
    filmed = update(1, 1, 5)
    object.__setattr__(filmed, "frame", Frame(image, "image/jpeg", 5, 1000, 2.5))
    session = Client(office.url).attach("s")
    Reports(session, ManualClock(), pace=None, total_episodes=10).add(filmed)
    office.wait_for(lambda: any(method == "PUT" for method, _, _ in office.requests))
    (shown,) = [(path, body) for method, path, body in office.requests if method == "PUT"]
    assert shown == ("/api/training/sessions/s/frame?episode=5&step=1000&return=2.5", image)
    session.finish()
