"""What the terminal shows of a session."""

from __future__ import annotations

import io
import json
import math
from datetime import UTC, datetime

from rich.console import Console

from grandstand.client.info import SessionInfo
from grandstand.client.watch import Event
from grandstand.model.session import Kind, Status, Wanted
from grandstand.watching_command import Picture, age, json_line, line, spark

AT = datetime(2026, 5, 1, 10, tzinfo=UTC)


def metrics(seq: int, reward: float) -> Event:
    data = {"episode": seq, "average_reward": reward, "extra": {"grad/norm": 0.5}}
    return Event(seq, "training_metrics", AT, data)


def test_a_line_for_pipes_says_everything_in_one_line() -> None:
    told = line(Event(3, "training_status", AT, {"event": "phase", "why": "a\nb"}))
    assert told == "3 10:00:00 training_status event=phase why=a b"
    assert "grad/norm=0.5" in line(metrics(1, 2.0))


def test_json_lines_stay_valid_json() -> None:
    told = json.loads(json_line(metrics(2, math.nan)))
    assert (told["seq"], told["data"]["average_reward"]) == (2, "NaN")


def test_a_curve_breaks_where_a_value_is_not_finite() -> None:
    assert spark([0.0, math.nan, 1.0]) == "▁ █"
    assert spark([math.inf]) == ""
    assert spark([2.0, 2.0]) == "▁▁"


def test_ages_have_one_unit() -> None:
    later = datetime(2026, 5, 1, 13, 5, tzinfo=UTC)
    assert (age(AT, later), age(later, AT)) == ("3h", "0s")


def test_the_picture_shows_figures_decision_and_news() -> None:
    info = SessionInfo(
        session_id="run",
        training_session_id="run",
        kind=Kind.EXTERNAL,
        name="[bold]run",
        algorithm="DQN",
        status=Status.RUNNING,
        wanted=Wanted.RUNNING,
        created_at=AT,
        total_episodes=100,
    )
    picture = Picture(info)
    for seq in (1, 2, 3):
        picture.hear(metrics(seq, float(seq)))
    decision = {"action_probabilities": {"left": 0.25, "right": 0.75}, "selected_action": "right"}
    picture.hear(Event(4, "bot_decision", AT, decision))
    ended = {"event": "status", "status": "completed"}
    picture.hear(Event(5, "training_status", AT, ended))
    console = Console(file=io.StringIO(), width=90)
    console.print(picture.drawn())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("[bold]run · completed", "episode 3 of 100", "▁", "▶ right", "status completed"):
        assert part in shown
