from __future__ import annotations

from pathlib import Path

import pytest

from grandstand.model.scenarios import Scenario, load_scenario


@pytest.fixture
def bologna() -> Scenario:
    return load_scenario("bologna_coppia")


@pytest.fixture
def balanced() -> Scenario:
    return load_scenario("balanced")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of reference values for all tests: solving a task takes seconds."""
    return tmp_path_factory.mktemp("references")
