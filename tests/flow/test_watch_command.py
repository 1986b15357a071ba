"""`grandstand watch` and `grandstand sessions`, run as a user runs them."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from tests.flow.conftest import House


async def grandstand(url: str, *words: str) -> tuple[int, str]:
    """Exit code and output of a command."""
    environment = os.environ | {"GRANDSTAND_URL": url, "NO_COLOR": "1", "COLUMNS": "120"}
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "grandstand",
        *words,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await running.communicate()
    return running.returncode or 0, output.decode()


async def test_watching_ends_with_the_session(serving: House) -> None:
    session_id = await serving.open_session("seen")

    async def watched() -> bool:
        return bool(
            (await serving.ok("GET", f"/api/training/sessions/{session_id}"))["spectator_count"]
        )

    command = asyncio.create_task(grandstand(serving.url, "watch", session_id, "--json"))
    await serving.until(watched)
    await serving.log(session_id, 1, 2)
    await serving.ok(
        "POST", f"/api/training/sessions/{session_id}/finish", json={"status": "completed"}
    )
    code, output = await command
    assert code == 0, output
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["data"].get("episode") for line in lines[:2]] == [1, 2]
    assert lines[-1]["data"]["status"] == "completed"


async def test_sessions_are_listed(serving: House) -> None:
    await serving.open_session("listed", name="A name", total_episodes=9)
    code, output = await grandstand(serving.url, "sessions")
    assert code == 0, output
    assert "listed" in output
    assert "0/9" in output
    code, output = await grandstand(serving.url, "sessions", "--json")
    assert [told["name"] for told in json.loads(output)] == ["A name"]
    code, output = await grandstand(serving.url, "watch", "nobody")
    assert code == 2
    assert "nobody" in output
