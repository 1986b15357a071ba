"""Behind a proxy that serves it below a path: every page, request and socket stays there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from .conftest import OpenPage, Server, StartServer
from .proxy import below

PATH = "/tools/stand"


@pytest.fixture
def behind(start_server: StartServer) -> Iterator[tuple[Server, str]]:
    server = start_server({"GRANDSTAND_ROOT_PATH": PATH})
    with below(PATH, server.url) as address:
        yield server, address


def test_every_way_stays_below(behind: tuple[Server, str], open_page: OpenPage) -> None:
    server, address = behind
    session = server.open_session("below", name="Far below", total_episodes=100)
    server.report(session, episode=1, current_reward=1.5)
    page = open_page("/health", on=server)
    strayed: list[str] = []
    page.on("request", lambda one: None if address in one.url else strayed.append(one.url))
    sockets: list[str] = []
    page.on("websocket", lambda one: sockets.append(one.url))

    page.goto(f"{address}/")
    page.get_by_role("link", name="Far below").click()
    expect(page).to_have_url(f"{address}/sessions/below")
    figures = page.get_by_label("Newest figures")
    expect(figures).to_contain_text("1.5")
    server.report(session, episode=2, current_reward=47.25)
    expect(figures).to_contain_text("47.25")
    assert sockets
    assert all(one.startswith(f"ws{address.removeprefix('http')}/ws/") for one in sockets)

    page.reload()
    expect(figures).to_contain_text("47.25")
    pages = page.get_by_role("navigation", name="Pages")
    for name, path in (("Train", "train"), ("Models", "models"), ("Compare", "compare")):
        pages.get_by_role("link", name=name, exact=True).click()
        expect(page).to_have_url(re.compile(re.escape(f"{address}/{path}") + r"(\?|$)"))
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.go_back()
    expect(page).to_have_url(f"{address}/models")
    pages.get_by_role("link", name="API").click()
    expect(page).to_have_url(f"{address}/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    assert strayed == []
