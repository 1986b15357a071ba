"""Models and checkpoints over HTTP: listed, described, handed out, compared, removed.

The weights are bytes here: what they are is the worker's affair, and the house never reads them.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

from grandstand.store.jobs import JobKind
from grandstand.train.checkpoint import save_checkpoint

from .conftest import SESSIONS

RESULT = {
    "return_se": 1.0,
    "months_mean": 60.0,
    "score": 0.9,
    "optimum": 740.0,
    "uniform": -1.0,
    "best_constant": 718.0,
    "episodes": 1000,
    "trajectories": [],
}


async def trained(house: Any, saved_at: float, **more: Any) -> str:
    """A completed training on `balanced` that left a model."""
    worker = await house.managed(**more)
    folder = house.assembly.sessions.folder(worker.session_id)
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("high_agent.pt", "low_agent.pt", "history.json"):
        path = folder / f"balanced_{part}"
        path.write_bytes(f"{part} of {worker.session_id}".encode())
        os.utime(path, (saved_at, saved_at))
    order = await house.ok("GET", f"{SESSIONS}/{worker.session_id}/order", headers=worker.headers)
    (folder / "scenario.json").write_text(json.dumps(order["scenario"]))
    for status in ("running", "completed"):
        body = {"type": "training_status", "data": {"event": "status", "status": status}}
        if status == "running":
            await house.batch(worker.session_id, [body], headers=worker.headers)
    path = f"{SESSIONS}/{worker.session_id}/finish"
    await house.ok("POST", path, json={"status": "completed"}, headers=worker.headers)
    return str(worker.session_id)


async def scored(house: Any, name: str, return_mean: float) -> str:
    """Have a model evaluated, by a worker that finds `return_mean`."""
    house.assembly.evaluations.missing = lambda may_wait: None
    asked = await house.ok("POST", f"/api/models/{name}/evaluate", 202, json={"episodes": 1000})
    job = await house.assembly.training.claim(JobKind.EVALUATE, "test")
    evaluation_id = asked["evaluation_id"]
    assert job is not None
    assert job.evaluation_id == evaluation_id
    token = house.assembly.access.worker_token(evaluation_id=evaluation_id)
    body = {"status": "completed", "result": {**RESULT, "return_mean": return_mean}}
    headers = {"Authorization": f"Bearer {token}"}
    await house.ok("PUT", f"/api/evaluations/{evaluation_id}", json=body, headers=headers)
    return str(evaluation_id)


async def test_a_model_tells_where_it_comes_from_and_how_good_it_is(house: Any) -> None:
    old = await trained(house, 1e9, name="the old one")
    new = await trained(house, 2e9, name="the new one", tags=["good"])
    evaluation = await scored(house, old, 700.0)
    found = (await house.ok("GET", "/api/models"))["models"]
    assert [m["id"] for m in found] == [new, old]
    assert [m["current"] for m in found] == [True, False]
    assert (found[0]["session_name"], found[0]["tags"]) == ("the new one", ["good"])
    assert found[0]["algorithm"] == "hierarchical-ppo"
    assert found[0]["evaluation"] is None
    assert found[1]["evaluation"]["return_mean"] == 700.0
    model = await house.ok("GET", f"/api/models/{old}")
    assert model["scenario"]["name"] == "balanced"
    assert model["config"]["num_episodes"] == 100
    assert [e["evaluation_id"] for e in model["evaluations"]] == [evaluation]
    assert (await house.ok("GET", "/api/models/balanced"))["id"] == new
    listed = await house.ok("GET", f"/api/evaluations?model={old}")
    assert [e["evaluation_id"] for e in listed["evaluations"]] == [evaluation]


async def test_a_model_is_downloaded_whole(house: Any) -> None:
    name = await trained(house, 1e9)
    answer = await house.http.get(f"/api/models/{name}/download")
    assert answer.headers["content-type"] == "application/zip"
    assert f"balanced-{name}.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert sorted(packed.namelist()) == [
            "balanced_high_agent.pt",
            "balanced_history.json",
            "balanced_low_agent.pt",
            "scenario.json",
        ]
        assert packed.read("balanced_low_agent.pt") == f"low_agent.pt of {name}".encode()


async def test_a_removed_model_makes_way_for_the_one_before(house: Any) -> None:
    old, new = await trained(house, 1e9), await trained(house, 2e9)
    shown = Path(house.assembly.shelf.folder) / "balanced_low_agent.pt"
    assert new in shown.read_text()
    await house.ok("DELETE", f"/api/models/{new}", 204)
    assert old in shown.read_text()
    assert (await house.ok("GET", "/api/models/balanced"))["id"] == old
    await house.ok("GET", f"{SESSIONS}/{new}")
    await house.ok("DELETE", f"/api/models/{new}", 404)
    await house.ok("DELETE", f"/api/models/{old}", 204)
    assert not shown.is_symlink()
    assert (await house.ok("GET", "/api/models"))["models"] == []


async def test_models_are_compared_by_differences_with_intervals(house: Any) -> None:
    a = await trained(house, 1e9, seed=1)
    b = await trained(house, 2e9, seed=2, overrides={"learning_rate_low": 0.001})
    c = await trained(house, 3e9, seed=3)
    for name, mean in ((a, 700.0), (b, 690.0)):
        await scored(house, name, mean)
    told = await house.ok("POST", "/api/models/compare", json={"models": [a, b, c]})
    assert [m["id"] for m in told["models"]] == [a, b, c]
    pair = told["pairs"][0]
    assert (pair["a"], pair["b"], pair["difference"]) == (a, b, 10.0)
    low, high = pair["interval"]
    assert (round(low, 2), round(high, 2)) == (7.23, 12.77)  # 1.96 times the root of 1 + 1
    assert told["pairs"][1]["difference"] is None
    assert "evaluation" in told["pairs"][1]["why_not"]
    differing = {row["path"]: row["values"] for row in told["differences"]}
    assert differing["config.seed"] == {a: 1, b: 2, c: 3}
    assert differing["config.overrides.learning_rate_low"] == {a: None, b: 0.001, c: None}
    assert "config.num_episodes" not in differing
    for body, status in (({"models": [a]}, 422), ({"models": [a, a]}, 422)):
        answer = await house.http.post("/api/models/compare", json=body)
        assert answer.status_code == status
    await house.ok("POST", "/api/models/compare", 404, json={"models": [a, "nobody"]})


async def test_checkpoints_are_listed_verified_and_handed_out(house: Any) -> None:
    name = await trained(house, 1e9)
    folder = house.assembly.sessions.folder(name) / "checkpoints"
    for episode, best in ((100, 100), (200, 100), (300, 100)):
        metadata = {"step": 60 * episode, "best": [5.0, best]}
        save_checkpoint(folder, episode, {"x": 1}, {"agent": {"y": 2}}, metadata, {})
    (folder / "checkpoint_episode_300" / "state.pt").write_bytes(b"half")
    path = f"{SESSIONS}/{name}/checkpoints"
    found = (await house.ok("GET", path))["checkpoints"]
    assert [c["episode"] for c in found] == [300, 200, 100]
    assert [c["damage"] for c in found] == ["state.pt damaged", None, None]
    assert [c["best"] for c in found] == [False, False, True]
    assert [c["step"] for c in found] == [None, 12_000, 6000]
    answer = await house.http.get(f"{path}/200")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert "checkpoint_episode_200/manifest.json" in packed.namelist()
        assert packed.testzip() is None
    await house.ok("DELETE", f"{path}/200", 204)
    await house.ok("GET", f"{path}/200", 404)
    await house.ok("DELETE", f"{path}/200", 404)
    await house.ok("GET", f"{SESSIONS}/nobody/checkpoints", 404)


async def test_where_nothing_can_be_played_it_is_said(house: Any) -> None:
    name = await trained(house, 1e9)
    # These bytes are no model; the answer is the model's own, not a failure of ours.
    body = {"observation": [1.0] * 8}
    answer = await house.http.post(f"/api/models/{name}/act", json=body)
    assert (answer.status_code, answer.json()["error"]) == (422, "model_invalid")
    await house.ok("POST", "/api/models/nobody/act", 404, json=body)
    await house.ok("POST", f"/api/models/{name}/act", 422, json={"observation": []})
