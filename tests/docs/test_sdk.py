"""The examples of docs/sdk.md, webhooks aside, of the stand-ins and of watching run as written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import grandstand

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page: str, after: str = "") -> list[str]:
    text = (DOCS / page).read_text("utf-8").partition(after)[2] if after else ""
    text = text or (DOCS / page).read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(code: str, at: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "GRANDSTAND_URL": at, "GRANDSTAND_SPOOL": str(folder / "spool")},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_page_of_the_sdk_runs_from_top_to_bottom(url: str, tmp_path: Path) -> None:
    # One script: what a block uses, an earlier one has made.
    run("\n".join(blocks("sdk.md")), url, tmp_path)
    sessions = f"{url}/api/training/sessions"
    for name, episodes in (("my_run", 1000), ("my_run_2", 1), ("my_run_3", 1000)):
        session = httpx.get(f"{sessions}/{name}").json()
        assert (session["status"], session["current_episode"]) == ("completed", episodes), name


@pytest.mark.slow
def test_the_stand_ins_run(url: str, tmp_path: Path) -> None:
    writer, wandb = blocks("integrations.md", "### Instead of a log directory")[:2]
    run(writer, url, tmp_path)
    run(wandb, url, tmp_path)
    sessions = f"{url}/api/training/sessions"
    written = httpx.get(f"{sessions}/CartPole__ppo__1").json()
    assert (written["status"], written["current_episode"]) == ("completed", 100)
    (logged,) = httpx.get(f"{sessions}?tag=cartpole&status=all").json()["sessions"]
    assert (logged["status"], logged["current_episode"]) == ("completed", 100)
    assert logged["latest"]["extra"]["loss/policy"] == 0.5


@pytest.mark.slow
def test_watching_and_reading_back_run(url: str, tmp_path: Path) -> None:
    with grandstand.open_session("cartpole_1", algorithm="PPO", url=url) as session:
        for episode in range(1, 101):
            session.log({"current_reward": 2.0, "loss_value": 0.5 / episode}, episode=episode)
    last = httpx.get(f"{url}/api/training/sessions/cartpole_1").json()["last_seq"]
    said = run("\n".join(blocks("integrations.md", "## Watch and read back")), url, tmp_path)
    *watched, mean = said.splitlines()
    assert [int(line.split()[0]) for line in watched if line[0].isdecimal()] == [
        *range(1, last + 1)
    ]
    assert float(mean) == 2.0
