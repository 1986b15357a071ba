"""Texts, histograms and images on their way to the wire: made to fit, or refused with a sentence.

All of it happens in the calling thread, for the values may change right afterwards. NumPy is
loaded by the first histogram or picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from grandstand.model.media import (
    MAX_BINS,
    MAX_IMAGE_BYTES,
    MAX_TEXT,
    look_at,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Body = dict[str, Any]
DEFAULT_BINS: Final = 64
CHANNELS: Final = (1, 3, 4)


def text_body(text: object) -> Body:
    """A text of at most `MAX_TEXT` characters; what is beyond is cut off and counted."""
    # Half of a surrogate pair is no text that JSON could hold.
    whole = str(text).encode(errors="replace").decode()
    left_out = len(whole) - MAX_TEXT
    return {"text": whole[:MAX_TEXT], **({"left_out": left_out} if left_out > 0 else {})}


def histogram_body(values: Any, bins: int = DEFAULT_BINS) -> Body | None:
    """How `values` are spread; None where there are none.

    Args:
        values: numbers of any shape, a tensor too; or a tuple ``(counts, edges)`` of a histogram
            that is made already, edges rising and one more than counts.
        bins: how many, 1 to `MAX_BINS`, of equal width from the least to the greatest value.

    Raises:
        TypeError, ValueError: they are no numbers, or no histogram.
    """
    import numpy as np

    if isinstance(values, tuple) and len(values) == 2 and _is_made(*values):
        return _made(*(np.asarray(array_of(part), np.float64).ravel() for part in values))
    numbers = np.asarray(array_of(values))
    if numbers.dtype.kind not in "biuf":
        numbers = numbers.astype(np.float64)
    numbers = numbers.ravel()
    if not numbers.size:
        return None
    if not 1 <= bins <= MAX_BINS:
        raise ValueError(f"bins must be from 1 to {MAX_BINS}, not {bins}")
    odd: Body = {}
    if numbers.dtype.kind == "f":
        finite = np.isfinite(numbers)
        if not finite.all():
            odd = {
                "nan": int(np.isnan(numbers).sum()),
                "positive_infinity": int(np.isposinf(numbers).sum()),
                "negative_infinity": int(np.isneginf(numbers).sum()),
            }
            odd = {name: count for name, count in odd.items() if count}
            numbers = numbers[finite]
    if not numbers.size:
        return {"counts": [], "edges": [], **odd}
    counts, edges = _binned(numbers.astype(np.float64, copy=False), bins)
    return {"counts": counts.tolist(), "edges": edges.tolist(), **odd}


def image_body(image: Any) -> Body:
    """A JPEG, WebP or PNG file as it is; a picture as a PNG, or as a JPEG where that is too large.

    Args:
        image: the file's bytes; or an array or tensor (height, width) or (height, width, 1, 3 or
            4) of bytes, or of floats from 0 to 1.

    Raises:
        ImportError: a picture, and Pillow is not installed.
        TypeError, ValueError: none of these, or too large; the message says what is.
    """
    if not isinstance(image, (bytes, bytearray, memoryview)):
        image = _encoded(image)
    file = bytes(image)
    if len(file) > MAX_IMAGE_BYTES:
        raise ValueError(f"an image may have {MAX_IMAGE_BYTES:,} bytes, this one has {len(file):,}")
    if look_at(file) is None:
        raise ValueError("an image is a JPEG, WebP or PNG file; this one is none of them")
    return {"image": file}


def array_of(values: Any) -> Any:
    """`values`, or what NumPy can read of a tensor that has a gradient or lies on a GPU."""
    if not hasattr(values, "detach"):
        return values
    values = values.detach().cpu()
    return values.float() if str(values.dtype) == "torch.bfloat16" else values


def picture_of(image: Any) -> NDArray[np.uint8]:
    """An array or tensor of a picture as bytes (height, width) or (height, width, 3 or 4).

    Raises:
        TypeError, ValueError: it has another shape, or other values.
    """
    import numpy as np

    picture = np.asarray(array_of(image))
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[..., 0]
    if not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in CHANNELS)):
        raise ValueError(
            f"a picture has the shape (height, width) or (height, width, 3), not {picture.shape}"
        )
    if not picture.size:
        raise ValueError("the picture is empty")
    if picture.dtype.kind == "f":
        shares: NDArray[np.float64] = np.nan_to_num(picture).clip(0.0, 1.0)
        return (shares * 255.0 + 0.5).astype(np.uint8)
    if picture.dtype.kind == "b":
        return picture.astype(np.uint8) * np.uint8(255)
    if picture.dtype.kind not in "iu":
        raise TypeError(f"a picture is of bytes, or of floats from 0 to 1, not {picture.dtype}")
    return picture.clip(0, 255).astype(np.uint8)


def _encoded(image: Any) -> bytes:
    picture = picture_of(image)
    try:
        from grandstand.insight.picture import image_file

        return image_file(picture, MAX_IMAGE_BYTES)
    except ImportError as error:
        raise ImportError(
            "pictures are encoded with Pillow, which is not installed: pip install pillow, or "
            "give the bytes of a JPEG, WebP or PNG file"
        ) from error


def _is_made(counts: Any, edges: Any) -> bool:
    """Whether a pair is counts and their edges, and not simply two values."""
    try:
        return len(edges) == len(counts) + 1
    except TypeError:
        return False


def _made(counts: NDArray[np.float64], edges: NDArray[np.float64]) -> Body:
    import numpy as np

    if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
        raise ValueError("a histogram's edges must be finite and rise")
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise ValueError("a histogram's counts must be finite and at least 0")
    while len(counts) > MAX_BINS:  # neighbours together
        counts = np.append(counts, [0.0] * (len(counts) % 2)).reshape(-1, 2).sum(axis=1)
        edges = np.append(edges[:-1:2], edges[-1])
    return {"counts": _whole(counts), "edges": edges.tolist()}


def _whole(counts: NDArray[np.float64]) -> Sequence[float]:
    """Counts as whole numbers where they are; weights stay as they are."""
    return [int(c) if c == int(c) else c for c in counts.tolist()]


def _binned(
    numbers: NDArray[np.float64], bins: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Counts and edges of finite numbers, whatever their range."""
    import numpy as np

    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        bins, half = 1, max(0.5, abs(low) * 1e-3)
        low, high = max(low - half, -np.finfo(float).max), min(high + half, np.finfo(float).max)
    # At the very end of what a float holds NumPy's own steps overflow.
    if high - low < np.finfo(float).max / 4:
        try:
            return np.histogram(numbers, bins, (low, high))
        except ValueError:
            pass  # So narrow that there are not as many numbers between them.
    share = np.linspace(0.0, 1.0, bins + 1)
    edges = np.unique(np.append(low * (1.0 - share) + high * share, (low, high)).clip(low, high))
    return np.histogram(numbers, edges)
