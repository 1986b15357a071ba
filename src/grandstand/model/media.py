"""Media: texts, histograms and images that a session reports by name, each a record of its own.

An image's bytes travel in its record, as base64, and are kept beside the log; everybody is told
where they are and fetches what they look at.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Final, NamedTuple

from msgspec import Meta, Struct

TEXT: Final = "text"
HISTOGRAM: Final = "histogram"
IMAGE: Final = "image"
MEDIA: Final = (TEXT, HISTOGRAM, IMAGE)
"""The `type` of such a record, and the `data.event` of the `training_status` that tells of it."""

MAX_TEXT: Final = 65_536
"""Most characters of a text."""
MAX_BINS: Final = 512
MAX_IMAGE_BYTES: Final = 256 * 1024
IMAGE_TYPES: Final = ("image/jpeg", "image/webp", "image/png")
"""What an image may be, and all that is ever served as one."""

_Name = Annotated[str, Meta(min_length=1, max_length=256)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Weight = Annotated[float, Meta(ge=0)]
_Caption = Annotated[str, Meta(max_length=256)]


class TextRecord(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A text, such as a sample of what a model wrote or a note."""

    timestamp: datetime | None = None
    name: _Name
    text: Annotated[str, Meta(max_length=MAX_TEXT)]
    left_out: _Count = 0
    """Characters that the reporter cut off its end."""
    episode: _Count | None = None
    step: _Count | None = None


class HistogramRecord(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How values are spread: a count for each bin between neighbouring edges."""

    timestamp: datetime | None = None
    name: _Name
    counts: Annotated[list[_Weight], Meta(max_length=MAX_BINS)]
    edges: list[float]
    """Rising, one more than counts; none where no value was finite."""
    nan: _Count = 0
    """Values that were NaN; they and the infinities are in no bin."""
    positive_infinity: _Count = 0
    negative_infinity: _Count = 0
    episode: _Count | None = None
    step: _Count | None = None

    def __post_init__(self) -> None:
        if len(self.edges) != (len(self.counts) + 1 if self.counts else 0):
            raise ValueError("edges must be one more than counts")
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must rise")


class ImageRecord(Struct, kw_only=True, forbid_unknown_fields=True):
    """An image, as it is reported."""

    timestamp: datetime | None = None
    name: _Name
    image: Annotated[bytes, Meta(min_length=1, max_length=MAX_IMAGE_BYTES)]
    """A JPEG, WebP or PNG file of at most 256 KiB, as base64."""
    caption: _Caption | None = None
    episode: _Count | None = None
    step: _Count | None = None


class StoredImage(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An image, as it is told of: all but its bytes."""

    timestamp: datetime | None = None
    name: _Name
    caption: _Caption | None = None
    episode: _Count | None = None
    step: _Count | None = None
    media_type: str
    size_bytes: int
    width: int
    height: int
    digest: str
    """Of the bytes; another image under the same address has another."""


class Look(NamedTuple):
    """What an image's first bytes say of it; sizes in pixels."""

    media_type: str
    width: int
    height: int


def stored_image(record: ImageRecord) -> StoredImage | None:
    """What is told of an image; None where its bytes are none."""
    look = look_at(record.image)
    if look is None:
        return None
    return StoredImage(
        timestamp=record.timestamp,
        name=record.name,
        caption=record.caption,
        episode=record.episode,
        step=record.step,
        media_type=look.media_type,
        size_bytes=len(record.image),
        width=look.width,
        height=look.height,
        digest=hashlib.blake2b(record.image, digest_size=8).hexdigest(),
    )


def image_address(session_id: str, seq: int, digest: str) -> str:
    """Where the bytes of a stored image are served: a path from the server's root."""
    return f"/api/training/sessions/{session_id}/media/{seq}?v={digest}"


def type_of_image(image: bytes) -> str | None:
    """JPEG, WebP or PNG by an image's first bytes, whatever it is called; else None."""
    if image[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    if image[:8] == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    return None


def look_at(image: bytes) -> Look | None:
    """Type and size of a JPEG, WebP or PNG; None where it is none of them, or cut off."""
    media_type = type_of_image(image)
    if media_type is None:
        return None
    find = {"image/jpeg": _of_jpeg, "image/webp": _of_webp, "image/png": _of_png}[media_type]
    size = find(image)
    return Look(media_type, *size) if size is not None and min(size) > 0 else None


def _of_png(image: bytes) -> tuple[int, int] | None:
    if len(image) < 24 or image[12:16] != b"IHDR":
        return None
    return int.from_bytes(image[16:20], "big"), int.from_bytes(image[20:24], "big")


def _of_jpeg(image: bytes) -> tuple[int, int] | None:
    """From its first start-of-frame segment (ITU T.81, B.2.2)."""
    at = 2
    while at + 9 <= len(image) and image[at] == 0xFF:
        marker = image[at + 1]
        if marker == 0xFF:  # fill
            at += 1
        elif marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):
            height = int.from_bytes(image[at + 5 : at + 7], "big")
            return int.from_bytes(image[at + 7 : at + 9], "big"), height
        else:
            at += 2 + int.from_bytes(image[at + 2 : at + 4], "big")
    return None


def _of_webp(image: bytes) -> tuple[int, int] | None:
    """From its first chunk (RFC 9649)."""
    if len(image) < 30:
        return None

    def little(at: int, size: int) -> int:
        return int.from_bytes(image[at : at + size], "little")

    match image[12:16]:
        case b"VP8X":
            return little(24, 3) + 1, little(27, 3) + 1
        case b"VP8L":
            bits = little(21, 4)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return little(26, 2) & 0x3FFF, little(28, 2) & 0x3FFF
    return None
