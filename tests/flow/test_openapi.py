"""The API's own description: complete, and readable without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from grandstand.web.routes.server import DOCS_FILES


async def document(house: Any) -> Any:
    return await house.ok("GET", "/openapi.json")


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


async def test_every_route_says_what_it_answers(house: Any) -> None:
    found = dict(operations(await document(house)))
    assert "POST /api/training/sessions/{session_id}/records" in found
    for name, operation in found.items():
        good = {code: r for code, r in operation["responses"].items() if code.startswith("2")}
        assert len(good) == 1, name
        ((code, answer),) = good.items()
        if code == "204":
            assert "content" not in answer, name
        else:
            assert all(media["schema"] for media in answer["content"].values()), name
            assert answer["content"], name
        assert operation.get("summary"), name
        assert operation.get("tags"), name


async def test_every_error_has_the_one_shape(house: Any) -> None:
    for name, operation in operations(await document(house)):
        for code, answer in operation["responses"].items():
            if not code.startswith("2"):
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Error"}, f"{name} {code}"


async def test_every_reference_leads_somewhere(house: Any) -> None:
    told = await document(house)
    known = {f"#/components/schemas/{name}" for name in told["components"]["schemas"]}
    assert set(references(told)) <= known


async def test_every_operation_has_a_name_of_its_own(house: Any) -> None:
    names = [operation["operationId"] for _, operation in operations(await document(house))]
    assert len(names) == len(set(names))


async def test_the_shape_of_metrics_has_its_bounds(house: Any) -> None:
    shapes = (await document(house))["components"]["schemas"]
    metrics = shapes["TrainingMetrics"]
    assert metrics["required"] == ["episode"]
    assert "'maximum': 100" in str(metrics["properties"]["win_rate"])
    assert {"error", "message", "detail", "details", "timestamp"} == set(
        shapes["Error"]["required"]
    )


async def test_the_docs_need_no_network(house: Any) -> None:
    page = await house.http.get("/docs")
    assert page.status_code == 200
    start = await house.http.get("/docs/start.js")
    for text in (page.text, start.text):
        assert not re.search(r"(https?:)?//\w", text)
    policy = page.headers["content-security-policy"]
    assert "http" not in policy
    asked = set(re.findall(r"docs/([\w.-]+)", page.text))
    assert asked == {*DOCS_FILES, "start.js"}
    told = await house.ok("GET", "/docs/nothing.js", 404)
    assert told["error"] == "not_found"


async def test_under_a_root_path_the_docs_stay_there(make_house: Any) -> None:
    house = await make_house(root_path="/stand")
    page = await house.http.get("/docs")
    assert '<base href="/stand/">' in page.text
    for prefix in ("", "/stand"):  # a proxy may take its part of the path off or not
        told = await house.ok("GET", f"{prefix}/openapi.json")
        assert told["servers"] == [{"url": "/stand"}]
        await house.ok("GET", f"{prefix}/api/training/sessions")
