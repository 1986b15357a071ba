"""The panel that says how to report from what one trains with: its snippets run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import OpenPage, Server, StartServer
from .doors import excuse, guarded, sign_in

pytestmark = pytest.mark.slow

SCRIPT_WITHIN_SECONDS = 120
ARRIVES_WITHIN_MS = 60_000
NAMES = {"python": "My run", "sb3": "CartPole", "gymnasium": "CartPole by hand"}
TABS = (
    ("python", "Python"),
    ("sb3", "Stable-Baselines3"),
    ("gymnasium", "Gymnasium"),
    ("tensorboard", "CleanRL, TensorBoard"),
    ("wandb", "wandb"),
    ("curl", "curl"),
    ("javascript", "JavaScript"),
)


def snippet(page: Page, kind: str) -> str:
    """The code of one tab, as a reader would copy it."""
    code = (
        page.locator(f"[data-recipe={kind}]").get_by_role("region", name="example").locator("code")
    )
    expect(code).to_be_visible()
    return code.inner_text()


def arrived(page: Page) -> Locator:
    return page.get_by_test_id("arrived")


def environment() -> dict[str, str]:
    """The tests' own, without what would lead a script to another server; small networks are
    quicker in one thread."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("GRANDSTAND_")}
    return own | {"OMP_NUM_THREADS": "1"}


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SCRIPT_WITHIN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[None]:
    process = subprocess.Popen(command, cwd=folder, env=environment())
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def follow(page: Page, server: Server) -> dict[str, Any]:
    """Go to the session that has come, by the panel's link; gives what the server says of it."""
    link = arrived(page).get_by_role("link")
    expect(arrived(page)).to_contain_text("Records arrive", timeout=ARRIVES_WITHIN_MS)
    link.click()
    expect(page).to_have_url(re.compile(r"/sessions/[^/]+$"))
    name = page.url.rpartition("/")[2]
    expect(page.get_by_role("dialog")).to_have_count(0)
    told: dict[str, Any] = server.api.get(f"/api/training/sessions/{name}").json()
    return told


@pytest.mark.parametrize("kind", ["python", "sb3", "gymnasium", "wandb"])
def test_python_as_pasted_makes_a_session(
    own_server: Server, open_page: OpenPage, tmp_path: Path, kind: str
) -> None:
    page = open_page(f"/add/{kind}", on=own_server)
    expect(arrived(page)).to_contain_text("Waiting for the first record")
    script = tmp_path / "script.py"
    script.write_text(snippet(page, kind))
    run([sys.executable, str(script)], tmp_path)
    told = follow(page, own_server)
    assert told["status"] == "completed"
    assert told["latest"]["current_reward"] is not None
    if kind in NAMES:
        assert told["name"] == NAMES[kind]


def test_a_snippet_may_be_pasted_twice(
    own_server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page("/add", on=own_server)
    script = tmp_path / "script.py"
    script.write_text(snippet(page, "python"))
    for count in (1, 2):
        run([sys.executable, str(script)], tmp_path)
        listed = own_server.api.get("/api/training/sessions?status=completed").json()
        assert listed["total"] == count


def test_curl_as_pasted_makes_a_session(
    own_server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    shell, curl = shutil.which("sh"), shutil.which("curl")
    if shell is None or curl is None:
        pytest.skip("there is no curl here")
    page = open_page("/add/curl", on=own_server)
    expect(arrived(page)).to_contain_text("Waiting for the first record")
    run([shell, "-ec", snippet(page, "curl")], tmp_path)
    told = follow(page, own_server)
    assert told["status"] == "completed"
    assert told["latest"]["extra"] == {"loss/policy": 0.3}


def test_tail_as_pasted_follows_what_a_script_writes(
    own_server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path / "runs" / "CartPole__ppo__1"))
    for step in range(1, 11):
        writer.add_scalar("charts/episodic_return", float(step), step * 20)
    writer.close()
    page = open_page("/add/tensorboard", on=own_server)
    expect(arrived(page)).to_contain_text("Waiting for the first record")
    program, *arguments = snippet(page, "tensorboard").split()
    assert program == "grandstand"
    with running([sys.executable, "-m", "grandstand", *arguments], tmp_path):
        told = follow(page, own_server)
    assert told["name"] == "runs/CartPole__ppo__1"


def test_javascript_as_pasted_watches_the_newest_session(
    own_server: Server, open_page: OpenPage
) -> None:
    name = own_server.open_session("watched")
    page = open_page("/add/javascript", on=own_server, bypass_csp=True)
    expect(page.locator("[data-recipe=javascript] code").last).to_contain_text(f"/ws/{name}")
    with page.expect_console_message(lambda said: said.text.startswith("training_metrics")):
        page.evaluate(f"{snippet(page, 'javascript')}\nnew Promise(r => ws.onopen = r)")
        own_server.report(name, episode=1, current_reward=2.5)


def test_the_panel_is_used_from_the_keyboard_and_keeps_its_place(
    server: Server, open_page: OpenPage
) -> None:
    server.open_session("beneath", tags=["beneath"])
    page = open_page("/?tag=beneath")
    opener = page.get_by_role("link", name="Add a run")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Add a run")
    expect(dialog).to_be_visible()
    expect(page).to_have_url(re.compile(r"/add\?tag=beneath$"))
    height = dialog.bounding_box()
    for kind, label in (*TABS[1:], TABS[0]):
        page.keyboard.press("ArrowRight")
        tab = page.get_by_role("tab", name=label, exact=True)
        expect(tab).to_be_focused()
        expect(tab).to_have_attribute("aria-selected", "true")
        assert snippet(page, kind)
        assert dialog.bounding_box() == height
    page.keyboard.press("End")
    expect(page).to_have_url(re.compile(r"/add/javascript\?tag=beneath$"))
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page).to_have_url(re.compile(r"/\?tag=beneath$"))
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    page.go_back()
    expect(dialog).to_have_count(0)


def test_an_empty_server_has_the_same_in_its_middle(
    own_server: Server, open_page: OpenPage
) -> None:
    page = open_page("/", on=own_server)
    expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()
    page.get_by_role("tab", name="curl").click()
    assert own_server.url in snippet(page, "curl")
    own_server.report(own_server.open_session("first"), episode=1, current_reward=1.0)
    expect(page.locator("[data-session=first]")).to_be_visible()


def test_copying_says_what_happened_also_without_a_clipboard(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page("/add", permissions=["clipboard-read", "clipboard-write"])
    copy = page.get_by_role("button", name="Copy: install command")
    copy.click()
    expect(page.get_by_role("button", name="Copied: install command")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "pip install grandstand"
    expect(copy).to_be_visible()
    page.evaluate("""() => {
        Object.defineProperty(navigator, "clipboard", {value: undefined});
        document.execCommand = () => false;
    }""")
    copy.click()
    expect(page.get_by_role("button", name=re.compile("^Press "))).to_be_visible()
    assert page.evaluate("getSelection().toString()") == "pip install grandstand"


def test_a_server_that_asks_for_a_token_says_where_it_goes(
    start_server: StartServer, open_page: OpenPage
) -> None:
    locked = guarded(start_server)
    page = open_page("/add/curl", on=locked)
    with page.expect_response(lambda it: "sort=-created_at" in it.url and it.ok):
        sign_in(page)  # from then on the panel sees who comes
    expect(page.get_by_text("export GRANDSTAND_TOKEN=").locator("visible=true")).to_be_visible()
    assert 'authorization: Bearer $GRANDSTAND_TOKEN"' in snippet(page, "curl")
    expect(arrived(page)).to_contain_text("Waiting for the first record")
    locked.report(locked.open_session("first"), episode=1, current_reward=1.0)
    expect(arrived(page)).to_contain_text("Records arrive")
    excuse(open_page, 401)


@pytest.mark.parametrize("width", [390, 768])
def test_the_panel_is_no_wider_than_the_screen(
    server: Server, open_page: OpenPage, width: int
) -> None:
    page = open_page("/add/wandb", viewport={"width": width, "height": 800})
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert dialog.evaluate("it => it.scrollWidth - it.clientWidth") <= 0
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
