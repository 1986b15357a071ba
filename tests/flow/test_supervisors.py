"""Supervisors on other machines: who gets which job, and what becomes of it; what workers send."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from grandstand.clock import ManualClock
from grandstand.train.checkpoint import save_checkpoint

SESSIONS = "/api/training/sessions"
MACHINES = "/api/supervisors"
ZIP = {"Content-Type": "application/zip"}
A, B = "a" * 16, "b" * 16


async def start(house: Any, *labels: str, status: int = 202, queue: bool = True) -> Any:
    body = {"scenario_name": "balanced", "queue": queue, "labels": labels}
    return await house.ok("POST", "/api/training/start", status, json=body)


async def take(house: Any, name: str, *labels: str, status: int = 200, **more: Any) -> Any:
    body = {"instance": A, "labels": labels, "capacity": 2, "running": 0, **more}
    return await house.ok("POST", f"{MACHINES}/{name}/take", status, json=body)


def packed(folder: Path, **changed: bytes) -> bytes:
    """A checkpoint's folder as an archive; `changed` files have other content."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.iterdir()):
            content = changed.get(path.name.partition(".")[0], path.read_bytes())
            archive.writestr(f"{folder.name}/{path.name}", content)
    return out.getvalue()


def checkpoint(folder: Path, episode: int, **metadata: Any) -> Path:
    models = {"agent": {"weights": [1, 2]}}
    return save_checkpoint(folder, episode, {"trainer": episode}, models, metadata, [episode])


async def test_a_job_goes_to_a_machine_that_has_what_it_needs(house: Any) -> None:
    wanted = (await start(house, "gpu", "big"))["session_id"]
    plain = (await start(house))["session_id"]
    first = await take(house, "small")
    assert first["job"]["session_id"] == plain
    assert (await take(house, "half", "gpu"))["job"] is None
    given = (await take(house, "large", "big", "gpu", "quiet"))["job"]
    assert given["session_id"] == wanted
    headers = {"Authorization": f"Bearer {given['token']}"}
    order = await house.ok("GET", f"{SESSIONS}/{wanted}/order", headers=headers)
    assert order["attempt"] == given["attempt"] == 1
    rows = (await house.ok("GET", f"{MACHINES}/large/jobs"))["jobs"]
    assert [row["session_id"] for row in rows] == [wanted]


async def test_a_start_that_does_not_wait_counts_the_places_of_all_machines(house: Any) -> None:
    refused = await start(house, "gpu", status=400, queue=False)
    assert refused["details"]["labels"] == ["gpu"]
    assert "supervise" in refused["detail"]
    await take(house, "large", "gpu")
    for _ in range(2):
        await start(house, "gpu", queue=False)
        assert (await take(house, "large", "gpu"))["job"] is not None
    refused = await start(house, "gpu", status=400, queue=False)
    assert refused["error"] == "training_already_running"
    assert refused["details"] == {"running": 2, "waiting": 0, "labels": ["gpu"]}


async def test_a_held_request_brings_a_job_as_soon_as_there_is_one(house: Any) -> None:
    held = asyncio.create_task(take(house, "box", wait_seconds=20))
    await house.until(lambda: living(house, "box"))
    session_id = (await start(house))["session_id"]
    assert (await asyncio.wait_for(held, 10))["job"]["session_id"] == session_id


async def living(house: Any, name: str) -> bool:
    rows = (await house.ok("GET", MACHINES))["supervisors"]
    return any(row["name"] == name and row["living"] for row in rows)


async def test_a_machine_that_drains_takes_no_more_and_hears_it_at_once(house: Any) -> None:
    await house.ok("PATCH", f"{MACHINES}/box", 404, json={"draining": True})
    held = asyncio.create_task(take(house, "box", wait_seconds=20))
    await house.until(lambda: living(house, "box"))
    shown = await house.ok("PATCH", f"{MACHINES}/box", json={"draining": True})
    assert (shown["draining"], shown["living"]) == (True, True)
    assert (await asyncio.wait_for(held, 10)) == {
        "job": None,
        "draining": True,
        "heartbeat_seconds": 5.0,
        "nice": 10,
    }
    await start(house)
    assert (await take(house, "box", draining=True))["job"] is None
    await house.ok("PATCH", f"{MACHINES}/box", json={"draining": False})
    assert (await take(house, "box", draining=True))["job"] is not None


async def test_a_name_belongs_to_one_process_as_long_as_it_is_heard(make_house: Any) -> None:
    clock = ManualClock()
    house = await make_house(clock=clock)
    await take(house, "box")
    assert (await take(house, "box", instance=B, status=409))["error"] == "name_taken"
    await clock.advance(16)
    await take(house, "box", instance=B)
    await house.ok("DELETE", f"{MACHINES}/box", 204, params={"instance": A})
    assert await living(house, "box")
    await house.ok("DELETE", f"{MACHINES}/box", 204, params={"instance": B})
    assert not await living(house, "box")
    await take(house, "a:b", status=422)
    await take(house, "box", "no label", status=422)


async def test_the_job_of_a_machine_that_fell_silent_goes_to_another(make_house: Any) -> None:
    clock = ManualClock()
    house = await make_house(clock=clock)
    session_id = (await start(house))["session_id"]
    job = (await take(house, "dead"))["job"]
    path = f"{MACHINES}/dead/jobs/{job['id']}"
    told = {"attempt": 1, "handle": "pid 77 1.5"}
    await house.ok("POST", f"{path}/launched", 204, json=told)
    assert (await take(house, "other", instance=B))["job"] is None
    await clock.advance(16)
    await house.assembly.supervisors.requeue_lost()
    again = (await take(house, "other", instance=B))["job"]
    assert (again["session_id"], again["attempt"]) == (session_id, 2)
    # What the dead one may still say changes nothing.
    headers = {"Authorization": f"Bearer {job['token']}"}
    await house.ok("GET", f"{SESSIONS}/{session_id}/order", 409, headers=headers)
    gone = {"attempt": 1, "why": "it ended"}
    await house.ok("POST", f"{path}/gone", 404, json=gone)
    assert (await house.ok("GET", f"{SESSIONS}/{session_id}"))["status"] == "starting"


async def test_a_worker_that_ended_sends_its_training_back(house: Any) -> None:
    session_id = (await start(house))["session_id"]
    job = (await take(house, "box"))["job"]
    gone = {"attempt": 1, "why": "signal 9", "error": {"last_output": ["boom"]}}
    await house.ok("POST", f"{MACHINES}/box/jobs/{job['id']}/gone", 204, json=gone)
    assert (await house.ok("GET", f"{SESSIONS}/{session_id}"))["status"] == "queued"
    assert (await take(house, "box"))["job"]["attempt"] == 2


async def test_a_checkpoint_travels_to_the_server_and_to_the_next_worker(
    house: Any, tmp_path: Path
) -> None:
    worker = await house.managed()
    path = f"{SESSIONS}/{worker.session_id}"
    headers = worker.headers | ZIP
    sent = packed(checkpoint(tmp_path, 120, best=[1.0, 120]))
    told = await house.ok("PUT", f"{path}/checkpoints/120", content=sent, headers=headers)
    assert told["name"] == "checkpoint_episode_120"
    assert "state.pt" in told["files"]
    # The same once more, as after an answer that was lost.
    await house.ok("PUT", f"{path}/checkpoints/120", content=sent, headers=headers)
    rows = (await house.ok("GET", f"{path}/checkpoints"))["checkpoints"]
    assert [(row["episode"], row["damage"], row["best"]) for row in rows] == [(120, None, True)]
    folder = house.assembly.sessions.folder(worker.session_id) / "checkpoints"
    assert [one.name for one in folder.iterdir()] == ["checkpoint_episode_120"]

    answer = await house.http.get(f"{path}/order/checkpoint", headers=worker.headers)
    assert answer.status_code == 200
    assert 'filename="checkpoint_episode_120.zip"' in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        metadata = json.loads(archive.read("checkpoint_episode_120/metadata.json"))
    assert metadata == {"episode": 120, "best": [1.0, 120]}
    refused = await house.ok(
        "GET", f"{path}/order/checkpoint", 404, params={"of": "source"}, headers=worker.headers
    )
    assert refused["error"] == "nothing_to_start_from"


async def test_only_the_newest_and_the_best_checkpoints_stay(
    make_house: Any, tmp_path: Path
) -> None:
    house = await make_house(training__keep_checkpoints=2)
    worker = await house.managed()
    path = f"{SESSIONS}/{worker.session_id}"
    for episode in (10, 20, 30, 40):
        sent = packed(checkpoint(tmp_path, episode, best=[1.0, 10]))
        await house.ok(
            "PUT", f"{path}/checkpoints/{episode}", content=sent, headers=worker.headers | ZIP
        )
    rows = (await house.ok("GET", f"{path}/checkpoints"))["checkpoints"]
    assert [row["episode"] for row in rows] == [40, 30, 10]


async def test_what_is_not_whole_is_not_kept(house: Any, tmp_path: Path) -> None:
    worker = await house.managed()
    path = f"{SESSIONS}/{worker.session_id}/checkpoints/120"
    folder = checkpoint(tmp_path, 120)
    elsewhere = io.BytesIO()
    with zipfile.ZipFile(elsewhere, "w") as archive:
        archive.writestr("../state.pt", b"x")
    bodies = {
        "checkpoint_damaged": packed(folder, state=b"half"),
        "archive_invalid": b"PK no archive",
    }
    for code, body in [*bodies.items(), ("archive_invalid", elsewhere.getvalue())]:
        told = await house.ok("PUT", path, 422, content=body, headers=worker.headers | ZIP)
        assert told["error"] == code
    other = path.replace("/120", "/121")
    await house.ok("PUT", other, 422, content=packed(folder), headers=worker.headers | ZIP)
    as_json = worker.headers | {"Content-Type": "text/plain"}
    await house.ok("PUT", path, 415, content=packed(folder), headers=as_json)
    kept = house.assembly.sessions.folder(worker.session_id) / "checkpoints"
    assert list(kept.iterdir()) == []


async def test_only_the_worker_that_has_the_session_may_send(house: Any, tmp_path: Path) -> None:
    worker = await house.managed()
    path = f"{SESSIONS}/{worker.session_id}"
    sent = packed(checkpoint(tmp_path, 5))
    told = await house.ok("PUT", f"{path}/checkpoints/5", 403, content=sent, headers=ZIP)
    assert told["error"] == "workers_only"
    told = await house.ok("GET", f"{path}/order/checkpoint", 403)
    assert told["error"] == "workers_only"
    await house.ok("POST", f"{path}/finish", json={"status": "released"}, headers=worker.headers)
    newer = await house.claim(worker.session_id)
    headers = worker.headers | ZIP
    told = await house.ok("PUT", f"{path}/checkpoints/5", 409, content=sent, headers=headers)
    assert told["error"] == "attempt_superseded"
    await house.ok("PUT", f"{path}/checkpoints/5", content=sent, headers=newer.headers | ZIP)


async def test_one_too_large_is_refused_before_it_is_read(make_house: Any) -> None:
    house = await make_house(training__max_archive_bytes=2**20)
    worker = await house.managed()
    path = f"{SESSIONS}/{worker.session_id}/checkpoints/5"
    body = b"0" * (2**20 + 1)
    told = await house.ok("PUT", path, 413, content=body, headers=worker.headers | ZIP)
    assert told["details"]["limit"] == 2**20


async def test_a_model_is_put_where_models_are_looked_for(house: Any) -> None:
    worker = await house.managed()
    path = f"{SESSIONS}/{worker.session_id}/model"

    def model(**files: str) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, content in files.items():
                archive.writestr(name.replace("__", "."), content)
        return out.getvalue()

    body = model(balanced_high_agent__pt="h", balanced_low_agent__pt="l", scenario__json="{}")
    await house.ok("PUT", path, content=body, headers=worker.headers | ZIP)
    found = await house.ok("GET", f"/api/models/{worker.session_id}")
    assert found["name"] == "balanced"
    for wrong in (model(other_high_agent__pt="x"), model(worker__log="x")):
        await house.ok("PUT", path, 422, content=wrong, headers=worker.headers | ZIP)
