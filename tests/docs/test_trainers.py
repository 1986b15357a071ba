"""The trainer shown in docs/trainers.md is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "trainers.md"


def test_the_trainer_on_the_page_keeps_its_promises() -> None:
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, names)  # the page's own words
    walk = names["Walk"](names["load_scenario"]("balanced"))
    updates = list(walk)
    assert 2 * len(updates) == walk.episodes_done == walk.num_episodes
