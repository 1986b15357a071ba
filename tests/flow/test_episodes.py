"""The table of a session's finished episodes, and where the decisions of one are."""

from __future__ import annotations

from typing import Any

from tests.flow.conftest import SESSIONS, House


def decision(episode: int | None, **extra: Any) -> dict[str, Any]:
    data = {"selected_action": "left", "episode": episode, "extra": extra or None}
    return {"type": "bot_decision", "data": data}


async def told(house: House, **query: Any) -> Any:
    return await house.ok("GET", f"{SESSIONS}/run/episodes", params=query)


def numbers(answer: Any) -> list[int]:
    return [row["episode"] for row in answer["episodes"]]


async def test_episodes_come_in_any_order_a_page_at_a_time(house: House) -> None:
    await house.open_session()
    columns = {
        "episode": [1, 2, 3, 4, 5],
        "current_reward": [5.0, "NaN", 9.0, 1.0, 9.0],
        "episode_length": [50, 20, 90, 10, 30],
    }
    await house.batch("run", [{"type": "training_metrics", "columns": columns}])
    loss = {"type": "training_metrics", "data": {"episode": 6, "loss_value": 0.5}}
    await house.batch("run", [loss])
    newest = await told(house, limit=2)
    assert (numbers(newest), newest["total"], newest["from_episode"]) == ([5, 4], 5, 0)
    assert newest["episodes"][0].items() >= {"current_reward": 9.0, "episode_length": 30}.items()
    assert newest["episodes"][0]["decisions"] is None
    assert numbers(await told(house, limit=2, offset=2)) == [3, 2]
    assert numbers(await told(house, sort="episode")) == [1, 2, 3, 4, 5]
    # Of equal ones the newer leads, what is no number comes last.
    assert numbers(await told(house, sort="-return")) == [5, 3, 1, 4, 2]
    assert numbers(await told(house, sort="return")) == [4, 1, 5, 3, 2]
    assert numbers(await told(house, sort="length")) == [4, 2, 5, 1, 3]
    found = await told(house, sort="-return", episode=1, limit=1)
    assert (numbers(found), found["offset"]) == ([1], 2)


async def test_an_episode_told_of_again_has_its_last_word(house: House) -> None:
    await house.open_session()
    for reward in (1.0, 2.0):
        row = {"episode": 1, "current_reward": reward}
        await house.batch("run", [{"type": "training_metrics", "data": row}])
    (row,) = (await told(house))["episodes"]
    assert row["current_reward"] == 2.0


async def test_decisions_are_found_by_their_episode(house: House) -> None:
    await house.open_session()
    await house.batch("run", [decision(1), decision(2), decision(None), decision(2)])
    row = {"episode": 2, "current_reward": 3.0}
    await house.batch(
        "run", [decision(2, played="greedy"), {"type": "training_metrics", "data": row}]
    )
    (found,) = (await told(house))["episodes"]
    where = {"count": 3, "played": 1, "first_seq": 3, "last_seq": 6}
    assert found["decisions"] == where
    asked = await told(house, episode=2, limit=1)
    assert asked["decided"] == where
    assert asked["played"] == [2]
    # One that has not finished may have decisions already.
    running = await told(house, episode=1, limit=1)
    assert (numbers(running), running["decided"]["count"]) == ([], 1)
    assert (await told(house, episode=7, limit=1))["decided"] is None


async def test_what_cannot_be_asked_for_is_refused(house: House) -> None:
    await house.open_session()
    for query in ({"limit": 0}, {"limit": 201}, {"offset": -1}, {"sort": "luck"}):
        await house.ok("GET", f"{SESSIONS}/run/episodes", 422, params=query)
    await house.ok("GET", f"{SESSIONS}/nobody/episodes", 404)
