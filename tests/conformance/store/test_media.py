"""Media in the log and beside it: found at once among much else, packed or not."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import func, select

from grandstand.store import history as history_module
from grandstand.store import media
from grandstand.store.history import Sieve, history, replay
from grandstand.store.packing import Pack, drop_log
from grandstand.store.sessions import remove
from grandstand.store.tables import media as table


def png(width: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, 2)).save(file, "PNG")
    return file.getvalue()


def image(width: int, **more: Any) -> dict[str, Any]:
    data = {"name": "i", "image": base64.b64encode(png(width)).decode(), "step": width}
    return {"type": "image", "data": data, **more}


def text(words: str, name: str = "t") -> dict[str, Any]:
    return {"type": "text", "data": {"name": name, "text": words, "episode": 1}}


def metrics(rows: int) -> dict[str, Any]:
    return {"type": "training_metrics", "columns": {"episode": list(range(rows))}}


HISTOGRAM = {"type": "histogram", "data": {"name": "h", "counts": [1], "edges": [0.0, 1.0]}}


@pytest.fixture
async def ask(database, reporter):
    async def page(limit=1000, cursor=None, **asked):
        return await database.read(
            lambda c: history(c, reporter.pk, Sieve.asked(**asked), limit=limit, cursor=cursor)
        )

    return page


async def pack(database, pk: int) -> None:
    after = 0
    while True:
        begin = after
        made = await database.read(lambda c: Pack(c, pk, begin, 2**53))  # noqa: B023 - at once
        if not made.rows:
            return
        await database.write(made.store)
        after = made.last_seq


@pytest.mark.parametrize("packed", [False, True])
async def test_media_are_found_among_much_else(database, reporter, ask, packed) -> None:
    for i in range(1, 6):
        await reporter.report([metrics(500), text(f"{i}"), image(i), HISTOGRAM, metrics(500)])
    if packed:
        await pack(database, reporter.pk)
    got = await ask(types=["text", "histogram", "image"])
    assert [t["text"] for t in got["texts"]] == ["1", "2", "3", "4", "5"]
    assert [i["width"] for i in got["images"]] == [1, 2, 3, 4, 5]
    assert [h["counts"] for h in got["histograms"]] == [[1]] * 5
    assert (got["total_points"], got["next_cursor"], got["metrics_data"]) == (15, None, [])
    assert "image" not in got["images"][0]
    stored = await database.read(lambda c: media.find(c, reporter.pk, got["images"][2]["seq"]))
    assert stored == ("image/png", png(3))
    assert await database.read(lambda c: media.find(c, reporter.pk, got["texts"][0]["seq"])) is None
    # Together with others they come in their order.
    both = await ask(types=["text", "training_metrics"], since_seq=400, limit=300)
    assert (len(both["metrics_data"]), [t["seq"] for t in both["texts"]]) == (299, [501])


async def test_pages_of_media_join_without_gap_or_double(database, reporter, ask) -> None:
    for i in range(1, 13):
        await reporter.report([metrics(100), text(f"{i}", "even" if i % 2 == 0 else "odd")])
    for asked, expected in (({}, 12), ({"metrics": ["even"]}, 6)):
        found, cursor, pages = [], None, 0
        while True:
            got = await ask(limit=5, cursor=cursor, types=["text"], **asked)
            found += [t["seq"] for t in got["texts"]]
            pages += 1
            if (cursor := got["next_cursor"]) is None:
                break
        assert len(found) == len(set(found)) == expected
        assert found == sorted(found)
        assert pages == 3


async def test_a_page_of_long_texts_is_short(database, reporter, ask, monkeypatch) -> None:
    monkeypatch.setattr(history_module, "PAGE_BYTES", 1000)
    await reporter.report([text("x" * 400) for _ in range(7)])
    lengths, cursor = [], None
    while True:
        got = await ask(types=["text"], cursor=cursor)
        lengths.append(len(got["texts"]))
        if (cursor := got["next_cursor"]) is None:
            break
    assert lengths == [3, 3, 1]
    rows = await database.read(lambda c: replay(c, reporter.pk, 0, 1000))
    assert [row[0] for row in rows] == [1, 2, 3]
    rows = await database.read(lambda c: replay(c, reporter.pk, 3, 1000))
    assert [row[0] for row in rows] == [4, 5, 6]


async def test_an_image_sent_again_is_stored_once(database, reporter) -> None:
    await reporter.report([image(1, key="k")])
    await reporter.report([image(1, key="k"), image(2, key="l")])
    count = select(func.count()).select_from(table)
    assert await database.read(lambda c: c.scalar(count)) == 2
    assert await database.read(lambda c: media.find(c, reporter.pk, 2)) == ("image/png", png(2))


async def test_images_go_with_their_log_and_their_session(database, reporter) -> None:
    for i in range(1, 7):
        await reporter.report([image(i)])
    await database.write(lambda c: drop_log(c, reporter.pk, 4))
    seqs = select(table.c.seq).order_by(table.c.seq)
    assert list(await database.read(lambda c: list(c.scalars(seqs)))) == [5, 6]
    await database.write(lambda c: remove(c, reporter.pk))
    assert await database.read(lambda c: list(c.scalars(seqs))) == []
