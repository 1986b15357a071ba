"""Scenarios: those that ship, and those of the operator's own folder."""

from __future__ import annotations

import logging
from pathlib import Path

from grandstand.errors import GrandstandError
from grandstand.model.scenarios import Scenario, load_scenario, shipped_scenarios

logger = logging.getLogger("grandstand.scenarios")


class Scenarios:
    """Finds scenarios by name.

    Args:
        folder: the operator's own YAML files; they win over a shipped one of the same name.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, name: str) -> Scenario:
        """One scenario.

        Raises:
            NotFound: no scenario of that name (code ``scenario_not_found``).
            ValidationFailed: its file is not a scenario.
        """
        return load_scenario(name, (self._folder,) if self._folder is not None else ())

    def all(self) -> list[Scenario]:
        """Every scenario that can be trained on, by name; a broken file is logged and left out."""
        found = dict(shipped_scenarios())
        if self._folder is not None and self._folder.is_dir():
            for path in sorted(self._folder.glob("*.yaml")):
                try:
                    found[path.stem] = self.get(path.stem)
                except GrandstandError as error:
                    logger.warning("scenario %s is left out: %s", path.name, error.message)
        return [found[name] for name in sorted(found)]
