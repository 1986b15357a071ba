"""Scenarios over HTTP: found, checked, saved, changed, removed."""

from __future__ import annotations

from typing import Any

import pytest

SCENARIOS = "/api/scenarios"
MINE = {
    "name": "my_flat",
    "environment": {
        "income": 2000,
        "fixed_expenses": 1100,
        "variable_expense_mean": 400,
        "variable_expense_std": 60,
        "safety_threshold": 1500,
    },
}


async def test_the_shipped_ones_are_there_and_stay_as_they_are(house: Any) -> None:
    found = (await house.ok("GET", SCENARIOS))["scenarios"]
    names = [scenario["name"] for scenario in found]
    assert {"bologna_coppia", "balanced", "aggressive"} <= set(names)
    assert names == sorted(names)
    assert all(scenario["shipped"] for scenario in found)
    changed = {**found[0], "description": "mine"}
    del changed["shipped"]
    for method, status in (("PUT", 409), ("DELETE", 409)):
        body = changed if method == "PUT" else None
        answer = await house.http.request(method, f"{SCENARIOS}/{names[0]}", json=body)
        assert (answer.status_code, answer.json()["error"]) == (status, "scenario_shipped")
    answer = await house.http.post(SCENARIOS, json=changed)
    assert (answer.status_code, answer.json()["error"]) == (409, "scenario_exists")


async def test_one_of_my_own_is_saved_trained_on_changed_and_removed(
    house: Any, tmp_path: Any
) -> None:
    made = await house.ok("POST", SCENARIOS, 201, json=MINE)
    assert (made["name"], made["shipped"]) == ("my_flat", False)
    assert made["training"]["algorithm"] == "hierarchical-ppo"
    (file,) = tmp_path.rglob("my_flat.yaml")
    assert "income: 2000" in file.read_text()
    listed = (await house.ok("GET", SCENARIOS))["scenarios"]
    assert [s["shipped"] for s in listed if s["name"] == "my_flat"] == [False]
    start = {"scenario_name": "my_flat", "num_episodes": 10, "queue": True}
    session = await house.ok("POST", "/api/training/start", 202, json=start)

    environment = {**MINE["environment"], "income": 2100}  # type: ignore[dict-item]
    changed = await house.ok("PUT", f"{SCENARIOS}/my_flat", json={"environment": environment})
    assert changed["environment"]["income"] == 2100
    kept = await house.ok("GET", f"/api/training/sessions/{session['session_id']}")
    assert kept["config"]["scenario"]["environment"]["income"] == 2000

    renamed = {"name": "my_house", "environment": environment}
    assert (await house.ok("PUT", f"{SCENARIOS}/my_flat", json=renamed))["name"] == "my_house"
    await house.ok("GET", f"{SCENARIOS}/my_flat", 404)
    await house.ok("DELETE", f"{SCENARIOS}/my_house", 204)
    await house.ok("DELETE", f"{SCENARIOS}/my_house", 404)
    assert list(tmp_path.rglob("my_*.yaml")) == []


async def test_a_scenario_is_checked_without_being_saved(house: Any, tmp_path: Any) -> None:
    as_data = await house.ok("POST", f"{SCENARIOS}/validate", json=MINE)
    as_text = await house.ok("POST", f"{SCENARIOS}/validate", json={"yaml": as_data["yaml"]})
    assert as_text == as_data
    assert list(tmp_path.rglob("my_flat.yaml")) == []
    text = (
        await house.http.get(f"{SCENARIOS}/balanced", headers={"Accept": "application/yaml"})
    ).text
    again = await house.ok("POST", f"{SCENARIOS}/validate", json={"yaml": text})
    assert again["scenario"]["name"] == "balanced"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"environment": {**MINE["environment"], "income": -1}}, "environment.income"),  # type: ignore[dict-item]
        ({"environment": {**MINE["environment"], "incme": 1}}, "environment.incme"),  # type: ignore[dict-item]
        ({"training": {"gamma_low": 1.5}}, "training.gamma_low"),
        ({"name": "../escape"}, "name"),
        ({"reward": {"alpha": -1}}, "reward.alpha"),
        ({"environment": {}}, "environment.income"),
    ],
)
async def test_a_refusal_names_field_value_and_bound(
    house: Any, change: dict[str, Any], field: str
) -> None:
    for path in (SCENARIOS, f"{SCENARIOS}/validate"):
        answer = await house.http.post(path, json={**MINE, **change})
        assert answer.status_code == 422
        rows = answer.json()["details"]["errors"]
        assert field in [row["field"] for row in rows]
        assert all(row["bound"] for row in rows)


async def test_yaml_that_is_none_is_told_with_its_line(house: Any) -> None:
    answer = await house.http.post(f"{SCENARIOS}/validate", json={"yaml": "name: [x"})
    assert answer.status_code == 422
    assert "line" in answer.json()["message"]


async def test_the_template_is_a_scenario_and_its_schema_has_bounds(house: Any) -> None:
    told = await house.ok("GET", f"{SCENARIOS}/template")
    assert (await house.ok("POST", f"{SCENARIOS}/validate", json=told["scenario"])) == {
        "scenario": told["scenario"],
        "yaml": told["yaml"],
    }
    income = told["schema"]["$defs"]["Environment"]["properties"]["income"]
    assert income["exclusiveMinimum"] == 0
    assert income["description"]
