"""The machines that run trainings, on the Train page."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

from .conftest import Server


def tell(server: Server, name: str, **more: Any) -> Any:
    """What `grandstand supervise` says of itself every heartbeat."""
    told = {"instance": "a" * 16, "labels": ["gpu"], "capacity": 2, "running": 1, "room": False}
    answer = server.api.post(f"/api/supervisors/{name}/take", json=told | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_machines_are_listed_and_drained(server: Server, open_page: Any) -> None:
    page: Page = open_page("/train")
    expect(page.get_by_role("region", name="Queue")).to_be_visible()
    machines = page.get_by_role("region", name="Machines")
    expect(machines).to_have_count(0)
    tell(server, "box-1")
    row = machines.get_by_role("listitem").filter(has_text="box-1")
    expect(row).to_contain_text("gpu")
    expect(row).to_contain_text("1 of 2 busy")
    expect(machines).to_contain_text("this server")
    row.get_by_role("button", name="Drain box-1").click()
    expect(row).to_contain_text("takes no more")
    assert tell(server, "box-1")["draining"] is True
    row.get_by_role("button", name="Take again box-1").click()
    expect(row.get_by_role("button", name="Drain box-1")).to_be_visible()
