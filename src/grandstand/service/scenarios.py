"""Scenarios: those that ship, and those of the operator's own folder, which can be changed."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grandstand.errors import Conflict, GrandstandError, NotFound
from grandstand.model.scenarios import (
    Scenario,
    check_name,
    load_scenario,
    own_file,
    shipped_scenarios,
)

logger = logging.getLogger("grandstand.scenarios")


@dataclass(frozen=True, slots=True)
class Shelved:
    """A scenario and where it comes from.

    Attributes:
        shipped: it came with the package and cannot be changed, only copied.
    """

    scenario: Scenario
    shipped: bool


class Scenarios:
    """Finds, writes and removes scenarios.

    Args:
        folder: the operator's own YAML files; made at the first write. They win over a shipped one
            of the same name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> Scenario:
        """One scenario.

        Raises:
            NotFound: no scenario of that name (code ``scenario_not_found``).
            ValidationFailed: its file is not a scenario.
        """
        return load_scenario(name, (self._folder,))

    def find(self, name: str) -> Shelved:
        """One scenario, and whether it ships. Raises as `get` does."""
        scenario = self.get(name)
        return Shelved(scenario, own_file(name, self._folder) is None)

    def all(self) -> list[Shelved]:
        """Every scenario that can be trained on, by name; a broken file is logged and left out."""
        found = {name: Shelved(each, True) for name, each in shipped_scenarios().items()}
        if self._folder.is_dir():
            paths = [p for p in self._folder.iterdir() if p.suffix in (".yaml", ".yml")]
            for path in sorted(paths):
                try:
                    found[path.stem] = Shelved(self.get(path.stem), False)
                except GrandstandError as error:
                    logger.warning("scenario %s is left out: %s", path.name, error.message)
        return [found[name] for name in sorted(found)]

    def create(self, data: Mapping[str, Any]) -> Scenario:
        """Write a new scenario.

        Raises:
            ValidationFailed: names field, value and bound.
            Conflict: there is one of that name (code ``scenario_exists``).
        """
        scenario = Scenario.from_mapping(data)
        if scenario.name in shipped_scenarios() or own_file(scenario.name, self._folder):
            raise Conflict(
                f"there is a scenario {scenario.name} already",
                code="scenario_exists",
                detail="Give it another name, or change the one there is with PUT.",
                details={"scenario_name": scenario.name},
            )
        self._write(scenario)
        return scenario

    def replace(self, name: str, data: Mapping[str, Any]) -> Scenario:
        """Write a scenario of one's own anew; trainings that run keep what they began with.

        Args:
            data: whole; its `name` may be left out, or differ and so rename it.

        Raises:
            NotFound: no scenario of that name.
            ValidationFailed: names field, value and bound.
            Conflict: it ships with the package (code ``scenario_shipped``), or the new name is
                taken.
        """
        path = self._own(name)
        scenario = Scenario.from_mapping({"name": name, **data})
        if scenario.name != name:
            scenario = self.create(data)
            path.unlink()
        else:
            self._write(scenario, path)
        return scenario

    def remove(self, name: str) -> None:
        """Delete a scenario of one's own; models trained on it keep a copy.

        Raises:
            NotFound: no scenario of that name.
            Conflict: it ships with the package (code ``scenario_shipped``).
        """
        self._own(name).unlink()

    def _own(self, name: str) -> Path:
        """The file of a scenario that may be changed."""
        check_name(name)
        path = own_file(name, self._folder)
        if path is not None:
            return path
        if name in shipped_scenarios():
            raise Conflict(
                f"scenario {name} ships with Grandstand and stays as it is",
                code="scenario_shipped",
                detail="Save a copy under another name: POST /api/scenarios.",
                details={"scenario_name": name},
            )
        raise NotFound(
            f"There is no scenario called {name!r}.",
            code="scenario_not_found",
            details={"scenario_name": name},
        )

    def _write(self, scenario: Scenario, path: Path | None = None) -> None:
        """Into its file, whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = path or self._folder / f"{scenario.name}.yaml"
        aside = path.with_name(f".{path.name}.part")
        with aside.open("w", encoding="utf-8") as file:
            file.write(scenario.to_yaml())
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
