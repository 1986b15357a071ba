"""A server with something on every page, and the table of its pages: a page more is a line more."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page, expect

from .conftest import Server

SCENARIO = "bologna_coppia"
EPISODES = 400
TRAINED_MS = 120_000
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
}
SESSIONS = "/api/training/sessions"


@dataclass
class Stage:
    """Where things are on a furnished server.

    Attributes:
        trained: a training that has ended, with a model that was played.
        other: another one.
        running: a training at work, slow enough to stay so.
        external: a script's session with texts, pictures, histograms and numbers that are none.
        failed: a script's session that ended badly.
        shown: a session in a room that anybody may watch.
        room: that room's code.
    """

    server: Server
    trained: str
    other: str
    running: str
    external: str
    failed: str
    shown: str
    room: str

    def path(self, template: str) -> str:
        """An address of the table below with the ids in it."""
        return template.format(**vars(self))


def train(server: Server, name: str, **more: Any) -> str:
    """Have a training of the server's run; gives its session."""
    body = {
        "scenario_name": SCENARIO,
        "num_episodes": EPISODES,
        "name": name,
        "queue": True,
        "eval_episodes": 0,
        **more,
    }
    answer = server.api.post("/api/training/start", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["session_id"])


def finished(page: Page, server: Server, session: str) -> None:
    """Wait on its page until a training is over."""
    page.goto(f"{server.url}/sessions/{session}")
    expect(page.get_by_test_id("status")).to_have_text(re.compile("completed"), timeout=TRAINED_MS)


def furnish(server: Server, page: Page) -> Stage:
    """Put something on every page: trainings of the server's, scripts' sessions, a room.

    Args:
        page: one of the server's, to wait with.
    """
    trained = train(server, "Bologna, a couple", seed=1, tags=["lesson"], pace=400)
    other = train(server, "Bologna, a small buffer", seed=2)
    external = script(server, page)
    failed = broken(server)
    shown = server.open_session("in-a-room", name="Shown in class", total_episodes=100)
    server.report_many(
        shown,
        episode=list(range(1, 61)),
        current_reward=[20 * math.log(1 + n) + 6 * math.sin(n) for n in range(60)],
        average_reward=[20 * math.log(1 + n) for n in range(60)],
    )
    opened = server.api.post(f"{SESSIONS}/{shown}/room", json={"name": "Thursday's class"})
    assert opened.status_code == 201, opened.text
    for session in (trained, other):
        finished(page, server, session)
    body = {"episodes": 200, "trajectories": 50}
    for session in (trained, other):
        asked = server.api.post(f"/api/models/{session}/evaluate", json=body)
        assert asked.status_code == 202, asked.text
        page.goto(f"{server.url}/models/{session}")
        expect(page.get_by_test_id("fans")).to_be_visible(timeout=TRAINED_MS)
    running = train(server, "At work", num_episodes=1_000_000, pace=200, seed=3)
    for name in ("Waits", "Waits longer"):
        train(server, name)
    page.goto(f"{server.url}/sessions/{running}")
    expect(page.get_by_label("Newest figures")).to_be_visible(timeout=TRAINED_MS)
    code = str(opened.json()["room"]["room_code"])
    return Stage(server, trained, other, running, external, failed, shown, code)


def script(server: Server, page: Page) -> str:
    """A script's session with everything that a script can report.

    Args:
        page: what its pictures are of.
    """
    name = server.open_session(
        "by-a-script",
        name="CartPole, by a script",
        algorithm="DQN",
        total_episodes=300,
        tags=["cartpole", "first try"],
        config={"lr": 3e-4, "environment": "CartPole-v1", "network": {"layers": [64, 64]}},
    )
    count = 240
    returns = [9 + 180 * (1 - math.exp(-n / 80)) + 14 * math.sin(n * 1.7) for n in range(count)]
    gap: list[Any] = [0.8 / (1 + n / 30) if n % 60 < 55 else "NaN" for n in range(count)]
    server.report_many(
        name,
        episode=list(range(1, count + 1)),
        step=[40 * n for n in range(count)],
        current_reward=returns,
        loss_value=gap,
        epsilon=[max(0.05, 1 - n / 150) for n in range(count)],
    )
    edges = [-2 + n / 8 for n in range(33)]
    records: list[tuple[str, dict[str, Any]]] = []
    for step in (100, 200, 300):
        bell = [round(1000 * math.exp(-((edge - step / 300) ** 2))) for edge in edges[:-1]]
        spread = {"name": "weights/policy", "counts": bell, "edges": edges, "step": step, "nan": 2}
        records.append(("histogram", spread))
        seen = page.screenshot(clip={"x": 0, "y": 0, "width": 240 + step, "height": 120})
        image = base64.b64encode(seen).decode()
        records.append(("image", {"name": "play", "image": image, "step": step}))
        text = {"name": "notes", "text": f"Checked at step {step}: it balances.", "step": step}
        records.append(("text", text))
    body = {"records": [{"type": kind, "data": data} for kind, data in records]}
    answer = server.api.post(f"{SESSIONS}/{name}/records", json=body)
    assert answer.status_code == 200, answer.text
    minutes = range(24)
    times = [f"2026-05-01T10:{n:02}:00Z" for n in minutes]
    lines = {
        "left": [20 - 9 * math.exp(-n / 7) for n in minutes],
        "right": [19 - 12 * math.exp(-n / 5) for n in minutes],
    }
    server.report(
        name,
        "graph_update",
        graph_id="q-values",
        title="Q values at rest",
        y_label="return",
        data_points={
            line: [{"timestamp": t, "value": v} for t, v in zip(times, values, strict=True)]
            for line, values in lines.items()
        },
    )
    server.report(
        name,
        "bot_decision",
        action_probabilities={"left": 0.7, "right": 0.3},
        state_values=21.5,
        q_values=[22.0, 19.5],
        selected_action="left",
        confidence_score=0.7,
        episode=count,
        step=40 * count,
    )
    return name


def broken(server: Server) -> str:
    """A script's session that ended with an error."""
    name = server.open_session("ended-badly", name="Out of memory", algorithm="PPO")
    server.report_many(name, episode=[1, 2, 3], current_reward=[1.0, 2.0, "NaN"])
    error = {"type": "MemoryError", "message": "Unable to allocate 12.0 GiB for an array"}
    body = {"status": "failed", "reason": error["message"], "error": error}
    answer = server.api.post(f"{SESSIONS}/{name}/finish", json=body)
    assert answer.status_code == 200, answer.text
    return name


@dataclass(frozen=True)
class Shown:
    """One page of the table.

    Attributes:
        name: of its pictures.
        title: its heading in docs/page.md.
        path: its address, with the names of a `Stage` in braces.
        sentence: what is to be seen, for docs/page.md.
        ready: waits until it is there, whole.
        phone: it is made for a phone as well.
    """

    name: str
    title: str
    path: str
    sentence: str
    ready: Callable[[Page], None]
    phone: bool = True


def sees(text: str) -> Callable[[Page], None]:
    """Ready when a heading says so."""
    return lambda page: expect(
        page.get_by_role("heading", name=re.compile(text)).first
    ).to_be_visible()


def curves(page: Page) -> None:
    """Ready when the first curve is drawn."""
    expect(page.get_by_label("Newest figures")).to_be_visible()
    expect(page.locator(".holder[role=img]:not([data-points='0'])").first).to_be_visible()


def reported(page: Page) -> None:
    """Ready when a script's picture is shown as well: it needs the token like all else."""
    curves(page)
    page.wait_for_function(
        "() => document.querySelector('[data-testid=image] img')?.naturalWidth > 0"
    )


def rows(page: Page) -> None:
    expect(page.locator("[data-session]").nth(3)).to_be_visible()


def scenarios(page: Page) -> None:
    expect(page.get_by_role("radiogroup", name="Scenario").locator("label").first).to_be_visible()
    expect(page.get_by_role("region", name="Queue").get_by_role("listitem").first).to_be_visible()


def models(page: Page) -> None:
    expect(page.locator("[data-model]").nth(1)).to_be_visible()


def picture(page: Page) -> None:
    expect(page.get_by_label("Newest figures")).to_be_visible()


def compared(page: Page) -> None:
    """Ready when the first chart has its curves."""
    expect(page.locator(".holder[role=img]:not([data-points='0'])").first).to_be_visible()
    expect(page.get_by_role("region", name="Summary")).to_be_visible()


PAGES: tuple[Shown, ...] = (
    Shown(
        "sessions",
        "Sessions",
        "/",
        "Every session, its newest numbers and what became of it.",
        rows,
    ),
    Shown(
        "add-a-run",
        "Add a run",
        "/add",
        "How to report from what you train with already, with this server's address in it.",
        sees("Add a run"),
    ),
    Shown(
        "session",
        "A training",
        "/sessions/{trained}",
        "A training of the server's: figures, curves, what the agent decided and why.",
        curves,
    ),
    Shown(
        "script",
        "A script's session",
        "/sessions/{external}",
        "A script's session with its pictures, histograms and texts.",
        reported,
    ),
    Shown(
        "episodes",
        "Episodes",
        "/sessions/{trained}/episodes",
        "A session's finished episodes, and which of them can be gone through again.",
        lambda page: expect(
            page.get_by_role("region", name="Episodes").get_by_role("row").nth(3)
        ).to_be_visible(),
    ),
    Shown(
        "replay",
        "An episode, step by step",
        "/sessions/{trained}/episodes/400?step=60",
        "One episode again: at each step what was weighed, chosen and earned.",
        lambda page: expect(page.get_by_test_id("replay-place")).to_contain_text("of 120"),
    ),
    Shown(
        "graphs",
        "Graphs",
        "/sessions/{external}/graphs",
        "What a session reports beside its metrics, drawn as it says.",
        lambda page: expect(page.get_by_role("img", name=re.compile("^Q values"))).to_be_visible(),
    ),
    Shown(
        "configuration",
        "Configuration",
        "/sessions/{trained}/config",
        "With what a session ran, to search in and copy, and where.",
        sees("Configuration"),
    ),
    Shown(
        "failed",
        "A session that failed",
        "/sessions/{failed}",
        "A session that failed says why.",
        sees("Out of memory"),
    ),
    Shown(
        "train",
        "Train",
        "/train",
        "Scenarios with their monthly cash flow, the order, the queue.",
        scenarios,
    ),
    Shown("models", "Models", "/models", "What trainings left, with their scores.", models),
    Shown(
        "model",
        "A model",
        "/models/{trained}",
        "One model: its score against the exact optimum, how its lives went, what it would do.",
        lambda page: expect(page.get_by_test_id("fans")).to_be_visible(),
    ),
    Shown(
        "compare-models",
        "Models compared",
        "/models/compare?ids={trained},{other}",
        "Models side by side, with intervals and what differs in their configurations.",
        sees("side by side"),
    ),
    Shown(
        "compare",
        "Sessions compared",
        "/compare?ids={trained},{other},{external}",
        "Sessions laid over one another, with what differs and what can be said in numbers.",
        compared,
    ),
    Shown(
        "access",
        "Users and keys",
        "/settings/access",
        "Users, API keys and the audit log.",
        sees("Users and keys"),
    ),
    Shown(
        "join", "A room's door", "/join/{room}", "A room's door, made for a phone.", sees("class")
    ),
    Shown(
        "join-code",
        "A room's code",
        "/join",
        "Where a room's code is asked for.",
        sees("Watch a room"),
    ),
    Shown(
        "overlay",
        "The overlay",
        "/overlay/{room}",
        "The run in a stream, on nothing.",
        picture,
        phone=False,
    ),
    Shown(
        "nowhere",
        "Nowhere",
        "/no/such/page",
        "An address with nothing at it.",
        sees("Nothing here"),
    ),
)
