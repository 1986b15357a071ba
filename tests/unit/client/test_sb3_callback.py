"""The callback for Stable-Baselines3: what it reports is what was lived, and it harms nobody."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecMonitor,
    VecNormalize,
)

import grandstand
from grandstand.callbacks.sb3 import GrandstandCallback, GrandstandOutputFormat
from grandstand.client.session import Session
from grandstand.errors import Conflict
from grandstand.model.frames import media_type_of
from grandstand.model.telemetry import DECISION, METRICS

from .conftest import RecordingServer, forget_sessions

ON: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "n_epochs": 1}
OFF: dict[str, Any] = {"learning_starts": 20, "batch_size": 8, "buffer_size": 200, "train_freq": 8}


class Ladder(gym.Env[Any, Any]):
    """Episodes whose k-th has k + 1 steps (up to 7, then from 1 again), each worth `pay`.

    Attributes:
        lived: length of each finished episode.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self, pay: float = 1.0, *, fails_after: int | None = None) -> None:
        self.pay = pay
        self.render_mode = "rgb_array"
        self.fails_after = fails_after
        self.steps = 0
        self.lived: list[int] = []
        self.at_step: Callable[[int], None] = lambda step: None
        self._length = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._length = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.at_step(self.steps)
        if self.steps == self.fails_after:
            raise RuntimeError("the ladder broke")
        self._length += 1
        over = self._length > len(self.lived) % 7
        if over:
            self.lived.append(self._length)
        return np.full(2, 0.1, np.float32), self.pay, over, False, {"is_success": over}

    def render(self) -> Any:
        return np.full((48, 64, 3), 80, np.uint8)


def made(cls: type[BaseAlgorithm], env: Any, policy: str = "MlpPolicy") -> BaseAlgorithm:
    """A small agent, always the same one."""
    settings = {"policy_kwargs": {"net_arch": [8]}, "seed": 1, "device": "cpu"}
    return cls(policy, env, **settings, **(ON if cls is PPO else OFF))


def side_by_side(*envs: gym.Env[Any, Any]) -> VecEnv:
    return DummyVecEnv([lambda env=env: env for env in envs])  # type: ignore[misc]


def learn(server: RecordingServer, model: BaseAlgorithm, steps: int, **more: Any) -> Any:
    callback = GrandstandCallback("run", url=server.url, **more)
    model.learn(steps, callback=callback)
    assert callback.session is not None
    return callback


def episodes(server: RecordingServer) -> list[dict[str, Any]]:
    """Stored rows of finished episodes, in order."""
    return [row for row in metrics(server) if row.get("episode_length") is not None]


def metrics(server: RecordingServer) -> list[dict[str, Any]]:
    return of_type(server, METRICS)


def decisions(server: RecordingServer) -> list[dict[str, Any]]:
    return of_type(server, DECISION)


def of_type(server: RecordingServer, type: str) -> list[dict[str, Any]]:
    """Stored rows of a kind, without what they leave open."""
    rows = [row for b in server.batches for r in b.records if r.type == type for row in r.rows()]
    for row in rows:
        row["extra"] = {k: v for k, v in (row.get("extra") or {}).items() if v is not None}
    return rows


# --- What is reported -----------------------------------------------------------------------------


@pytest.mark.parametrize("monitored", [False, True])
def test_every_episode_of_four_environments_is_told_once(
    server: RecordingServer, monitored: bool
) -> None:
    inner = [Ladder(pay) for pay in (1.0, 2.0, 3.0, 4.0)]
    envs = side_by_side(*[Monitor(env) if monitored else env for env in inner])
    learn(server, made(PPO, envs), 256)
    rows = episodes(server)
    lived = sum(len(env.lived) for env in inner)
    assert [row["episode"] for row in rows] == list(range(1, lived + 1))
    for place, env in enumerate(inner):
        mine = [row for row in rows if row["extra"]["environment"] == place]
        assert [row["episode_length"] for row in mine] == env.lived
        assert [row["current_reward"] for row in mine] == [env.pay * n for n in env.lived]
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    best = np.maximum.accumulate([row["current_reward"] for row in rows])
    assert [row["best_reward"] for row in rows] == best.tolist()
    last = np.mean([row["current_reward"] for row in rows][-100:])
    assert rows[-1]["average_reward"] == pytest.approx(last)
    assert rows[-1]["win_rate"] == 100.0


def test_a_monitor_around_the_vector_counts_as_well(server: RecordingServer) -> None:
    inner = [Ladder(), Ladder()]
    learn(server, made(PPO, VecMonitor(side_by_side(*inner))), 128)
    assert len(episodes(server)) == sum(len(env.lived) for env in inner)


def test_normalised_rewards_are_told_as_the_environment_gave_them(server: RecordingServer) -> None:
    env = Ladder(10.0)
    envs = VecNormalize(side_by_side(env))
    learn(server, made(PPO, envs), 64)
    assert [row["current_reward"] for row in episodes(server)] == [10.0 * n for n in env.lived]


def test_a_lost_life_is_no_episode(server: RecordingServer) -> None:
    class Lives(gym.Wrapper[Any, Any, Any, Any]):
        """Says done every second step, while the monitor inside knows better."""

        def __init__(self, env: Any) -> None:
            super().__init__(env)
            self.count, self.over, self.seen = 0, True, None

        def reset(self, **more: Any) -> Any:
            if self.over:
                self.seen = self.env.reset(**more)
            return self.seen

        def step(self, action: Any) -> Any:
            seen, reward, self.over, cut, info = self.env.step(action)
            self.count += 1
            return seen, reward, self.over or self.count % 2 == 0, cut, info

    env = Ladder()
    learn(server, made(PPO, side_by_side(Lives(Monitor(env)))), 64)
    assert [row["episode_length"] for row in episodes(server)] == env.lived


def test_the_loggers_scalars_arrive_at_their_step(server: RecordingServer) -> None:
    written: list[tuple[int, dict[str, Any]]] = []

    class Own(KVWriter):
        """The user's output, which must go on getting all it got."""

        def write(self, key_values: Any, key_excluded: Any, step: int = 0) -> None:
            written.append((step, dict(key_values)))

        def close(self) -> None:
            pass

    model = made(PPO, Monitor(Ladder()))
    own = Own()
    logger = Logger(None, [own])
    model.set_logger(logger)
    learn(server, model, 96)
    assert logger.output_formats == [own]
    assert [step for step, _ in written] == [32, 64, 96]
    rows = {row["step"]: row for row in metrics(server) if "time/fps" in row.get("extra", {})}
    for step, values in written:
        told = rows[step]["extra"]
        assert told["rollout/ep_rew_mean"] == pytest.approx(values["rollout/ep_rew_mean"])
        assert told["time/fps"] == values["time/fps"] == rows[step]["actions_per_second"]
        if step > 32:
            assert told["train/loss"] == pytest.approx(float(values["train/loss"]))
            assert rows[step]["loss_value"] == told["train/loss"]
            assert rows[step]["learning_rate"] == pytest.approx(3e-4)
    # What the last update logged is written by no dump; it is told all the same.
    losses = [row for row in metrics(server) if "train/loss" in row.get("extra", {})]
    assert len(losses) == 3


def test_the_writer_alone_takes_scalars_and_leaves_out_what_is_excluded(
    server: RecordingServer,
) -> None:
    with grandstand.open_session("alone", algorithm="own", url=server.url) as session:
        logger = Logger(None, [GrandstandOutputFormat(session)])
        logger.record("a/number", np.float32(0.5))
        logger.record("a/whole", 3)
        logger.record("a/text", "words")
        logger.record("a/secret", 1.0, exclude="grandstand")
        logger.record("a/table", 2.0, exclude="stdout")
        logger.dump(step=7)
        logger.close()
    (row,) = metrics(server)
    assert row["step"] == 7
    assert row["extra"] == {"a/number": 0.5, "a/whole": 3, "a/table": 2.0}


def test_the_session_says_what_is_trained(server: RecordingServer) -> None:
    model = made(DQN, "CartPole-v1")
    learn(server, model, 60, config={"mine": 1}, tags=["t"], name="For people")
    opened = server.posted("/api/training/sessions")[0]
    assert opened["training_session_id"] == "run"
    assert opened["algorithm"] == "DQN"
    assert (opened["tags"], opened["name"]) == (["t"], "For people")
    told = opened["config"]
    assert told["environment"] == "CartPole-v1"
    assert told["total_timesteps"] == 60
    assert told["train_freq"] == {"frequency": 8, "unit": "step"}
    assert (told["learning_starts"], told["seed"], told["mine"]) == (20, 1, 1)
    end = server.posted("/finish")[0]
    assert end["status"] == "completed"
    assert end["final_metrics"]["episodes"] == len(episodes(server))


# --- Decisions and frames -------------------------------------------------------------------------


def test_dqns_decisions_tell_what_it_weighed(server: RecordingServer) -> None:
    learn(server, made(DQN, Ladder()), 60, actions=["up", "down", "rest"])
    told = decisions(server)[0]
    assert set(told["action_probabilities"]) == {"up", "down", "rest"}
    assert sum(told["action_probabilities"].values()) == pytest.approx(1.0)
    assert told["selected_action"] in told["action_probabilities"]
    assert len(told["q_values"]) == 3
    assert (told["episode"], told["step"], told["extra"]["episode_step"]) == (1, 1, 1)
    assert told["extra"]["exploration_rate"] == 1.0


def test_sacs_decisions_tell_what_it_likes_and_did(server: RecordingServer) -> None:
    learn(server, made(SAC, "Pendulum-v1"), 60)
    told = decisions(server)[0]
    assert -2 <= told["extra"]["action_0"] <= 2
    assert -2 <= told["extra"]["taken/action_0"] <= 2
    assert isinstance(told["state_values"], float)


def test_a_dictionary_of_observations_is_decided_upon_as_well(server: RecordingServer) -> None:
    class Named(gym.ObservationWrapper[Any, Any, Any]):
        observation_space = spaces.Dict({"x": Ladder.observation_space})

        def observation(self, observation: Any) -> Any:
            return {"x": observation}

    learn(server, made(PPO, Named(Ladder()), policy="MultiInputPolicy"), 32)
    assert sum(decisions(server)[0]["action_probabilities"].values()) == pytest.approx(1.0)


def test_without_decisions_there_are_none(server: RecordingServer) -> None:
    learn(server, made(PPO, Ladder()), 64, decisions=False)
    assert decisions(server) == []
    assert episodes(server)


def test_frames_are_jpegs_of_environment_0(server: RecordingServer) -> None:
    learn(server, made(PPO, side_by_side(Ladder(), Ladder())), 64, frames=True)
    server.wait_for(lambda: any(method == "PUT" for method, _, _ in server.requests))
    path, image = next((p, body) for method, p, body in server.requests if method == "PUT")
    assert "/frame?episode=" in path
    assert media_type_of(image) == "image/jpeg"


def test_an_environment_that_draws_nothing_costs_only_the_frames(
    server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    learn(server, made(PPO, gym.make("CartPole-v1")), 64, frames=True)
    assert episodes(server)
    told = [r.getMessage() for r in caplog.records if r.name == "grandstand.client"]
    assert told == ["frames: left out from here on"]


def test_a_policy_that_cannot_be_asked_costs_only_the_decisions(
    server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    learn(server, made(PPO, Ladder()), 64, actions=["too", "few"])
    assert decisions(server) == []
    assert episodes(server)
    assert "decisions: left out from here on" in caplog.text


@pytest.mark.slow
def test_environments_in_processes_of_their_own_are_counted_and_shown(
    server: RecordingServer,
) -> None:
    envs = make_vec_env(
        "CartPole-v1",
        2,
        vec_env_cls=SubprocVecEnv,
        env_kwargs={"render_mode": "rgb_array", "max_episode_steps": 10},
    )
    learn(server, made(PPO, envs), 128, frames=True)
    envs.close()
    rows = episodes(server)
    assert [row["episode"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 10
    assert server.posted("/api/training/sessions")[0]["config"]["environment"] == "CartPole-v1"
    server.wait_for(lambda: any(method == "PUT" for method, _, _ in server.requests))


# --- It changes nothing ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "env"), [(PPO, "CartPole-v1"), (DQN, "CartPole-v1"), (SAC, "Pendulum-v1")]
)
def test_what_is_learned_is_the_same_with_and_without(
    server: RecordingServer, cls: type[BaseAlgorithm], env: str
) -> None:
    plain, watched = made(cls, env), made(cls, env)
    plain.set_random_seed(1)
    plain.learn(100)
    watched.set_random_seed(1)
    learn(server, watched, 100)
    assert decisions(server)
    for one, other in zip(plain.policy.parameters(), watched.policy.parameters(), strict=True):
        assert torch.equal(one, other)


# --- Steering -------------------------------------------------------------------------------------


def test_a_stop_ends_the_training_cleanly(server: RecordingServer) -> None:
    env = Ladder()
    callback = GrandstandCallback("run", url=server.url)

    def ask(step: int) -> None:
        if step == 50:
            assert callback.session is not None
            server.want("stopped")
            callback.session.wanted = "stopped"  # as if it had come with an answer

    env.at_step = ask
    made(PPO, env).learn(10_000, callback=callback)
    assert env.steps == 50
    assert callback.stopped
    assert server.posted("/finish")[0]["status"] == "stopped"


def test_a_wish_that_comes_with_the_heartbeat_is_obeyed(server: RecordingServer) -> None:
    server.want("stopped")
    env = Ladder()

    def first_hear(step: int) -> None:
        if step == 20:
            server.wait_for(lambda: server.posted("/heartbeat") != [])

    env.at_step = first_hear
    learn(server, made(PPO, env), 100_000)
    assert env.steps < 100_000
    assert server.posted("/heartbeat")[0]["listens"] == ["pause", "stop"]
    assert server.posted("/finish")[0]["status"] == "stopped"


@pytest.mark.parametrize(("answer", "status"), [("running", "completed"), ("stopped", "stopped")])
def test_a_pause_holds_the_training_until_people_decide(
    server: RecordingServer, answer: str, status: str
) -> None:
    env = Ladder()
    callback = GrandstandCallback("run", url=server.url)
    paused = threading.Event()

    def ask(step: int) -> None:
        if step == 10:
            assert callback.session is not None
            server.want("paused")
            callback.session.wanted = "paused"
            paused.set()

    env.at_step = ask
    model = made(PPO, env)
    training = threading.Thread(target=lambda: model.learn(64, callback=callback))
    training.start()
    assert paused.wait(15)
    training.join(0.3)
    assert training.is_alive()
    assert env.steps == 10
    server.want(answer)
    training.join(15)
    assert not training.is_alive()
    assert env.steps == (64 if answer == "running" else 10)
    assert server.posted("/finish")[0]["status"] == status
    assert all(row["training_time_elapsed"] >= 0 for row in episodes(server))


# --- How it ends ----------------------------------------------------------------------------------


def test_an_exception_in_the_environment_is_told_with_its_reason(server: RecordingServer) -> None:
    model = made(PPO, Ladder(fails_after=40))
    with (
        pytest.raises(RuntimeError, match="ladder broke"),
        GrandstandCallback("run", url=server.url) as callback,
    ):
        model.learn(1000, callback=callback)
    (end,) = server.posted("/finish")
    assert end["status"] == "failed"
    assert "the ladder broke" in end["reason"]
    assert "the ladder broke" in end["error"]["traceback"]
    assert model.logger.output_formats == []


def test_ctrl_c_is_a_stop(server: RecordingServer) -> None:
    env = Ladder()

    def interrupt(step: int) -> None:
        if step == 30:
            raise KeyboardInterrupt

    env.at_step = interrupt
    with (
        pytest.raises(KeyboardInterrupt),
        GrandstandCallback("run", url=server.url) as callback,
    ):
        made(PPO, env).learn(1000, callback=callback)
    assert server.posted("/finish")[0]["status"] == "stopped"


SCRIPT = """
import sys
import gymnasium as gym
from stable_baselines3 import PPO
from grandstand.callbacks.sb3 import GrandstandCallback

class Breaks(gym.Wrapper):
    steps = 0
    def step(self, action):
        self.steps += 1
        if self.steps == 40:
            {ending}
        return super().step(action)

model = PPO("MlpPolicy", Breaks(gym.make("CartPole-v1")), n_steps=32, batch_size=32)
model.learn(1000, callback=GrandstandCallback("run", url=sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "status"),
    [('raise RuntimeError("it broke")', "failed"), ("sys.exit(3)", "stopped")],
)
def test_a_process_that_ends_in_the_middle_says_why(
    server: RecordingServer, ending: str, status: str
) -> None:
    code = SCRIPT.format(ending=ending)
    done = subprocess.run(
        [sys.executable, "-c", code, server.url], capture_output=True, text=True, timeout=100
    )
    assert done.returncode != 0
    (end,) = server.posted("/finish")
    assert end["status"] == status, done.stderr
    if status == "failed":
        assert "it broke" in end["error"]["traceback"]


def test_a_second_learn_goes_on_in_the_same_session(server: RecordingServer) -> None:
    env = Ladder()
    model = made(PPO, side_by_side(env))
    callback = learn(server, model, 33)
    model.learn(33, callback=callback, reset_num_timesteps=False)
    rows = episodes(server)
    assert [row["episode"] for row in rows] == list(range(1, len(env.lived) + 1))
    # The episode that was running between the two is whole.
    assert [row["episode_length"] for row in rows] == env.lived
    first, second = server.posted("/api/training/sessions")
    assert first["training_session_id"] == second["training_session_id"]
    assert second["resume"]
    assert len(server.posted("/finish")) == 2


def test_several_learns_in_one_block_are_one_session(server: RecordingServer) -> None:
    env = Ladder()
    model = made(PPO, env)
    with GrandstandCallback("run", url=server.url) as callback:
        model.learn(32, callback=callback)
        assert server.posted("/finish") == []
        model.learn(32, callback=callback)
    assert len(server.posted("/api/training/sessions")) == 1
    (end,) = server.posted("/finish")
    assert end["status"] == "completed"
    assert end["final_metrics"]["episodes"] == len(episodes(server))


def test_a_session_that_was_given_is_left_to_its_owner(server: RecordingServer) -> None:
    with grandstand.open_session("mine", algorithm="PPO", url=server.url) as session:
        made(PPO, Ladder()).learn(32, callback=GrandstandCallback(session))
        assert server.posted("/finish") == []
        assert isinstance(session, Session)
    assert server.posted("/finish")[0]["status"] == "completed"


def test_a_name_that_is_taken_is_refused_before_the_training_begins(
    server: RecordingServer,
) -> None:
    server.script = lambda method, path, body: (
        (409, {"error": "session_exists", "message": "taken", "details": {}})
        if path == "/api/training/sessions"
        else None
    )
    env = Ladder()
    with pytest.raises(Conflict):
        learn(server, made(PPO, env), 64)
    assert env.steps == 0


# --- A server that is away ------------------------------------------------------------------------


def test_a_server_that_is_away_at_the_start_gets_everything_later(
    server: RecordingServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRANDSTAND_SPOOL", str(tmp_path))
    env = Ladder()

    def back(step: int) -> None:
        if step == 60:
            server.start()

    env.at_step = back
    server.stop()
    callback = learn(server, made(PPO, env), 128)
    server.wait_for(lambda: bool(server.posted("/finish")), 30)
    assert [row["episode_length"] for row in episodes(server)] == env.lived
    assert callback.session.dropped == 0


def test_a_server_that_goes_away_in_the_middle_misses_nothing(
    server: RecordingServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRANDSTAND_SPOOL", str(tmp_path))
    env = Ladder()
    callback = GrandstandCallback("run", url=server.url)

    def away(step: int) -> None:
        if step == 40:
            assert callback.session is not None
            assert callback.session.flush(10)
            server.stop()
        if step == 90:
            server.start()

    env.at_step = away
    made(PPO, env).learn(128, callback=callback)
    server.wait_for(lambda: bool(server.posted("/finish")), 30)
    assert [row["episode"] for row in server.rows() if row.get("episode_length")] == list(
        range(1, len(env.lived) + 1)
    )


# --- Beside other callbacks -----------------------------------------------------------------------


def test_another_callback_may_end_the_training(server: RecordingServer) -> None:
    class Enough(BaseCallback):
        def _on_step(self) -> bool:
            return self.num_timesteps < 40

    callback = GrandstandCallback("run", url=server.url)
    model = made(PPO, Ladder())
    model.learn(1000, callback=CallbackList([Enough(), callback]))
    assert not callback.stopped
    assert server.posted("/finish")[0]["status"] == "completed"


def test_reporting_turned_off_trains_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    env = Ladder()
    with GrandstandCallback(mode="disabled") as callback:
        made(PPO, env).learn(64, callback=callback)
    assert env.steps == 64
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    forget_sessions()
