"""Texts, histograms and images from a script: made to fit, and never an exception."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from grandstand.client.client import open_session
from grandstand.client.media import histogram_body, image_body
from grandstand.client.session import Session
from grandstand.client.transport import HttpTransport
from grandstand.model.media import MAX_BINS, MAX_IMAGE_BYTES, MAX_TEXT, look_at

from .conftest import RecordingServer


@pytest.fixture
def session(server: RecordingServer) -> Iterator[Session]:
    session = open_session("run", algorithm="DQN", url=server.url)
    yield session
    session.abandon()


def records(server: RecordingServer, type: str) -> list[Any]:
    return [r for b in server.batches for r in b.records if r.type == type]


def test_a_text_is_reported_where_it_belongs(session: Session, server: RecordingServer) -> None:
    session.log({"current_reward": 1.0}, episode=7)
    at = datetime(2026, 1, 2, tzinfo=UTC)
    session.text("answers/first", "Move left.", step=120, at=at, key="k")
    assert session.flush()
    (record,) = records(server, "text")
    told = record.value
    assert (told.name, told.text, told.step, told.episode) == (
        "answers/first",
        "Move left.",
        120,
        7,
    )
    assert (told.timestamp, record.key, told.left_out) == (at, "k", 0)


def test_a_long_text_is_cut_and_says_so_once(
    session: Session, server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        session.text("long", "é" * (MAX_TEXT + 5) + "\ud800")
    assert session.flush()
    told = [r.value for r in records(server, "text")]
    assert [(len(t.text), t.left_out) for t in told] == [(MAX_TEXT, 6)] * 2
    assert caplog.text.count("is longer than 65,536 characters") == 1


def test_a_histogram_is_of_any_numbers(session: Session, server: RecordingServer) -> None:
    weights = torch.linspace(-1, 1, 1001, requires_grad=True)
    session.histogram("a", weights, step=1, bins=4)
    session.histogram("b", weights.to(torch.bfloat16).reshape(7, 143), step=1, bins=2)
    session.histogram("c", [1, 2, 2, float("nan"), float("inf"), float("-inf")], bins=2)
    session.histogram("d", np.full((3, 3), 5, np.uint8))
    session.histogram("e", ([2, 0, 1], [0.0, 1.0, 2.0, 3.0]))
    session.histogram("f", [float("nan")])
    assert session.flush()
    told = {r.value.name: r.value for r in records(server, "histogram")}
    assert told["a"].edges == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert sum(told["a"].counts) == sum(told["b"].counts) == 1001
    c = told["c"]
    assert (c.counts, c.edges) == ([1, 2], [1.0, 1.5, 2.0])
    assert (c.nan, c.positive_infinity, c.negative_infinity) == (1, 1, 1)
    assert (told["d"].counts, told["d"].edges) == ([9], [4.5, 5.5])
    assert told["e"].counts == [2, 0, 1]
    assert (told["f"].counts, told["f"].edges, told["f"].nan) == ([], [], 1)


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, min_size=1, max_size=40), st.integers(1, MAX_BINS))
def test_whatever_is_finite_is_in_a_bin(values: list[float], bins: int) -> None:
    told = histogram_body(values, bins)
    assert told is not None
    counts, edges = told["counts"], told["edges"]
    assert sum(counts) == len(values)
    assert len(edges) == len(counts) + 1 <= MAX_BINS + 1
    assert all(low < high for low, high in pairwise(edges))
    assert edges[0] <= min(values) <= max(values) <= edges[-1]
    assert np.isfinite(edges).all()


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=3 * MAX_BINS))
def test_a_histogram_of_many_bins_has_neighbours_together(counts: list[float]) -> None:
    told = histogram_body((counts, np.arange(len(counts) + 1.0)))
    assert told is not None
    assert len(told["counts"]) <= MAX_BINS
    assert sum(told["counts"]) == pytest.approx(sum(counts))
    assert (told["edges"][0], told["edges"][-1]) == (0.0, float(len(counts)))


def pixels(file: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def test_a_picture_of_any_kind_becomes_a_file(session: Session, server: RecordingServer) -> None:
    bytes_ = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    session.image("bytes", bytes_, step=5, caption="so it looks")
    session.image("floats", bytes_ / 255.0)
    session.image("tensor", torch.zeros(4, 6, 1, requires_grad=True))
    session.image("grey", np.full((4, 6), 300))
    jpeg = io.BytesIO()
    Image.fromarray(bytes_).save(jpeg, "JPEG")
    session.image("file", memoryview(jpeg.getvalue()))
    assert session.flush()
    told = {r.value.name: r for r in records(server, "image")}
    assert (pixels(told["bytes"].image) == bytes_).all()
    assert (pixels(told["floats"].image) == bytes_).all()
    assert not pixels(told["tensor"].image).any()
    assert (pixels(told["grey"].image) == 255).all()
    assert told["file"].image == jpeg.getvalue()
    value = told["bytes"].value
    assert (value.step, value.caption, value.media_type) == (5, "so it looks", "image/png")
    assert (value.width, value.height) == (6, 4)


def test_a_large_picture_is_made_to_fit() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1200, 1600, 3), np.uint8)
    file = image_body(noise)["image"]
    look = look_at(file)
    assert len(file) <= MAX_IMAGE_BYTES
    assert look is not None
    assert look.media_type == "image/jpeg"
    assert look.width / look.height == pytest.approx(4 / 3, abs=0.02)


def test_what_cannot_be_reported_is_said_once_and_raises_nothing(
    session: Session, server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        session.image("svg", b"<svg/>")
        session.histogram("words", ["a", "b"])
        session.histogram("none", [])
        session.text("", "no name")
    session.image("large", b"\x89PNG\r\n\x1a\n" + bytes(MAX_IMAGE_BYTES))
    session.image("flat", np.zeros(3))
    session.image("thing", object())
    session.histogram("bins", [1.0], bins=MAX_BINS + 1)
    session.histogram("edges", ([1, 1], [0.0, 2.0, 1.0]))
    session.log({"current_reward": 1.0})
    assert session.flush()
    assert [r.type for b in server.batches for r in b.records] == ["training_metrics"]
    assert session.dropped == 0
    assert caplog.text.count("this one is none of them") == 1
    assert caplog.text.count("histogram could not take") == 1
    assert caplog.text.count("'none' is of no values") == 1
    assert caplog.text.count("a name has 1 to 256 characters") == 1


def test_images_that_wait_are_bounded_by_their_size() -> None:
    session = Session(HttpTransport("http://127.0.0.1:9"), "away", limit=2000)
    image = b"\x89PNG\r\n\x1a\n" + bytes(4) + b"IHDR" + bytes([0, 0, 0, 1] * 2)
    image += bytes(200 * 1024)
    for _ in range(40):
        session.image("i", image)
    assert session.dropped >= 20
    session.abandon()
