"""The two ways of a report, the short one and the one through the routes, answer alike."""

from __future__ import annotations

from typing import Any

import pytest

RUN = "/api/training/sessions/run"
ORIGIN = {"Origin": "http://localhost"}
"""What a browser sends along: such a report takes the way through the routes."""


def plain(told: Any) -> Any:
    return {k: v for k, v in told.items() if k != "timestamp"}


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("metrics", b'{"episode": 1, "current_reward": NaN}', {}),
        ("metrics", b'{"episode": -1}', {}),
        ("metrics", b'{"episode": 1, "reward": 2}', {}),
        ("metrics", b"{", {}),
        ("metrics", b"", {}),
        ("metrics", b'{"episode": 1}', {"Content-Type": "text/plain"}),
        ("metrics", b'{"episode": 1}', {"Host": "elsewhere.example"}),
        ("metrics", b'{"episode": 1}', {"Authorization": "Bearer nonsense"}),
        ("metrics", b'{"episode": 1}', {"Authorization": "Basic nonsense"}),
        ("bot_decision", b'{"action_probabilities": {"a": 0.4}}', {}),
        ("graph_update", b'{"graph_id": "g", "metrics": ["m"]}', {}),
        ("records", b'{"records": [{"type": "training_metrics", "data": {"episode": 1}}]}', {}),
        ("records", b'{"records": [{"type": "nothing", "data": {}}]}', {}),
        ("records", b'{"records": [{"type": "training_metrics"}]}', {}),
        ("records", b"[]", {}),
    ],
)
async def test_both_ways_answer_alike(
    house: Any, path: str, body: bytes, headers: dict[str, str]
) -> None:
    await house.open_session()
    told = {"Content-Type": "application/json", **headers}
    answers = [
        await house.http.post(f"{RUN}/{path}", content=body, headers={**told, **more})
        for more in ({}, ORIGIN)
    ]
    if headers.get("Host"):  # there the origin is another one, and says so first
        assert [a.status_code for a in answers] == [400, 400]
        return
    assert answers[0].status_code == answers[1].status_code
    assert answers[0].headers["content-type"] == answers[1].headers["content-type"]
    one, two = (plain(answer.json()) for answer in answers)
    for told in (one, two):
        told.pop("seq", None)
        told.pop("last_seq", None)
    assert one == two


async def test_a_report_in_pieces_is_whole(serving: Any) -> None:
    await serving.open_session()

    async def pieces() -> Any:
        for piece in (b'{"epi', b'sode": ', b"7}"):
            yield piece

    import httpx

    async with httpx.AsyncClient(base_url=serving.url) as client:
        headers = {"Content-Type": "application/json"}
        answer = await client.post(f"{RUN}/metrics", content=pieces(), headers=headers)
        assert answer.status_code == 200, answer.text
    assert (await serving.history("run"))["metrics_data"][0]["episode"] == 7


async def test_a_body_over_the_limit_is_refused_before_it_is_read(make_house: Any) -> None:
    house = await make_house(serving=True, performance__max_body_bytes=2048)
    await house.open_session()

    async def pieces() -> Any:
        for _ in range(10):
            yield b" " * 1000

    import httpx

    async with httpx.AsyncClient(base_url=house.url) as client:
        headers = {"Content-Type": "application/json"}
        for content in (b" " * 3000, pieces()):
            answer = await client.post(f"{RUN}/metrics", content=content, headers=headers)
            assert answer.status_code == 413
            assert answer.json()["error"] == "body_too_large"


async def test_below_a_path_reports_arrive_too(make_house: Any) -> None:
    house = await make_house(root_path="/grandstand")
    await house.open_session()
    for path in (f"{RUN}/metrics", f"/grandstand{RUN}/metrics"):
        answer = await house.http.post(path, json={"episode": 1})
        assert answer.status_code == 200, answer.text


async def test_an_id_that_needs_escaping_is_the_same_session(house: Any) -> None:
    await house.open_session("a.b~c")
    answer = await house.http.post("/api/training/sessions/a%2Eb~c/metrics", json={"episode": 1})
    assert answer.json()["seq"] == 2


async def test_what_was_let_in_once_lets_nothing_else_in(house: Any) -> None:
    await house.open_session()
    body = b'{"episode": 1}'
    tries: list[tuple[bytes, dict[str, str], int]] = [
        (b"", {"Content-Type": "text/plain"}, 400),
        (body, {"Content-Type": "text/plain"}, 415),
        (body, {"Content-Type": "application/json"}, 200),
        (body, {"Content-Type": "application/json", "Host": "elsewhere.example"}, 400),
        (body, {"Content-Type": "application/json", "Host": "127.0.0.1"}, 200),
        (body, {"Content-Type": "text/plain", "Host": "127.0.0.1"}, 415),
        (body, {"Content-Type": "application/json"}, 200),
    ]
    for content, headers, status in tries:
        answer = await house.http.post(f"{RUN}/metrics", content=content, headers=headers)
        assert answer.status_code == status, headers
