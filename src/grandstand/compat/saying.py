"""What a stand-in leaves out is said once, not at every step."""

from __future__ import annotations

import logging

log = logging.getLogger("grandstand.client")

_said: set[str] = set()


def say_once(topic: str, sentence: str) -> None:
    """Log `sentence` as a warning, the first time `topic` comes up in this process."""
    if topic not in _said:
        _said.add(topic)
        log.warning("%s", sentence)
