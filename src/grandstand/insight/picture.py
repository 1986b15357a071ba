"""A rendered environment as a frame that a session takes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandstand.model.frames import MAX_FRAME_BYTES

FRAME_PIXELS = 640
"""Longest side of a frame."""
QUALITIES = (80, 60, 40, 20)


def jpeg(picture: NDArray[Any]) -> tuple[bytes, int, int]:
    """A picture (height, width, 3) of bytes as a JPEG within bounds (empty where that fails), its
    width and height.

    Raises:
        ImportError: Pillow is not installed.
        TypeError, ValueError: it is no picture.
    """
    from PIL import Image

    image = Image.fromarray(picture.astype(np.uint8)).convert("RGB")
    image.thumbnail((FRAME_PIXELS, FRAME_PIXELS))
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= MAX_FRAME_BYTES:
            return buffer.getvalue(), image.width, image.height
    return b"", image.width, image.height
