"""Records through the HTTP door: what is accepted, what is refused, what is stored of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

SESSIONS = "/api/training/sessions"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def run(house: Any) -> str:
    return str(await house.open_session("run"))


def metrics(episode: int, **more: Any) -> dict[str, Any]:
    return {"type": "training_metrics", "data": {"episode": episode, **more}}


async def test_single_records_take_seqs_in_a_row(house: Any, run: str) -> None:
    first = (await house.ok("GET", f"{SESSIONS}/run"))["last_seq"]
    path = f"{SESSIONS}/run"
    one = await house.ok("POST", f"{path}/metrics", json={"episode": 1, "extra": {"a/b": 2}})
    two = await house.ok("POST", f"{path}/bot_decision", json={"selected_action": "left"})
    three = await house.ok("POST", f"{path}/graph_update", json={"graph_id": "g"})
    assert [r["seq"] for r in (one, two, three)] == [first + 1, first + 2, first + 3]
    assert one == {"message": "recorded", "seq": first + 1}
    told = await house.history("run")
    assert told["metrics_data"][0]["extra"] == {"a/b": 2}
    assert told["bot_decisions"][0]["selected_action"] == "left"
    assert told["graph_data"][0]["graph_id"] == "g"


async def test_a_batch_is_stored_whole_or_not_at_all(house: Any, run: str) -> None:
    told = await house.batch("run", [metrics(1), metrics(2), metrics(3)])
    assert (told["accepted"], told["duplicate"]) == (3, False)
    body = {"records": [metrics(4), metrics(-5)]}
    refused = await house.ok("POST", f"{SESSIONS}/run/records", 422, json=body)
    assert refused["details"]["field"] == "records[1].data.episode"
    assert [m["episode"] for m in (await house.history("run"))["metrics_data"]] == [1, 2, 3]


async def test_a_batch_sent_again_is_acknowledged_and_not_stored(house: Any, run: str) -> None:
    body = {"batch_id": "b1", "records": [metrics(1), metrics(2)]}
    first = await house.ok("POST", f"{SESSIONS}/run/records", json=body)
    await house.log("run", 3)
    again = await house.ok("POST", f"{SESSIONS}/run/records", json=body)
    assert again == {"accepted": 0, "last_seq": first["last_seq"], "duplicate": True}
    # Also once it has ended: its reporter never heard that the last batch was stored.
    await house.ok("POST", f"{SESSIONS}/run/finish", json={"status": "completed"})
    again = await house.ok("POST", f"{SESSIONS}/run/records", json=body)
    assert again["duplicate"]
    assert [m["episode"] for m in (await house.history("run"))["metrics_data"]] == [1, 2, 3]


async def test_a_batch_id_belongs_to_its_session(house: Any, run: str) -> None:
    await house.open_session("other")
    body = {"batch_id": "b1", "records": [metrics(1)]}
    for name in ("run", "other"):
        told = await house.ok("POST", f"{SESSIONS}/{name}/records", json=body)
        assert told["accepted"] == 1


async def test_keys_are_stored_once(house: Any, run: str) -> None:
    one, two = {**metrics(1), "key": "k1"}, {**metrics(2), "key": "k2"}
    assert (await house.batch("run", [one]))["accepted"] == 1
    told = await house.batch("run", [one, two, two, metrics(3)])
    assert (told["accepted"], told["duplicate"]) == (2, False)
    told = await house.batch("run", [one, two])
    assert (told["accepted"], told["duplicate"]) == (0, True)
    found = (await house.history("run"))["metrics_data"]
    assert [m["episode"] for m in found] == [1, 2, 3]
    assert found[-1]["seq"] - found[0]["seq"] == 2


async def test_columnar_rows_are_records(house: Any, run: str) -> None:
    columns = {
        "episode": [1, 2, 3],
        "current_reward": [1.5, None, "NaN"],
        "timestamp": ["2026-01-01T00:00:00Z", None, "2026-01-01T00:00:02+01:00"],
        "extra": {"speed": [1, 2, None]},
    }
    told = await house.batch("run", [{"type": "training_metrics", "columns": columns, "key": "u"}])
    assert told["accepted"] == 3
    rows = (await house.history("run"))["metrics_data"]
    assert [r.get("current_reward") for r in rows] == [1.5, None, "NaN"]
    assert [r.get("extra") for r in rows] == [{"speed": 1}, {"speed": 2}, None]
    assert rows[0]["timestamp"] == "2026-01-01T00:00:00Z"
    assert rows[2]["timestamp"] == "2025-12-31T23:00:02Z"
    seen = await house.ok("GET", f"{SESSIONS}/run")
    assert (seen["current_episode"], seen["last_seq"]) == (3, told["last_seq"])


@pytest.mark.parametrize(
    "columns",
    [
        {"episode": [1, 2], "loss_value": [1.0]},
        {"episode": [1], "extra": {"a": [1, 2]}},
        {"episode": []},
    ],
)
async def test_columns_of_unequal_length_are_refused(house: Any, run: str, columns: Any) -> None:
    body = {"records": [{"type": "training_metrics", "columns": columns}]}
    told = await house.ok("POST", f"{SESSIONS}/run/records", 422, json=body)
    assert told["details"]["field"] == "records[0].columns"
    assert told["details"]["lengths"]["episode"] == len(columns["episode"])


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
async def test_non_finite_numbers_are_kept_by_name(house: Any, run: str, literal: str) -> None:
    """Python writes the bare literal, careful clients the name; both come back as the name."""
    text = '{"episode": 1, "loss_value": %s, "extra": {"x": %s, "said": true}}'
    for value in (literal, f'"{literal}"'):
        await house.ok(
            "POST", f"{SESSIONS}/run/metrics", content=text % (value, value), headers=JSON
        )
    answer = await house.http.get(f"{SESSIONS}/run/history")
    for row in msgspec.json.decode(answer.content)["metrics_data"]:  # strict, unlike json
        assert row["loss_value"] == row["extra"]["x"] == literal
    seen = await house.http.get(f"{SESSIONS}/run")
    assert msgspec.json.decode(seen.content)["latest"]["loss_value"] == literal


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("metrics", {}, "episode"),
        ("metrics", {"episode": 1, "rewrd": 2}, "rewrd"),
        ("metrics", {"episode": -1}, "episode"),
        ("metrics", {"episode": 1.5}, "episode"),
        ("metrics", {"episode": 1, "win_rate": 101}, "win_rate"),
        ("metrics", {"episode": 1, "epsilon": -0.1}, "epsilon"),
        ("metrics", {"episode": 1, "current_reward": "high"}, "current_reward"),
        ("metrics", {"episode": 1, "extra": {"x" * 257: 1}}, "extra"),
        ("metrics", {"episode": 1, "extra": {"x": [1]}}, "extra.x"),
        ("metrics", {"episode": 1, "timestamp": "yesterday"}, "timestamp"),
        ("metrics", [1], None),
        ("bot_decision", {"action_probabilities": {"a": "x"}}, "action_probabilities.a"),
        ("bot_decision", {"chosen": 1}, "chosen"),
        ("graph_update", {"graph_id": ""}, "graph_id"),
        ("graph_update", {"graph_id": "g", "max_points": 0}, "max_points"),
        ("records", {"records": [{"type": "error", "data": {}}]}, "records[0].type"),
        ("records", {"records": [{"type": "training_metrics"}]}, "records[0]"),
        ("records", {"records": {}}, "records"),
        ("records", {"records": [], "batch": 1}, "batch"),
    ],
)
async def test_a_wrong_body_names_the_field(
    house: Any, run: str, route: str, body: Any, field: str | None
) -> None:
    told = await house.ok("POST", f"{SESSIONS}/run/{route}", 422, json=body)
    assert told["error"] == "validation_failed"
    assert told["details"]["field"] == field
    assert told["message"]
    assert (await house.history("run"))["total_points"] == 0


async def test_an_unknown_key_is_named(house: Any, run: str) -> None:
    body = {"episode": 1, "rewrd": 2}
    told = await house.ok("POST", f"{SESSIONS}/run/metrics", 422, json=body)
    assert "rewrd" in told["message"]


async def test_an_ended_session_takes_no_records(house: Any, run: str) -> None:
    await house.ok("POST", f"{SESSIONS}/run/finish", json={"status": "stopped"})
    told = await house.ok("POST", f"{SESSIONS}/run/metrics", 409, json={"episode": 1})
    assert (told["error"], told["details"]["status"]) == ("session_ended", "stopped")
    assert "resume" in told["detail"]


async def test_probabilities_that_do_not_add_up_are_stored_with_a_warning(
    house: Any, run: str
) -> None:
    path = f"{SESSIONS}/run/bot_decision"
    fine = await house.ok("POST", path, json={"action_probabilities": {"a": 0.3, "b": 0.695}})
    assert "warnings" not in fine
    odd = await house.ok("POST", path, json={"action_probabilities": {"a": 0.3, "b": 0.6}})
    assert odd["warnings"] == ["action_probabilities add up to 0.9, not 1"]
    await house.ok("POST", path, json={"action_probabilities": {"a": "NaN"}})
    assert len((await house.history("run"))["bot_decisions"]) == 3


async def test_graph_points_are_appended_once_and_the_newest_kept(house: Any, run: str) -> None:
    async def graph(points: list[tuple[str, float]], **more: Any) -> Any:
        data = [{"timestamp": f"2026-01-01T00:00:{at}", "value": v} for at, v in points]
        body = {"graph_id": "g", "data_points": {"m": data}, "max_points": 3, **more}
        await house.ok("POST", f"{SESSIONS}/run/graph_update", json=body)
        (found,) = (await house.history("run", type="graph_update"))["graph_data"]
        return found

    await graph([("01", 1.0), ("02Z", 2.0)], title="T", metrics=["m", "later"])
    # The same moment in another zone is the same point, and the newer value holds.
    found = await graph([("02+00:00", 2.5), ("03", 3.0), ("04", 4.0)])
    assert [p["value"] for p in found["data_points"]["m"]] == [2.5, 3.0, 4.0]
    assert found["data_points"]["m"][0]["timestamp"] == "2026-01-01T00:00:02Z"
    assert (found["title"], found["metrics"]) == ("T", ["m", "later"])
    # What arrives late finds its place.
    found = await graph([("03.5", 3.5)])
    assert [p["value"] for p in found["data_points"]["m"]] == [3.0, 3.5, 4.0]


async def test_moments_at_the_edge_of_time_are_no_failure(house: Any, run: str) -> None:
    edges = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")
    for at in edges:
        path = f"{SESSIONS}/run"
        await house.ok("POST", f"{path}/metrics", json={"episode": 1, "timestamp": at})
        points = {"m": [{"timestamp": at, "value": 1}]}
        body = {"graph_id": at, "data_points": points}
        await house.ok("POST", f"{path}/graph_update", json=body)
        await house.history("run", after=at)
    assert len((await house.history("run"))["metrics_data"]) == 2
    for x in ("episode", "time"):
        told = await house.ok("GET", f"{SESSIONS}/run/series", params={"x": x})
        assert told["metrics"] == []


async def test_latest_keeps_what_a_record_leaves_unknown(house: Any, run: str) -> None:
    await house.batch("run", [metrics(1, loss_value=2.0, extra={"a": 1, "b": 1})])
    await house.batch("run", [metrics(2, win_rate=50, loss_value=None, extra={"a": 2})])
    latest = (await house.ok("GET", f"{SESSIONS}/run"))["latest"]
    assert latest["loss_value"] == 2.0
    assert latest["win_rate"] == 50
    assert latest["extra"] == {"a": 2, "b": 1}


async def test_a_batch_over_the_limit_is_refused(house: Any, run: str) -> None:
    columns = {"episode": list(range(10_001))}
    body = {"records": [{"type": "training_metrics", "columns": columns}]}
    told = await house.ok("POST", f"{SESSIONS}/run/records", 413, json=body)
    assert told["error"] == "batch_too_large"
    body["records"][0]["columns"]["episode"].pop()
    assert (await house.ok("POST", f"{SESSIONS}/run/records", json=body))["accepted"] == 10_000


async def test_an_empty_batch_is_nothing(house: Any, run: str) -> None:
    before = (await house.ok("GET", f"{SESSIONS}/run"))["last_seq"]
    told = await house.batch("run", [])
    assert told == {"accepted": 0, "last_seq": before, "duplicate": False}


async def test_history_goes_page_by_page(house: Any, run: str) -> None:
    await house.batch("run", [metrics(i, current_reward=i) for i in range(1, 26)])
    episodes: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = await house.history("run", limit=10, **cursor)
        episodes += [m["episode"] for m in page["metrics_data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert episodes == list(range(1, 26))
    some = await house.history("run", episode_from=5, episode_to=7, metrics="current_reward")
    assert [m["current_reward"] for m in some["metrics_data"]] == [5, 6, 7]
    told = await house.ok("GET", f"{SESSIONS}/run/history", 422, params={"type": "nothing"})
    assert told["details"]["field"] == "type"


async def test_series_answer_with_columns(house: Any, run: str) -> None:
    await house.batch("run", [metrics(i, current_reward=i) for i in range(1, 101)])
    told = await house.ok("GET", f"{SESSIONS}/run/series", params={"max_points": 10})
    curve = told["series"]["current_reward"]
    assert curve["points"] == 100
    assert sum(curve["count"]) == 100
    assert (min(curve["min"]), max(curve["max"])) == (1, 100)
    assert len(curve["x"]) <= 10
