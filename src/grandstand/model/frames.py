"""Frames: pictures of the agent at play, as they are reported, kept and shown.

They are no records: they take no `seq` and are not in the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from grandstand.model.media import type_of_image
from grandstand.model.telemetry import encode

FRAME: Final = "frame"
"""What a spectator subscribes to, and the `type` in a frame's header."""
MEDIA_TYPES: Final = ("image/jpeg", "image/webp")
MAX_FRAME_BYTES: Final = 256 * 1024
FRAMES_PER_SECOND: Final = 10


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture.

    Attributes:
        episode, step: when in the training it was taken, where the reporter says so.
        value: the episode's return so far, likewise; `return` on the wire.
        at: when it arrived, UTC.
    """

    image: bytes
    media_type: str
    episode: int | None
    step: int | None
    value: float | None
    at: datetime


def media_type_of(image: bytes) -> str | None:
    """JPEG or WebP by an image's first bytes, whatever it is called; None for anything else."""
    found = type_of_image(image)
    return found if found in MEDIA_TYPES else None


def message(session_id: str, frame: Frame) -> bytes:
    """A frame as spectators get it: the header's length (4 bytes, big-endian), the header (JSON),
    and the image."""
    header = encode(
        {
            "type": FRAME,
            "session_id": session_id,
            "episode": frame.episode,
            "step": frame.step,
            "return": frame.value,
            "media_type": frame.media_type,
            "timestamp": frame.at,
        }
    )
    return b"%b%b%b" % (len(header).to_bytes(4, "big"), header, frame.image)
