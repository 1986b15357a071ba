"""A server that asks who one is: its page signs in, shows what is allowed, makes users and keys."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

import grandstand
from grandstand.errors import GrandstandError

from .conftest import OpenPage, Server, StartServer
from .doors import ON, PASSWORD, add_admin, add_user, excuse, guarded, sign_in, signed_in

pytestmark = pytest.mark.slow


def test_from_the_first_admin_to_signing_out(
    start_server: StartServer, open_page: OpenPage
) -> None:
    server = start_server(ON)
    page = open_page("/", on=server)
    expect(page.get_by_role("heading", name="Nobody can sign in yet")).to_be_visible()
    expect(page.get_by_role("dialog")).to_contain_text("grandstand users add NAME --admin")
    add_admin(server)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_role("dialog").get_by_label("Name")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Escape")
    sign_in(page, password="not that one")
    expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
    signed_in(page)
    expect(page.get_by_text("No sessions yet")).to_be_visible()
    page.reload()
    menu = page.get_by_role("button", name="root")
    menu.click()
    expect(page.get_by_role("group", name="Account")).to_contain_text("admin, metrics, operate")
    page.keyboard.press("Escape")
    expect(menu).to_be_focused()
    menu.click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    excuse(open_page, 401)


def test_who_guesses_is_told_how_long_to_wait(
    start_server: StartServer, open_page: OpenPage
) -> None:
    server = guarded(start_server)
    page = open_page("/", on=server)
    for _ in range(5):
        sign_in(page, password="not that one")
        expect(page.get_by_role("button", name="Sign in")).to_be_enabled()
        expect(page.get_by_role("dialog").get_by_label("Password")).to_have_value("")
    sign_in(page, password="not that one")
    expect(page.get_by_role("alert")).to_contain_text(re.compile(r"Try again in [01]:\d\d"))
    expect(page.get_by_role("button", name="Sign in")).to_be_disabled()
    excuse(open_page, 401, 429)


@pytest.mark.timeout(120)
def test_an_expired_sign_in_is_renewed_over_the_page(
    start_server: StartServer, open_page: OpenPage
) -> None:
    server = guarded(start_server, GRANDSTAND_SECURITY__TOKEN_HOURS=str(12 / 3600))
    name = server.open_session("long-run")
    server.report(name, episode=1, average_reward=1.5)
    key = server.api.post("/api/auth/keys", json={"name": "trainer"}).json()["key"]
    page = open_page(f"/sessions/{name}?kept=1", on=server)
    signed_in(page)
    expect(page.get_by_test_id("link")).to_contain_text("live")
    expect(page.get_by_role("dialog")).to_contain_text("has expired", timeout=40_000)
    expect(page.get_by_role("heading", level=1, name=name)).to_be_attached()
    signed_in(page)
    expect(page.get_by_test_id("link")).to_contain_text("live")
    assert page.url.endswith("?kept=1")
    server.api.headers["Authorization"] = f"Bearer {key}"
    server.report(name, episode=2, average_reward=77.25)
    expect(page.get_by_label("Newest figures")).to_contain_text("77.25")
    excuse(open_page, 401)


def test_what_is_not_allowed_is_not_offered(
    start_server: StartServer, open_page: OpenPage, tmp_path: Path
) -> None:
    server = guarded(start_server)
    add_user(server, "ann", "watch")
    name = server.open_session("watched-run")
    server.report(name, episode=1, average_reward=1.5)
    beat = server.api.post(
        f"/api/training/sessions/{name}/heartbeat", json={"listens": ["pause", "stop"]}
    )
    assert beat.status_code == 200, beat.text
    page = open_page("/", on=server)
    signed_in(page, "ann")
    page.get_by_role("link", name=name).click()
    expect(page.get_by_test_id("link")).to_contain_text("live")
    for button in ("Stop", "Pause", "Watch room"):
        expect(page.get_by_role("button", name=button)).to_have_count(0)
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="NDJSON").click()
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    assert saved.suffix == ".ndjson"
    records = [json.loads(line) for line in saved.read_text().splitlines()]
    assert 1.5 in [record["data"].get("average_reward") for record in records]
    page.get_by_role("navigation").get_by_role("link", name="Sessions").click()
    expect(page.get_by_role("heading", name="Start a training")).to_have_count(0)
    page.get_by_role("button", name="ann").click()
    page.get_by_role("link", name="My keys").click()
    expect(page.get_by_role("heading", name="My API keys")).to_be_visible()
    expect(page.get_by_role("heading", name="Users")).to_have_count(0)
    expect(page.get_by_role("heading", name="Audit log")).to_have_count(0)


def test_a_user_and_a_key_are_made_and_taken_back(
    start_server: StartServer, open_page: OpenPage
) -> None:
    server = guarded(start_server)
    page = open_page("/settings/access", on=server)
    signed_in(page)
    users = page.get_by_role("region", name="Users")
    users.get_by_role("button", name="Add a user").click()
    users.get_by_label("Name").fill("bea")
    users.get_by_label("Password").fill(PASSWORD)
    users.get_by_role("checkbox", name="operate").check()
    expect(users.get_by_role("checkbox", name="watch")).to_be_disabled()
    users.get_by_role("button", name="Add", exact=True).click()
    expect(users.get_by_role("status")).to_have_text("bea can sign in now.")
    users.get_by_role("button", name="bea operate").click()
    users.get_by_role("button", name="Disable").click()
    expect(users.get_by_role("status")).to_contain_text("signed out")
    users.get_by_role("button", name="Remove").click()
    users.get_by_role("button", name="Really remove?").click()
    expect(users.get_by_role("button", name="bea")).to_have_count(0)

    keys = page.get_by_role("region", name="API keys")
    keys.get_by_role("button", name="Make a key").click()
    keys.get_by_label("Name").fill("cluster")
    keys.get_by_role("button", name="Make it").click()
    line = keys.get_by_text("export GRANDSTAND_TOKEN=").inner_text()
    key = line.partition("=")[2]
    session = grandstand.open_session("keyed-run", algorithm="DQN", url=server.url, token=key)
    session.log({"episode": 1, "average_reward": 2.5})
    session.finish()
    listed = server.api.get("/api/training/sessions/keyed-run").json()
    assert listed["latest"]["average_reward"] == 2.5
    page.reload()
    expect(keys.get_by_text("GRANDSTAND_TOKEN")).to_have_count(0)
    expect(keys.get_by_role("listitem")).to_contain_text("report, watch")
    keys.get_by_role("button", name="Revoke cluster").click()
    keys.get_by_role("button", name="Really revoke cluster?").click()
    expect(keys.get_by_role("listitem")).to_contain_text("revoked")
    with pytest.raises(GrandstandError):
        grandstand.Client(server.url, token=key).sessions()
    log = page.get_by_role("region", name="Audit log")
    log.get_by_role("button", name="Look").click()
    expect(log.get_by_role("row").filter(has_text="DELETE auth/users")).to_contain_text("done")


def test_a_key_opens_the_page_too(start_server: StartServer, open_page: OpenPage) -> None:
    server = guarded(start_server)
    key = server.api.post("/api/auth/keys", json={"name": "board", "scopes": ["watch"]}).json()
    page = open_page("/", on=server)
    page.get_by_role("button", name="Use a token").click()
    page.get_by_label("Token or API key").fill("gsk_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("This token or key does not hold here.")
    page.get_by_label("Token or API key").fill(key["key"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("No sessions yet")).to_be_visible()
    expect(page.get_by_role("button", name="key:board")).to_be_visible()
    excuse(open_page, 401)


def test_without_authentication_the_page_says_how_to_turn_it_on(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page("/settings/access")
    expect(page.get_by_role("region", name="Nobody is asked who they are")).to_contain_text(
        "GRANDSTAND_SECURITY__ENABLE_AUTH=true"
    )
    expect(page.get_by_role("heading", name="Users", exact=True)).to_be_visible()
    for width in (390, 1360):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width
