"""Texts, histograms and images, as they are read."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from grandstand.errors import ValidationFailed
from grandstand.model.media import MAX_BINS, MAX_IMAGE_BYTES, MAX_TEXT, Look, look_at
from grandstand.model.telemetry import event_of_media, parse_batch, unpack


def image(kind: str, size: tuple[int, int] = (30, 7), **options: Any) -> bytes:
    file = io.BytesIO()
    mode = "RGBA" if options.pop("alpha", False) else "RGB"
    Image.effect_noise(size, 60).convert(mode).save(file, kind, **options)
    return file.getvalue()


def batch(type: str, **data: Any) -> Any:
    return parse_batch(json.dumps({"records": [{"type": type, "data": data}]}).encode())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "comment": b"\xff\xc0 no frame"}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"lossless": True, "alpha": True, "exif": b"Exif\0\0"}),
    ],
)
def test_an_image_is_known_by_its_bytes(kind: str, options: dict[str, Any]) -> None:
    assert look_at(image(kind, **options)) == Look(f"image/{kind.lower()}", 30, 7)


@pytest.mark.parametrize(
    "junk",
    [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a" + bytes(40), b"\xff\xd8\xff"],
)
def test_nothing_else_is_an_image(junk: bytes) -> None:
    assert look_at(junk) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_that_is_cut_off_anywhere_is_harmless(kind: str) -> None:
    whole = image(kind)
    for end in range(len(whole)):
        look = look_at(whole[:end])
        assert look is None or look == look_at(whole)


def test_an_image_is_parted_from_what_is_told_of_it() -> None:
    file = image("PNG")
    told = batch("image", name="track", image=base64.b64encode(file).decode(), step=3)
    (record,) = told.records
    assert record.image == file
    assert b"iVBOR" not in told.body
    (kept,) = unpack(told.kind, told.body)
    assert (kept.value, kept.image) == (record.value, b"")
    assert (kept.value.size_bytes, kept.value.width, kept.value.height) == (len(file), 30, 7)
    event = json.loads(event_of_media("image", "run", 9, kept.body))
    assert event["event"] == "image"
    assert event["url"] == f"/api/training/sessions/run/media/9?v={kept.value.digest}"
    assert "timestamp" not in event


def test_what_is_kept_of_texts_and_histograms_is_what_came() -> None:
    told = batch("histogram", name="w", counts=[1, 2.5], edges=[-1, 0, 1], nan=3)
    (kept,) = unpack(told.kind, told.body)
    assert (kept.value.counts, kept.value.edges, kept.value.nan) == (
        [1.0, 2.5],
        [-1.0, 0.0, 1.0],
        3,
    )
    told = batch("text", name="t", text="x" * MAX_TEXT)
    assert unpack(told.kind, told.body)[0].value.text == "x" * MAX_TEXT


@pytest.mark.parametrize(
    ("type", "data", "field"),
    [
        ("text", {"name": "t", "text": "x" * (MAX_TEXT + 1)}, "records[0].data.text"),
        ("text", {"name": "", "text": "x"}, "records[0].data.name"),
        ("text", {"name": "t"}, "records[0].data.text"),
        ("text", {"name": "t", "text": "x", "more": 1}, "records[0].data.more"),
        ("histogram", {"name": "h", "counts": [1], "edges": [0]}, "records[0].data"),
        ("histogram", {"name": "h", "counts": [1], "edges": [0, 0]}, "records[0].data"),
        ("histogram", {"name": "h", "counts": [-1], "edges": [0, 1]}, "records[0].data.counts[0]"),
        (
            "histogram",
            {"name": "h", "counts": [1], "edges": [0, "NaN"]},
            "records[0].data.edges[1]",
        ),
        (
            "histogram",
            {"name": "h", "counts": [1] * (MAX_BINS + 1), "edges": list(range(MAX_BINS + 2))},
            "records[0].data.counts",
        ),
        ("image", {"name": "i", "image": "PHN2Zy8+"}, "records[0].data.image"),
        ("image", {"name": "i", "image": "no base64"}, "records[0].data.image"),
        ("image", {"name": "i"}, "records[0].data.image"),
        (
            "image",
            {"name": "i", "image": base64.b64encode(bytes(MAX_IMAGE_BYTES + 1)).decode()},
            "records[0].data.image",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(type: str, data: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        batch(type, **data)
    assert refused.value.details["field"] == field
