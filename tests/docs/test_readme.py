"""What the README tells a newcomer to type works, word for word, against a real server."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
WRITTEN_URL = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_what_is_trained_in_a_terminal_acts(tmp_path: Path) -> None:
    _, acting = blocks("python")
    (line,) = re.findall(r"`(grandstand train [^`]*)`", README)
    words = [*shlex.split(line)[1:], "--episodes", "100", "--evaluate", "50"]
    quiet = {k: v for k, v in os.environ.items() if k != "GRANDSTAND_URL"}
    for command in (["-m", "grandstand", *words], ["-W", "error", "-c", acting]):
        done = subprocess.run(
            [sys.executable, *command],
            env=quiet,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "models" / "bologna_coppia-0").iterdir()) == [
        "bologna_coppia_high_agent.pt",
        "bologna_coppia_history.json",
        "bologna_coppia_low_agent.pt",
        "scenario.json",
    ]


def test_the_loop_logs(url: str, tmp_path: Path) -> None:
    code, _ = blocks("python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "GRANDSTAND_URL": url},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    session = httpx.get(f"{url}/api/training/sessions/my_run").json()
    assert session["status"] == "completed"
    assert session["current_episode"] == 1000
    series = httpx.get(f"{url}/api/training/sessions/my_run/series?metrics=current_reward").json()
    assert series["series"]["current_reward"]["points"] == 1000


def test_the_curl_lines_answer(url: str) -> None:
    by_hand, training = blocks("bash")
    answers = [curl(command, url) for command in commands(by_hand)]
    assert [status for status, _ in answers] == [201, 200, 200, 200, 200, 200]
    history = answers[3][1]
    assert history["metrics_data"][0]["current_reward"] == 1.5
    assert history["bot_decisions"][0]["selected_action"] == "jump"
    assert "current_reward" in answers[4][1].splitlines()[0]
    assert answers[5][1]["status"] == "completed"

    start, status, stop = (curl(command, url) for command in commands(training))
    assert start[0] == 202, start
    assert status[1]["session_id"] == start[1]["session_id"]
    assert stop[0] == 200, stop
    assert stop[1]["session_id"] == start[1]["session_id"]


def test_the_page_and_the_docs_are_where_it_says(url: str) -> None:
    for path in set(re.findall(rf"{WRITTEN_URL}(/\w*)?(?=[\s`]|$)", README)):
        assert httpx.get(url + path, follow_redirects=True).status_code == 200, path


def commands(block: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\n", block) if part.strip()]


def curl(command: str, url: str) -> tuple[int, Any]:
    """Send what the documented `curl` line would send; the HTTP status and the answer, decoded
    unless it is a file.

    Not every machine that runs the tests has curl, so its few options are read here.
    """
    words = iter(shlex.split(command.replace(WRITTEN_URL, url).replace("\\\n", " ")))
    assert next(words) == "curl"
    method, headers, data, target, file = None, {}, None, "", None
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(":")
            headers[name] = value.strip()
        elif word == "-d":
            data = next(words)
        elif word == "-o":
            file = next(words)
        else:
            assert word.startswith(url), f"unknown option {word}"
            target = word
    method = method or ("POST" if data else "GET")
    answer = httpx.request(method, target, headers=headers, content=data, timeout=60)
    return answer.status_code, answer.json() if file is None else answer.text
