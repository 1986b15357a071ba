"""/api/scenarios: what can be trained on; one's own can be made, changed and removed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response

from grandstand.assembly import Assembly
from grandstand.model.scenarios import Scenario, scenario_schema, template
from grandstand.service.access import Grant, Scope
from grandstand.service.scenarios import Shelved
from grandstand.web.answers import ANY, answer, gives, listing
from grandstand.web.auth import Authority

Document = Annotated[dict[str, Any], Body()]
"""A scenario as plain data; `Scenario.from_mapping` checks it."""


def routes(house: Assembly, authority: Authority) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/api/scenarios", tags=["scenarios"])
    watch = authority.require(Scope.WATCH)
    operate = authority.require(Scope.OPERATE)

    @router.get("", **gives(listing("scenarios", ANY)))
    def list_scenarios(grant: Grant = watch) -> Response:
        """Every scenario there is to train on."""
        found = [_shown(shelved) for shelved in house.scenarios.all()]
        return answer({"scenarios": found, "total": len(found), "next_cursor": None})

    @router.post("", **gives(ANY, 409, 415, 422, status=201))
    def create_scenario(data: Document, grant: Grant = operate) -> Response:
        """Save a new scenario."""
        return answer(_shown(Shelved(house.scenarios.create(data), False)), 201)

    @router.post("/validate", **gives(ANY, 415, 422))
    def validate_scenario(data: Document, grant: Grant = watch) -> Response:
        """Check a scenario without saving it: as data, or as text under `yaml`."""
        text = data.get("yaml")
        if len(data) == 1 and isinstance(text, str):
            scenario = Scenario.from_yaml(text)
        else:
            scenario = Scenario.from_mapping(data)
        return answer({"scenario": scenario.to_mapping(), "yaml": scenario.to_yaml()})

    @router.get("/template", **gives(ANY))
    def scenario_template(grant: Grant = watch) -> Response:
        """A scenario to begin from, and the JSON schema of all of it with bounds and words."""
        start = template()
        return answer(
            {
                "scenario": start.to_mapping(),
                "yaml": start.to_yaml(),
                "schema": scenario_schema(),
            }
        )

    @router.get("/{name}", **gives(ANY, 404, 422))
    def get_scenario(name: str, request: Request, grant: Grant = watch) -> Response:
        """One scenario; as YAML where that is what `Accept` asks for."""
        shelved = house.scenarios.find(name)
        if "yaml" in request.headers.get("accept", ""):
            return Response(shelved.scenario.to_yaml(), media_type="application/yaml")
        return answer(_shown(shelved))

    @router.put("/{name}", **gives(ANY, 404, 409, 415, 422))
    def replace_scenario(name: str, data: Document, grant: Grant = operate) -> Response:
        """Save a scenario of your own anew; another `name` in it renames it."""
        return answer(_shown(Shelved(house.scenarios.replace(name, data), False)))

    @router.delete("/{name}", **gives(None, 404, 409, 422, status=204))
    def delete_scenario(name: str, grant: Grant = operate) -> Response:
        """Delete a scenario of your own."""
        house.scenarios.remove(name)
        return Response(status_code=204)

    return router


def _shown(shelved: Shelved) -> dict[str, Any]:
    return {**shelved.scenario.to_mapping(), "shipped": shelved.shipped}
