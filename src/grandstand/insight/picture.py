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
EXACT_PIXELS = 512 * 512
"""A PNG of more takes longer than a training should be held up."""


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


def image_file(picture: NDArray[np.uint8], most_bytes: int) -> bytes:
    """A picture as a file of at most so many bytes: a PNG, exact, where that fits and is quick to
    make; else a JPEG, smaller if need be.

    Args:
        picture: (height, width) or (height, width, 3 or 4) of bytes.

    Raises:
        ImportError: Pillow is not installed.
        ValueError: it does not fit.
    """
    from PIL import Image

    image = Image.fromarray(picture)
    if image.width * image.height <= EXACT_PIXELS:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        if buffer.tell() <= most_bytes:
            return buffer.getvalue()
    image = image.convert("RGB")
    while min(image.size) > 0:
        for quality in QUALITIES[:2]:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=quality)
            if buffer.tell() <= most_bytes:
                return buffer.getvalue()
        image = image.resize((image.width // 2, image.height // 2))
    raise ValueError(f"the picture cannot be made to fit into {most_bytes:,} bytes")
