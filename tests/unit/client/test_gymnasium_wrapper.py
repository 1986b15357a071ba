"""The wrappers for Gymnasium: each episode once, whatever the autoreset mode."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics
from gymnasium.wrappers.vector import RecordEpisodeStatistics as RecordVectorStatistics

import grandstand
from grandstand.callbacks.gymnasium import GrandstandVectorWrapper, GrandstandWrapper
from grandstand.client.session import Session
from grandstand.model.frames import media_type_of
from grandstand.model.telemetry import DECISION, METRICS

from .conftest import RecordingServer


class Stairs(gym.Env[Any, Any]):
    """The k-th episode has `first` + k steps, worth 1, 2, 3, …; even ones end, odd ones are cut."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = spaces.Box(0.0, 1000.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, first: int = 1, render_mode: str | None = None) -> None:
        self.first = first
        self.render_mode = render_mode
        self.finished = 0
        self._length = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._length = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._length += 1
        over = self._length == self.first + self.finished
        ends = self.finished % 2 == 0
        self.finished += over
        seen = np.full(1, self._length, np.float32)
        info = {"is_success": ends} if over else {}
        return seen, float(self._length), over and ends, over and not ends, info

    def render(self) -> Any:
        return np.full((32, 32, 3), 90, np.uint8)


def expected(first: int, count: int) -> list[tuple[int, float, bool]]:
    """Length, return and success of the first episodes of `Stairs(first)`."""
    lengths = [first + k for k in range(count)]
    return [(n, n * (n + 1) / 2, k % 2 == 0) for k, n in enumerate(lengths)]


@pytest.fixture
def session(server: RecordingServer) -> Iterator[Session]:
    with grandstand.open_session("run", algorithm="own", url=server.url) as session:
        yield session


def of_type(server: RecordingServer, type: str) -> list[dict[str, Any]]:
    rows = [row for b in server.batches for r in b.records if r.type == type for row in r.rows()]
    for row in rows:
        row["extra"] = {k: v for k, v in (row.get("extra") or {}).items() if v is not None}
    return rows


def told(rows: list[dict[str, Any]]) -> list[tuple[int, float, bool]]:
    return [(r["episode_length"], r["current_reward"], bool(r["extra"]["success"])) for r in rows]


# --- One environment ------------------------------------------------------------------------------


def test_every_episode_is_told_once(server: RecordingServer, session: Session) -> None:
    env = GrandstandWrapper(RecordEpisodeStatistics(Stairs()), session)
    for _ in range(6):
        seen, _ = env.reset()
        over = False
        while not over:
            seen, _, terminated, truncated, info = env.step(0)
            over = terminated or truncated
        assert info["episode"]["l"] == seen[0]  # what the environment says is left as it is
    assert session.flush(10)
    rows = of_type(server, METRICS)
    assert [row["episode"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert told(rows) == expected(1, 6)
    assert [row["step"] for row in rows] == [1, 3, 6, 10, 15, 21]
    assert [bool(row["extra"]["terminated"]) for row in rows] == [True, False] * 3
    assert rows[-1]["win_rate"] == 50.0
    assert env.episodes_done == 6


def test_an_episode_that_was_given_up_does_not_count(
    server: RecordingServer, session: Session
) -> None:
    env = GrandstandWrapper(Stairs(3), session)
    env.reset()
    env.step(0)
    env.reset()
    for _ in range(3):
        env.step(0)
    assert session.flush(10)
    (row,) = of_type(server, METRICS)
    assert (row["episode_length"], row["current_reward"], row["step"]) == (3, 6.0, 4)


def test_decisions_come_from_the_policy_or_by_hand(
    server: RecordingServer, session: Session
) -> None:
    asked: list[float] = []

    def policy(observation: Any) -> Any:
        asked.append(float(observation[0]))
        return [0.25, 0.75]

    env = GrandstandWrapper(
        Stairs(5), session, policy_probabilities=policy, actions=["left", "right"]
    )
    env.reset()
    env.step(1)
    env.decision({"left": 1.0}, selected_action="left", state_values=2.0)
    assert session.flush(10)
    first, second = of_type(server, DECISION)
    assert first["action_probabilities"] == {"left": 0.25, "right": 0.75}
    assert (first["selected_action"], first["confidence_score"]) == ("right", 0.75)
    assert (first["episode"], first["step"], first["extra"]) == (1, 1, {"episode_step": 1})
    assert asked == [0.0]  # what the agent saw when it chose
    assert (second["selected_action"], second["episode"], second["step"]) == ("left", 1, 1)


def test_actions_that_are_counted_from_elsewhere_have_their_names(
    server: RecordingServer, session: Session
) -> None:
    inner = Stairs(5)
    inner.action_space = spaces.Discrete(2, start=7)
    env = GrandstandWrapper(inner, session, policy_probabilities=lambda seen: [0.25, 0.75])
    env.reset()
    env.step(np.int64(8))
    assert session.flush(10)
    (told,) = of_type(server, DECISION)
    assert told["action_probabilities"] == {"7": 0.25, "8": 0.75}
    assert told["selected_action"] == "8"


def test_a_policy_that_fails_costs_only_the_decisions(
    server: RecordingServer, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    env = GrandstandWrapper(Stairs(), session, policy_probabilities=lambda seen: 1 / 0)
    env.reset()
    assert env.step(0)[2]
    assert session.flush(10)
    assert len(of_type(server, METRICS)) == 1
    assert of_type(server, DECISION) == []
    assert "decisions: left out from here on" in caplog.text


def test_frames_are_shown(server: RecordingServer, session: Session) -> None:
    env = GrandstandWrapper(Stairs(4, "rgb_array"), session, frames=True)
    env.reset()
    env.step(0)
    server.wait_for(lambda: any(method == "PUT" for method, _, _ in server.requests))
    path, image = next((p, body) for method, p, body in server.requests if method == "PUT")
    assert path.endswith("/frame?episode=1&step=1&return=1.0")
    assert media_type_of(image) == "image/jpeg"


def test_without_pictures_only_the_frames_are_missing(
    server: RecordingServer, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    env = GrandstandWrapper(Stairs(), session, frames=True)
    env.reset()
    env.step(0)
    assert session.flush(10)
    assert len(of_type(server, METRICS)) == 1
    assert "frames: left out from here on" in caplog.text


def test_a_pause_holds_the_step_and_a_stop_is_seen(
    server: RecordingServer, session: Session
) -> None:
    env = GrandstandWrapper(Stairs(100), session)
    env.reset()
    server.want("paused")
    session.wanted = "paused"  # as if it had come with an answer
    stepping = threading.Thread(target=env.step, args=(0,))
    stepping.start()
    stepping.join(0.2)
    assert stepping.is_alive()
    assert not env.should_stop()
    server.want("stopped")
    stepping.join(10)
    assert not stepping.is_alive()
    assert env.should_stop()


def test_it_wants_no_other_framework() -> None:
    code = (
        "import sys, grandstand.callbacks.gymnasium; "
        "print({'torch', 'stable_baselines3', 'PIL', 'fastapi'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


# --- Many side by side ----------------------------------------------------------------------------

PLACES = 3


def vector(mode: AutoresetMode, kind: str) -> VectorEnv[Any, Any, Any]:
    makers = [lambda first=place + 1: Stairs(first) for place in range(PLACES)]
    if kind == "async":
        return AsyncVectorEnv(makers, autoreset_mode=mode)
    return SyncVectorEnv(makers, autoreset_mode=mode)


def live(envs: GrandstandVectorWrapper, steps: int) -> tuple[list[int], int]:
    """Step, resetting by hand what does not reset itself; episodes ended, by place, and how many
    steps had been lived when the last one did."""
    mode = envs.metadata["autoreset_mode"]
    ended = np.zeros(PLACES, int)
    over = np.zeros(PLACES, bool)
    lived = at_last = 0
    envs.reset()
    for _ in range(steps):
        lived += PLACES - (int(over.sum()) if mode is AutoresetMode.NEXT_STEP else 0)
        _, _, terminated, truncated, _ = envs.step(np.zeros(PLACES, int))
        over = terminated | truncated
        ended += over
        if over.any():
            at_last = lived
            if mode is AutoresetMode.DISABLED:
                envs.reset(options={"reset_mask": over})
    return [int(count) for count in ended], at_last


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("kind", ["sync", pytest.param("async", marks=pytest.mark.slow)])
def test_every_episode_of_each_environment_is_told_once(
    server: RecordingServer, session: Session, mode: AutoresetMode, kind: str
) -> None:
    envs = GrandstandVectorWrapper(vector(mode, kind), session)
    ended, lived = live(envs, 40)
    envs.close()
    assert session.flush(10)
    rows = of_type(server, METRICS)
    assert [row["episode"] for row in rows] == list(range(1, sum(ended) + 1))
    for place, count in enumerate(ended):
        mine = [row for row in rows if row["extra"]["environment"] == place]
        assert told(mine) == expected(place + 1, count)
    assert rows[-1]["step"] == lived


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_it_counts_as_gymnasium_counts(
    server: RecordingServer, session: Session, mode: AutoresetMode
) -> None:
    statistics = RecordVectorStatistics(vector(mode, "sync"))
    live(GrandstandVectorWrapper(statistics, session), 60)
    assert session.flush(10)
    rows = of_type(server, METRICS)
    assert [row["current_reward"] for row in rows] == [float(r) for r in statistics.return_queue]
    assert [row["episode_length"] for row in rows] == [int(n) for n in statistics.length_queue]


def test_cart_poles_made_as_a_vector_are_shown_and_decided_upon(
    server: RecordingServer, session: Session
) -> None:
    envs = GrandstandVectorWrapper(
        gym.make_vec("CartPole-v1", 2, vectorization_mode="sync", render_mode="rgb_array"),
        session,
        policy_probabilities=lambda seen: np.array([0.5, 0.5]) if seen.shape == (4,) else None,
        frames=True,
    )
    envs.action_space.seed(1)
    envs.reset(seed=1)
    for _ in range(80):
        envs.step(envs.action_space.sample())
    server.wait_for(lambda: any(method == "PUT" for method, _, _ in server.requests))
    envs.close()
    assert session.flush(10)
    assert envs.episodes_done == len(of_type(server, METRICS)) >= 2
    assert of_type(server, DECISION)[0]["action_probabilities"] == {"0": 0.5, "1": 0.5}
