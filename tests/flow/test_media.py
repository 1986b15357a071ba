"""Texts, histograms and images: from a report to those who look, and to TensorBoard."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.flow.conftest import SESSIONS, House, MakeHouse
from tests.flow.test_watch_command import grandstand as command

import grandstand
from grandstand.client.tensorboard.events import Bins, EventFile, Picture
from grandstand.store.packing import Pack

HISTOGRAM = {"name": "weights", "counts": [3, 5], "edges": [-1.0, 0.0, 1.0], "nan": 2, "step": 7}


def file(kind: str = "PNG", width: int = 3) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (width, 2), (10, 107, 80)).save(made, kind)
    return made.getvalue()


def image(content: bytes, **more: Any) -> dict[str, Any]:
    return {
        "type": "image",
        "data": {"name": "track", "image": base64.b64encode(content).decode(), **more},
    }


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "data": {"name": "notes", "text": words, **more}}


async def test_media_are_kept_and_told_of(house: House) -> None:
    await house.open_session()
    told = await house.batch(
        "run",
        [text("<b>so</b>", episode=1), {"type": "histogram", "data": HISTOGRAM}, image(file())],
    )
    assert (told["accepted"], told["last_seq"]) == (3, 4)
    got = await house.history("run", type="text,histogram,image")
    assert got["texts"][0]["text"] == "<b>so</b>"
    assert got["histograms"][0].items() >= HISTOGRAM.items()
    (shown,) = got["images"]
    assert (shown["media_type"], shown["size_bytes"], shown["width"]) == (
        "image/png",
        len(file()),
        3,
    )
    assert "events" not in got
    # Without asking, nothing of them is there; nor are they events.
    assert not (await house.history("run"))["total_points"]
    assert all(
        e["event"] == "status"
        for e in (await house.history("run", type="training_status"))["events"]
    )
    answer = await house.http.get(shown["url"])
    assert (answer.status_code, answer.content) == (200, file())
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "immutable" in answer.headers["cache-control"]
    for seq in (3, 5, 99):
        path = f"{SESSIONS}/run/media/{seq}"
        assert (await house.ok("GET", path, 404))["error"] == "image_not_found"
    assert (await house.ok("GET", f"{SESSIONS}/no/media/4", 404))["error"] == "session_not_found"


@pytest.mark.parametrize("content", [b"<svg onload='x()'/>", b"<html>", b"GIF89a" + bytes(30)])
async def test_nothing_but_three_kinds_of_images_is_taken(house: House, content: bytes) -> None:
    await house.open_session()
    body = {"records": [image(content), text("beside it")]}
    refused = await house.ok("POST", f"{SESSIONS}/run/records", 422, json=body)
    assert refused["details"]["field"] == "records[0].data.image"
    assert not (await house.history("run", type="text"))["texts"]


async def test_all_three_kinds_come_back_as_what_they_are(house: House) -> None:
    await house.open_session()
    for kind in ("PNG", "JPEG", "WEBP"):
        told = await house.batch("run", [image(file(kind))])
        answer = await house.http.get(f"{SESSIONS}/run/media/{told['last_seq']}")
        assert answer.headers["content-type"] == f"image/{kind.lower()}"
        assert answer.content == file(kind)


async def test_spectators_are_told_live_and_when_they_come_back(live: House) -> None:
    await live.open_session()
    async with live.watch("run") as spectator:
        await spectator.event("snapshot")
        await live.batch(
            "run", [image(file()), text("a"), {"type": "histogram", "data": HISTOGRAM}]
        )
        first = await spectator.records(4)
    async with live.watch("run", "?since=1") as spectator:
        again = await spectator.records(4)
    async with live.watch("run", "?since=1&max_hz=0") as spectator:
        every = await spectator.records(4)
    assert first == again == every
    assert [m["type"] for m in first] == ["training_status"] * 3
    assert [m["data"]["event"] for m in first] == ["image", "text", "histogram"]
    assert all(len(json.dumps(m)) < 1000 for m in first)
    answer = await live.http.get(first[0]["data"]["url"])
    assert answer.content == file()


async def test_who_wants_no_events_hears_of_no_media(serving: House) -> None:
    await serving.open_session()
    async with serving.watch("run") as spectator:
        await spectator.event("snapshot")
        await spectator.say(type="subscribe", message_types=["training_metrics"])
        await spectator.event("subscribed")
        await serving.batch("run", [text("a")])
        seq = await serving.log("run", 1)
        (heard,) = await spectator.records(seq)
        assert heard["type"] == "training_metrics"


async def test_media_behind_thinned_figures_leave_no_gap(serving: House) -> None:
    await serving.open_session()
    async with serving.watch("run") as spectator:
        await spectator.event("snapshot")
        for i in range(1, 60):
            await serving.batch(
                "run",
                [
                    {"type": "training_metrics", "data": {"episode": i}},
                    text(f"{i}"),
                    {"type": "training_metrics", "data": {"episode": i}},
                ],
            )
        heard = await spectator.records(1 + 59 * 3 - 1)
    texts = [m["data"]["text"] for m in heard if m["data"].get("event") == "text"]
    assert texts == [f"{i}" for i in range(1, 60)]
    serving.contiguous(heard, 1)


async def test_media_survive_a_restart_and_packing(make_house: MakeHouse, tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path / 'kept.db'}"
    first = await make_house(database__url=place)
    await first.open_session()
    await first.batch("run", [text("kept"), image(file())])
    await first.assembly.aclose()
    house = await make_house(database__url=place)
    pk = await house.assembly.sessions.key("run")
    made = await house.assembly.database.read(lambda c: Pack(c, pk, 0, 2**53))
    await house.assembly.database.write(made.store)
    got = await house.history("run", type="text,image")
    assert got["texts"][0]["text"] == "kept"
    assert (await house.http.get(got["images"][0]["url"])).content == file()
    answer = await house.http.get(f"{SESSIONS}/run/export", params={"format": "ndjson"})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["type"] for line in lines] == ["training_status", "text", "image"]
    assert lines[1]["data"] == {"name": "notes", "text": "kept"}
    assert "image" not in lines[2]["data"]


async def test_a_session_is_written_for_tensorboard(serving: House, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    weights = rng.normal(size=1000)

    def report() -> None:
        session = grandstand.open_session(
            "run", algorithm="DQN", url=serving.url, config={"lr": 0.1}
        )
        for i in range(1, 2501):
            session.log({"current_reward": i / 3, "loss/q": float("nan")}, episode=i, step=i * 10)
        session.text("notes", "é so far", step=10)
        session.histogram("weights", weights, step=20)
        session.histogram("lost", [float("nan")], step=20)
        session.image("track", np.zeros((4, 6, 3), np.uint8), step=30)
        session.finish()

    await asyncio.to_thread(report)
    code, output = await command(serving.url, "export", "run", str(tmp_path / "logs"))
    assert code == 0, output
    assert "5,000 scalars, 1 texts, 2 histograms, 1 images" in output
    (path,) = (tmp_path / "logs" / "run").iterdir()
    stored = await serving.history("run", limit=10_000)
    times = [_time(m["timestamp"]) for m in stored["metrics_data"]]

    own = [(e.tag, e.step, e.wall_time, e.value) for e in EventFile(path, media=True).news()]
    returns = [entry[1:] for entry in own if entry[0] == "current_reward"]
    assert returns == [(i * 10, times[i - 1], i / 3) for i in range(1, 2501)]
    values = {tag: value for tag, _, _, value in own}
    assert values["notes"] == "é so far"
    assert values["hyperparameters/text_summary"] == "|param|value|\n|-|-|\n|lr|0.1|"
    counts, edges = np.histogram(weights, 64)
    assert values["weights"] == Bins(tuple(counts), tuple(edges))
    assert isinstance(values["track"], Picture)
    _hold_tensorboard_reads_the_same(path, returns, counts, edges, values["track"].image)

    code, output = await command(serving.url, "export", "run", str(tmp_path / "logs"))
    assert code == 0, output
    assert list((tmp_path / "logs" / "run").iterdir()) == [path]
    code, output = await command(serving.url, "export", "nobody", str(tmp_path / "logs"))
    assert (code, "there is no session nobody" in output) == (2, True)
    assert not [p for p in (tmp_path / "logs").rglob("*") if p.name.startswith(".")]


def _time(told: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(told).timestamp()


def _hold_tensorboard_reads_the_same(
    path: Path, returns: list[Any], counts: Any, edges: Any, image: bytes
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it imports warns
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util.tensor_util import make_ndarray

        loaded = list(EventFileLoader(str(path)).Load())
        board = EventAccumulator(str(path), {"tensors": 0})
        board.Reload()
    plugins = {
        tag: board.SummaryMetadata(tag).plugin_data.plugin_name for tag in board.Tags()["tensors"]
    }
    assert plugins == {
        "hyperparameters/text_summary": "text",
        "current_reward": "scalars",
        "loss/q": "scalars",
        "notes": "text",
        "weights": "histograms",
        "lost": "histograms",
        "track": "images",
    }
    assert loaded[0].file_version == "brain.Event:2"
    scalars = [
        (event.step, event.wall_time, make_ndarray(value.tensor).item())
        for event in loaded
        for value in event.summary.value
        if value.tag == "current_reward"
    ]
    assert scalars == returns
    (weights,) = board.Tensors("weights")
    rows = make_ndarray(weights.tensor_proto)
    assert (rows[:, 2] == counts).all()
    assert (rows[:, 0] == edges[:-1]).all()
    assert (rows[:, 1] == edges[1:]).all()
    (lost,) = board.Tensors("lost")
    assert make_ndarray(lost.tensor_proto).shape == (0, 3)
    (notes,) = board.Tensors("notes")
    assert make_ndarray(notes.tensor_proto).item().decode() == "é so far"
    (track,) = board.Tensors("track")
    assert list(track.tensor_proto.string_val) == [b"6", b"4", image]
