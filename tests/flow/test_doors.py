"""Doors: who may knock, with what, and that every refusal has the one body and says no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import grandstand
from grandstand.model.wire import OURS, wires_of

SESSIONS = "/api/training/sessions"
START = "/api/training/start"
JSON = {"Content-Type": "application/json"}
BODY = {"error", "message", "detail", "details", "timestamp"}


def refused(answer: Any, status: int, code: str) -> Any:
    """Hold that an answer is the one error body, without a trace of the inside in it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert set(told) == BODY
    assert told["error"] == code
    assert told["message"]
    assert told["timestamp"].endswith("Z")
    for inside in ("Traceback", "sqlalchemy", ".py", 'File "', str(Path.cwd())):
        assert inside not in answer.text
    return told


async def test_answers_tell_version_and_wire(house: Any) -> None:
    opened = await house.http.post(SESSIONS, json={"algorithm": "PPO"})
    for answer in (opened, await house.http.get("/health"), await house.http.get("/api/nothing")):
        assert wires_of(answer.headers["grandstand-wire"]) == OURS
        assert answer.headers["grandstand-version"] == grandstand.__version__


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:80", "LOCALHOST"]
)
async def test_loopback_names_are_let_in(house: Any, host: str) -> None:
    assert (await house.http.get("/health", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:8000", "", "[::1", "a@b:c"]
)
async def test_other_hosts_are_not(house: Any, host: str) -> None:
    refused(await house.http.get("/health", headers={"Host": host}), 400, "host_not_allowed")


async def test_hosts_can_be_allowed(make_house: Any) -> None:
    house = await make_house(security__allowed_hosts=["train.example"])
    assert (await house.http.get("/health", headers={"Host": "train.example"})).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:9999", "http://[", "localhost"]
)
async def test_pages_of_elsewhere_are_refused(house: Any, origin: str) -> None:
    answer = await house.http.get("/health", headers={"Origin": origin})
    refused(answer, 403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers


async def test_our_own_page_and_allowed_ones_pass(house: Any) -> None:
    for origin in ("http://localhost", "http://localhost:3000", "HTTP://LOCALHOST"):
        answer = await house.http.get("/health", headers={"Origin": origin})
        assert answer.status_code == 200
    asked = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    answer = await house.http.options(SESSIONS, headers=asked)
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    answer = await house.http.options(SESSIONS, headers={**asked, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
async def test_bodies_must_be_json(house: Any, media: str) -> None:
    headers = {"Content-Type": media} if media else {}
    answer = await house.http.post(SESSIONS, content=b'{"algorithm": "x"}', headers=headers)
    refused(answer, 415, "unsupported_media_type")


async def test_a_body_too_large_is_refused_announced_or_not(make_house: Any) -> None:
    house = await make_house(performance__max_body_bytes=2000)
    await house.open_session("run")
    large = b'{"algorithm": "' + b"x" * 5000 + b'"}'

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 500):
            yield large[start : start + 500]

    for path in (SESSIONS, f"{SESSIONS}/run/metrics", f"{SESSIONS}/run/records"):
        for content in (large, in_pieces()):
            answer = await house.http.post(path, content=content, headers=JSON)
            told = refused(answer, 413, "body_too_large")
            assert told["details"]["limit"] == 2000


@pytest.mark.parametrize("body", [b"", b"{", b"nothing", b"\xff\xfe"])
@pytest.mark.parametrize("path", [f"{SESSIONS}/run/metrics", f"{SESSIONS}/run/records", SESSIONS])
async def test_malformed_json_is_said(house: Any, path: str, body: bytes) -> None:
    await house.open_session("run")
    answer = await house.http.post(path, content=body, headers=JSON)
    if path == SESSIONS and not body:
        refused(answer, 422, "validation_failed")
    else:
        refused(answer, 400, "malformed_json")


@pytest.mark.parametrize(
    "data",
    [
        '{"event": "x", "deep": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"event": "x", "deep": ' + "[" * 900 + "NaN" + "]" * 900 + "}",
        '{"event": "x", "half": "\\ud800"}',
        '{"event": "x", "\\ud800": NaN}',
    ],
)
async def test_odd_records_are_never_a_failure_of_ours(house: Any, data: str) -> None:
    await house.open_session("run")
    content = '{"records": [{"type": "training_status", "data": ' + data + "}]}"
    answer = await house.http.post(
        f"{SESSIONS}/run/records", content=content.encode(), headers=JSON
    )
    assert answer.status_code < 500, answer.text
    history = await house.http.get(f"{SESSIONS}/run/history?type=training_status")
    assert history.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/..%2f..%2fpyproject.toml",
        "/assets/..%2f..%2f__init__.py",
        "/docs/..%2findex.html",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
    ],
)
async def test_no_path_leads_out_of_the_page(house: Any, path: str) -> None:
    answer = await house.http.get(path)
    assert answer.status_code in (200, 404)
    if answer.status_code == 200:
        assert answer.headers["content-type"].startswith("text/html")
    assert "root:" not in answer.text
    assert "build-system" not in answer.text


@pytest.mark.parametrize(
    "name", ["../balanced", "..", ".", "a/b", "balanced.yaml", "\x00", "x" * 300]
)
async def test_scenarios_and_models_are_names_and_no_paths(house: Any, name: str) -> None:
    told = await house.http.post(START, json={"scenario_name": name})
    assert told.status_code == 422
    unfit = len(name) > 100 or "\0" in name  # of any name in a body, whatever it names
    refused(told, 422, "validation_failed" if unfit else "scenario_name_invalid")
    quoted = name.replace("/", "%2f").replace(".", "%2e").replace("\x00", "%00")
    for path in (f"/api/scenarios/{quoted}", f"/api/models/{quoted}"):
        assert (await house.http.get(path)).status_code in (404, 422)


async def test_an_unknown_scenario_names_those_there_are(house: Any) -> None:
    answer = await house.http.post(START, json={"scenario_name": "bolonga"})
    told = refused(answer, 404, "scenario_not_found")
    assert "bologna_coppia" in str(told["detail"]) + str(told["details"])


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"num_episodes": 0}, "num_episodes"),
        ({"num_episodes": 10**30}, "num_episodes"),
        ({"save_interval": 0}, "save_interval"),
        ({"pace": 0}, "pace"),
        ({"ranks": 0}, "ranks"),
        ({"seed": -1}, "seed"),
        ({"device": "tpu"}, "device"),
        ({"episodes": 5}, "episodes"),
        ({"scenario_name": ""}, "scenario_name"),
    ],
)
async def test_a_wrong_start_names_the_field(house: Any, wrong: Any, field: str) -> None:
    answer = await house.http.post(START, json={"scenario_name": "balanced", **wrong})
    told = refused(answer, 422, "validation_failed")
    assert told["details"]["errors"][0]["field"] == field
    assert told["message"].startswith(f"{field}: ")


async def test_overrides_must_fit_the_scenario(house: Any) -> None:
    body = {"scenario_name": "balanced", "overrides": {"training": {"num_episodes": 0}}}
    refused(await house.http.post(START, json=body), 422, "scenario_invalid")


async def test_more_ranks_than_cores_are_refused(house: Any) -> None:
    body = {"scenario_name": "balanced", "ranks": 256}
    told = refused(await house.http.post(START, json=body), 422, "validation_failed")
    assert told["message"].startswith("training.ranks is 256, but there")
    assert told["details"]["errors"] == [{"field": "training.ranks", "value": 256}]


async def test_a_second_start_is_refused_unless_it_may_wait(house: Any) -> None:
    body = {"scenario_name": "balanced", "num_episodes": 10}
    first = await house.ok("POST", START, 202, json=body)
    assert (first["status"], first["queue_position"]) == ("queued", 0)
    refused(await house.http.post(START, json=body), 400, "training_already_running")
    second = await house.ok("POST", START, 202, json={**body, "queue": True})
    assert (second["status"], second["queue_position"]) == ("queued", 1)
    assert (await house.ok("GET", "/api/training/status"))["queue_length"] == 2


async def test_stop_without_a_training(house: Any) -> None:
    refused(await house.http.post("/api/training/stop"), 400, "no_active_training")
    answer = await house.http.post("/api/training/stop", json={"session_id": "x"})
    refused(answer, 404, "session_not_found")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"{SESSIONS}/nobody", 404, "session_not_found"),
        ("DELETE", f"{SESSIONS}/nobody", 404, "session_not_found"),
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/api/evaluations/x", 404, "evaluation_not_found"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("POST", SESSIONS, 422, "validation_failed"),
        ("GET", f"{SESSIONS}?limit=0", 422, "validation_failed"),
        ("GET", f"{SESSIONS}?status=asleep", 422, "validation_failed"),
        ("GET", f"{SESSIONS}?sort=colour", 422, "validation_failed"),
        ("GET", f"{SESSIONS}/run/history?cursor=x", 422, "validation_failed"),
        ("GET", f"{SESSIONS}/run/history?after=soon", 422, "validation_failed"),
        ("GET", f"{SESSIONS}/run/series?x=colour", 422, "validation_failed"),
        ("GET", f"{SESSIONS}/run/series?max_points=0", 422, "validation_failed"),
        ("POST", f"{SESSIONS}/run/dance", 405, "method_not_allowed"),
    ],
)
async def test_every_refusal_has_the_one_body(
    house: Any, method: str, path: str, status: int, code: str
) -> None:
    await house.open_session("run")
    refused(await house.http.request(method, path), status, code)


HUGE = 10**30


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", SESSIONS, {"algorithm": "x", "total_episodes": HUGE}),
        ("POST", SESSIONS, {"algorithm": "x", "model_generation": HUGE}),
        ("POST", SESSIONS, {"algorithm": "x", "config": {"n": HUGE, "deep": [[[{}]]]}}),
        ("POST", SESSIONS, {"algorithm": "x", "training_session_id": "a\x00b"}),
        ("PUT", f"{SESSIONS}/run", {"current_episode": HUGE}),
        ("PUT", f"{SESSIONS}/run", {"end_time": "0001-01-01T00:00:00+14:00"}),
        ("GET", f"{SESSIONS}/run/history?since_seq={HUGE}", None),
        ("GET", f"{SESSIONS}/run/history?until_seq={HUGE}", None),
        ("GET", f"{SESSIONS}/run/history?episode_from={HUGE}", None),
        ("GET", f"{SESSIONS}/run/history?before=0001-01-01T00:00:00%2B14:00", None),
        ("GET", f"{SESSIONS}/run/series?from=nan", None),
        ("GET", f"{SESSIONS}/run/series?from=1e300&to=inf", None),
        ("GET", f"{SESSIONS}/run/series?x=time&from=-1e300", None),
        ("GET", f"{SESSIONS}?q=%ff%00", None),
        ("GET", f"{SESSIONS}/%ff%00", None),
        ("POST", f"{SESSIONS}/run/metrics", {"episode": 1, "extra": {"n": HUGE}}),
        ("POST", f"{SESSIONS}/run/metrics", {"episode": 1, "step": HUGE}),
        ("POST", f"{SESSIONS}/run/heartbeat", {"wait_seconds": 1e9}),
        ("POST", f"{SESSIONS}/run/finish", {"status": "completed", "final_metrics": {"n": HUGE}}),
    ],
)
async def test_odd_values_are_never_a_failure_of_ours(
    house: Any, method: str, path: str, body: Any
) -> None:
    await house.open_session("run")
    await house.log("run", 1)
    answer = await house.http.request(method, path, json=body)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()) == BODY
    assert (await house.http.get(f"{SESSIONS}?status=all")).status_code == 200


@pytest.mark.parametrize(
    "text",
    [
        '{"algorithm": "x", "config": {"a": "\\ud800"}}',
        '{"algorithm": "x", "config": {"\\ud800": 1}}',
        '{"algorithm": "x", "\\ud800": 1}',
        '{"algorithm": "\\ud800"}',
        '{"algorithm": "x", "config": {"loss": NaN, "max": Infinity}}',
        '{"algorithm": "x", "config": ' + '{"a":' * 700 + "1" + "}" * 700 + "}",
        '{"algorithm": "x", "config": {"n": 1' + "0" * 400 + "}}",
        '{"algorithm": "x", "config": {"n": 1' + "0" * 5000 + "}}",
        '{"algorithm": "x", "model_generation": NaN}',
        '{"algorithm": ' * 100_000,
    ],
)
async def test_odd_text_is_never_a_failure_of_ours(house: Any, text: str) -> None:
    answer = await house.http.post(SESSIONS, content=text.encode(), headers=JSON)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()) == BODY
    assert (await house.http.get(f"{SESSIONS}?status=all")).status_code == 200


async def test_with_auth_on_a_token_is_asked_for(make_house: Any) -> None:
    house = await make_house(security__enable_auth=True, security__jwt_secret_key="k" * 40)
    answer = await house.http.get(SESSIONS)
    refused(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    wrong = {"Authorization": "Bearer nonsense"}
    refused(await house.http.get(SESSIONS, headers=wrong), 401, "token_invalid")
    assert (await house.http.get("/health")).status_code == 200


async def test_a_wrong_token_is_refused_with_auth_off_too(house: Any) -> None:
    wrong = {"Authorization": "Bearer nonsense"}
    refused(await house.http.get(SESSIONS, headers=wrong), 401, "token_invalid")
