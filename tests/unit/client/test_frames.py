"""Frames of the agent at play: the newest wins, and a training never waits for one."""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np
import pytest

from grandstand.client.client import Client
from grandstand.client.session import Session
from grandstand.model.frames import MAX_FRAME_BYTES

from .conftest import Answer, RecordingServer


def jpeg(name: str) -> bytes:
    return b"\xff\xd8\xff" + name.encode()


def frames(server: RecordingServer) -> list[tuple[str, bytes]]:
    return [(path, body) for method, path, body in server.requests if method == "PUT"]


def test_a_frame_is_sent_with_what_is_known_of_it(server: RecordingServer) -> None:
    session = Client(server.url, "abc").attach("s")
    session.log({"a": 1.0, "episode": 7})
    session.frame(jpeg("one"))
    server.wait_for(lambda: len(frames(server)) == 1)
    assert server.headers["PUT"]["Content-Type"] == "image/jpeg"
    assert server.headers["PUT"]["Authorization"] == "Bearer abc"
    webp = b"RIFF....WEBPVP8 "
    session.frame(bytearray(webp), episode=np.int64(8), step=9, value=np.float32(1.5))  # type: ignore[arg-type]
    server.wait_for(lambda: len(frames(server)) == 2)
    assert server.headers["PUT"]["Content-Type"] == "image/webp"
    session.frame(jpeg("three"), step=1, value=float("nan"))
    server.wait_for(lambda: len(frames(server)) == 3)
    path = "/api/training/sessions/s/frame"
    assert frames(server) == [
        (f"{path}?episode=7", jpeg("one")),
        (f"{path}?episode=8&step=9&return=1.5", webp),
        (f"{path}?episode=7&step=1", jpeg("three")),
    ]
    session.finish()


def test_the_newest_of_those_that_wait_is_sent(server: RecordingServer) -> None:
    arrived, answer = threading.Event(), threading.Event()

    def slow(method: str, path: str, body: Any) -> Answer | None:
        if method == "PUT":
            arrived.set()
            answer.wait(10)
        return None

    server.script = slow
    session = Client(server.url).attach("s")
    session.frame(jpeg("first"))
    assert arrived.wait(10)
    for i in range(50):
        session.frame(jpeg(str(i)))
    answer.set()
    server.wait_for(lambda: len(frames(server)) == 2)
    assert [body for _, body in frames(server)] == [jpeg("first"), jpeg("49")]
    session.finish()


@pytest.mark.parametrize(
    "image", [b"\x89PNG....", b"", b"\xff\xd8\xff" + bytes(MAX_FRAME_BYTES), "text", None, 3.5]
)
def test_what_is_no_frame_is_said_once_and_not_sent(
    server: RecordingServer, image: Any, caplog: pytest.LogCaptureFixture
) -> None:
    session = Client(server.url).attach("s")
    with caplog.at_level(logging.WARNING, logger="grandstand.client"):
        for _ in range(3):
            session.frame(image)
    assert len(caplog.records) == 1
    assert "frame" in caplog.records[0].getMessage()
    session.frame(jpeg("good"))
    server.wait_for(lambda: len(frames(server)) == 1)
    session.finish()


def test_a_server_that_is_away_costs_frames_and_nothing_else(server: RecordingServer) -> None:
    session = Client(server.url).attach("s")
    session.frame(jpeg("one"))
    server.wait_for(lambda: len(frames(server)) == 1)
    server.stop()
    session.frame(jpeg("lost"))
    session.log({"a": 1.0})
    server.start()

    def shown() -> bool:
        return frames(server)[-1][1] == jpeg("back")

    session.frame(jpeg("back"))
    server.wait_for(shown)
    assert session.finish()
    assert len(server.rows()) == 1


def test_a_newer_attempt_ends_the_show(server: RecordingServer) -> None:
    def superseded(method: str, path: str, body: Any) -> Answer | None:
        if method == "PUT":
            return 409, {"error": "attempt_superseded", "message": "a newer one is at it"}
        return None

    server.script = superseded
    session = Client(server.url).attach("s")
    session.frame(jpeg("one"))
    server.wait_for(lambda: len(frames(server)) == 1)
    for thread in threading.enumerate():
        if thread.name == "grandstand-frames":
            thread.join(10)
    session.frame(jpeg("two"))
    assert "grandstand-frames" not in {t.name for t in threading.enumerate()}
    assert len(frames(server)) == 1
    session.finish()


def test_a_refusal_is_said_once(server: RecordingServer, caplog: pytest.LogCaptureFixture) -> None:
    server.script = lambda method, path, body: (
        (413, {"error": "frame_too_large", "message": "too large"}) if method == "PUT" else None
    )
    session = Client(server.url).attach("s")
    with caplog.at_level(logging.WARNING, logger="grandstand.client"):
        session.frame(jpeg("one"))
        server.wait_for(lambda: len(frames(server)) == 1)
        session.frame(jpeg("two"))
        server.wait_for(lambda: len(frames(server)) == 2)
        session.finish()
    assert [r.getMessage() for r in caplog.records if "too large" in r.getMessage()] == [
        "session s: a frame was not taken: too large"
    ]


def test_after_the_end_and_without_a_server_it_does_nothing(server: RecordingServer) -> None:
    session = Client(server.url).attach("s")
    session.finish()
    session.frame(jpeg("late"))
    Session(None, "nowhere").frame(jpeg("nowhere"))
    assert frames(server) == []
