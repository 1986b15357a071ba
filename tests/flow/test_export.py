"""Export over HTTP: files that other programs read, however long the session."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import pyarrow.parquet
import pytest

RUN = "/api/training/sessions/run/export"


def metric(episode: int, **more: Any) -> dict[str, Any]:
    return {"type": "training_metrics", "data": {"episode": episode, **more}}


def columns(**told: Any) -> dict[str, Any]:
    return {"type": "training_metrics", "columns": told}


async def get(house: Any, **query: Any) -> Any:
    answer = await house.http.get(RUN, params=query)
    assert answer.status_code == 200, answer.text
    return answer


async def table(house: Any, **query: Any) -> list[dict[str, str]]:
    text = (await get(house, format="csv", **query)).content.decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
async def run(house: Any) -> Any:
    await house.open_session()
    await house.batch(
        "run",
        [
            metric(1, current_reward=0.1, step=10, timestamp="2026-01-01T00:00:00.000001Z"),
            metric(2, current_reward="NaN", win_rate=50, extra={"a,b": True, "seq": 3}),
            {
                "type": "bot_decision",
                "data": {"selected_action": 'say "buy"', "q_values": [1, "NaN"], "episode": 2},
            },
            {"type": "training_status", "data": {"event": "lesson"}},
            columns(episode=[3, 4], current_reward=["-Infinity", None], model_generation=[7, 8]),
        ],
    )
    return house


async def test_csv_has_a_row_a_record_and_a_column_a_metric(run: Any) -> None:
    answer = await get(run)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="run.csv"'
    rows = await table(run)
    assert list(rows[0])[:4] == ["seq", "timestamp", "episode", "step"]
    assert [row["seq"] for row in rows] == ["2", "3", "6", "7"]
    assert rows[0]["timestamp"] == "2026-01-01T00:00:00.000001Z"
    assert [row["current_reward"] for row in rows] == ["0.1", "NaN", "-Infinity", ""]
    assert [row["model_generation"] for row in rows] == ["", "", "7", "8"]
    assert [row["step"] for row in rows] == ["10", "10", "10", "10"]
    assert rows[1]["a,b"] == "1.0"
    assert rows[1]["extra.seq"] == "3.0"


async def test_only_what_is_asked_for(run: Any) -> None:
    assert [row["episode"] for row in await table(run, episode_from=2, episode_to=3)] == ["2", "3"]
    assert [row["seq"] for row in await table(run, since_seq=2, until_seq=6)] == ["3", "6"]
    assert [row["seq"] for row in await table(run, before="2026-01-01T00:00:00.000001Z")] == ["2"]
    rows = await table(run, metrics="win_rate,current_reward")
    assert list(rows[0]) == ["seq", "timestamp", "episode", "step", "current_reward", "win_rate"]
    assert [row["episode"] for row in rows] == ["1", "2", "3"]
    assert await table(run, metrics="nothing_of_it") == []


async def test_decisions_are_a_table_too(run: Any) -> None:
    (row,) = await table(run, type="bot_decision")
    assert row["selected_action"] == 'say "buy"'
    assert json.loads(row["q_values"]) == [1, "NaN"]
    assert row["confidence_score"] == ""
    assert row["episode"] == "2"


async def test_ndjson_is_every_record_as_it_came(run: Any) -> None:
    lines = [json.loads(line) for line in (await get(run, format="ndjson")).content.splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    assert lines[1]["data"]["current_reward"] == 0.1
    assert lines[2]["data"]["extra"] == {"a,b": True, "seq": 3}
    assert lines[4] == {**lines[4], "type": "training_status", "data": {"event": "lesson"}}
    some = await get(run, format="ndjson", type="training_metrics", metrics="win_rate")
    (line,) = [json.loads(line) for line in some.content.splitlines()]
    assert (line["seq"], line["data"]["win_rate"]) == (3, 50)


async def test_ndjson_can_be_reported_again(run: Any) -> None:
    lines = [json.loads(line) for line in (await get(run, format="ndjson")).content.splitlines()]
    await run.open_session("copy")
    records = [{"type": line["type"], "data": line["data"]} for line in lines[1:]]
    await run.batch("copy", records)
    one, two = [
        (await run.history(name, type="training_metrics"))["metrics_data"]
        for name in ("run", "copy")
    ]
    plain = [{k: v for k, v in item.items() if k != "timestamp"} for item in one]
    assert [{k: v for k, v in item.items() if k != "timestamp"} for item in two] == plain


async def test_parquet_says_the_same_as_csv(run: Any) -> None:
    answer = await get(run, format="parquet")
    found = pyarrow.parquet.read_table(io.BytesIO(answer.content)).to_pydict()
    rows = await table(run)
    assert list(found) == list(rows[0])
    assert found["seq"] == [int(row["seq"]) for row in rows]
    assert found["current_reward"][0] == 0.1
    assert math.isnan(found["current_reward"][1])
    assert found["current_reward"][2:] == [-math.inf, None]
    assert found["model_generation"] == [None, None, 7, 8]
    assert found["timestamp"][0].isoformat() == "2026-01-01T00:00:00.000001+00:00"
    answer = await get(run, format="parquet", type="bot_decision")
    found = pyarrow.parquet.read_table(io.BytesIO(answer.content)).to_pydict()
    assert found["selected_action"] == ['say "buy"']


async def test_a_session_longer_than_a_slice_is_whole(house: Any) -> None:
    """Blocks, the tail after them, several row groups; a metric that comes late."""
    await house.open_session()
    rows = 10_000
    for part in range(7):
        episodes = list(range(part * rows, (part + 1) * rows))
        told: dict[str, Any] = {"episode": episodes, "current_reward": [e / 8 for e in episodes]}
        if part == 6:
            told["win_rate"] = [None] * (rows - 1) + [99.5]
        await house.batch("run", [columns(**told)])
    found = await table(house)
    assert [int(row["episode"]) for row in found] == list(range(7 * rows))
    assert [float(row["current_reward"]) for row in found] == [e / 8 for e in range(7 * rows)]
    assert [row["win_rate"] for row in found if row["win_rate"]] == ["99.5"]
    content = (await get(house, format="parquet")).content
    again = pyarrow.parquet.read_table(io.BytesIO(content))
    assert again["episode"].to_pylist() == list(range(7 * rows))
    lines = (await get(house, format="ndjson")).content.splitlines()
    assert len(lines) == 7 * rows + 1


async def test_what_cannot_be_is_refused_in_words(run: Any) -> None:
    for query, field in (
        ({"format": "xlsx"}, "format"),
        ({"format": "csv", "type": "training_status"}, "type"),
        ({"format": "csv", "type": "training_metrics,bot_decision"}, "type"),
        ({"format": "ndjson", "type": "nothing"}, "type"),
        ({"episode_from": 5, "episode_to": 2}, "episode_from"),
    ):
        answer = await run.http.get(RUN, params=query)
        assert answer.status_code == 422, query
        assert field in answer.json()["message"]
    assert (await run.http.get(RUN.replace("run", "none"))).status_code == 404


async def test_an_empty_session_gives_a_table_without_rows(house: Any) -> None:
    await house.open_session()
    assert (await get(house)).content == b"seq,timestamp,episode,step\r\n"
    content = (await get(house, format="parquet")).content
    assert pyarrow.parquet.read_table(io.BytesIO(content)).num_rows == 0
