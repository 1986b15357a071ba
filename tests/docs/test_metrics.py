"""docs/metrics.md explains every metric that is reported here, and the page says the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grandstand.client.callbacks import episodes, sb3
from grandstand.client.tensorboard.groups import ALSO
from grandstand.model.metrics import families, names
from grandstand.model.scenarios import load_scenario
from grandstand.model.telemetry import SCALAR_FIELDS
from grandstand.train.trainer import make_trainer
from grandstand.web.vocabulary import metrics
from grandstand.worker.machine import Vitals
from grandstand.worker.reports import FIELDS
from grandstand.worker.runner import PROGRESS

ROOT = Path(__file__).resolve().parents[2]
EXPLAINED = names()


def test_the_page_is_what_the_table_says() -> None:
    assert (ROOT / "docs/metrics.md").read_text() == metrics.reference(), "run `make docs`"
    assert (ROOT / "ui/src/words/meanings.ts").read_text() == metrics.page(), "run `make docs`"


def test_a_row_is_whole_and_its_meaning_a_sentence() -> None:
    for family in families():
        for metric in family.metrics:
            assert all(metric[:5]), metric.name
            assert metric.meaning.endswith("."), metric.name
            assert len(metric.meaning) <= 130, metric.name


def test_the_fields_of_a_record_are_explained() -> None:
    assert {*SCALAR_FIELDS, *FIELDS, "episode", "step"} <= EXPLAINED


def test_what_the_integrations_rename_is_explained() -> None:
    assert {*ALSO, *ALSO.values(), *sb3.KNOWN, *sb3.KNOWN.values()} <= EXPLAINED


class Heard:
    """Takes what a session would be told."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def log(self, row: dict[str, Any], **place: Any) -> None:
        self.names |= row.keys()


def test_what_an_integration_tells_of_an_episode_is_explained() -> None:
    heard = Heard()
    episodes.Episodes(heard).add(1.0, 2, step=2, success=True)  # type: ignore[arg-type]
    assert heard.names <= EXPLAINED


def test_the_nine_figures_of_progress_are_explained() -> None:
    assert {*PROGRESS, *PROGRESS.values()} <= EXPLAINED


def test_what_is_told_of_the_machine_is_explained() -> None:
    vitals = Vitals(Heard(), every_seconds=1, episode=lambda: 1)  # type: ignore[arg-type]
    assert vitals.look().keys() <= EXPLAINED
    assert {"system/gpu_percent", "system/gpu_memory_mb"} <= EXPLAINED


def told_by(scenario: str, updates: int, **overrides: Any) -> Iterator[str]:
    """The names under which a training reports."""
    trainer = make_trainer(load_scenario(scenario), num_episodes=500, overrides=overrides)
    for _, update in zip(range(updates), trainer, strict=False):
        yield from update.episodes.columns()
        yield from update.scalars


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "updates"),
    [("bologna_coppia", 3), ("cartpole_ppo", 2), ("cartpole_dqn", 3), ("pendulum_sac", 3)],
)
def test_what_a_training_reports_is_explained(scenario: str, updates: int) -> None:
    with np.errstate(all="raise", under="ignore"):
        reported = set(told_by(scenario, updates))
    assert "current_reward" in reported
    assert reported - EXPLAINED == set()
