"""Stable-Baselines3 and Gymnasium loops that report to a whole server in this process."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor

import grandstand
from grandstand.callbacks.gymnasium import GrandstandVectorWrapper
from grandstand.callbacks.sb3 import GrandstandCallback

from .conftest import SESSIONS, House

SMALL: dict[str, Any] = {"seed": 1, "device": "cpu"}
OFF: dict[str, Any] = {**SMALL, "learning_starts": 50, "batch_size": 16, "buffer_size": 2000}


SETTINGS: dict[type[BaseAlgorithm], dict[str, Any]] = {
    PPO: {**SMALL, "n_steps": 64, "batch_size": 64, "n_epochs": 1},
    DQN: OFF,
    SAC: {**OFF, "train_freq": 8},
}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "integrations.md"


def agent(kind: type[BaseAlgorithm], env: Any) -> BaseAlgorithm:
    return kind("MlpPolicy", env, **SETTINGS[kind])


def learn(url: str, model: BaseAlgorithm, steps: int) -> None:
    with GrandstandCallback("run", url=url) as callback:
        model.learn(steps, callback=callback, log_interval=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "env", "steps"),
    [(PPO, "CartPole-v1", 640), (DQN, "CartPole-v1", 500), (SAC, "Pendulum-v1", 600)],
)
async def test_a_training_is_seen_whole(
    serving: House, kind: type[BaseAlgorithm], env: str, steps: int
) -> None:
    watched = Monitor(gym.make(env))
    model = agent(kind, watched)
    await asyncio.to_thread(learn, serving.url, model, steps)
    seen = await serving.ok("GET", f"{SESSIONS}/run")
    assert (seen["status"], seen["algorithm"]) == ("completed", kind.__name__)
    assert seen["config"]["environment"] == env
    assert seen["current_episode"] == len(watched.get_episode_rewards())
    history = await serving.history("run", limit=1000)
    rows = [row for row in history["metrics_data"] if row.get("episode_length") is not None]
    assert [row["episode_length"] for row in rows] == watched.get_episode_lengths()
    assert [row["current_reward"] for row in rows] == pytest.approx(watched.get_episode_rewards())
    assert history["bot_decisions"]
    names = (await serving.ok("GET", f"{SESSIONS}/run/series"))["series"]
    assert {"current_reward", "time/fps", "rollout/ep_rew_mean"} <= set(names)


@pytest.mark.slow
async def test_a_spectator_sees_four_environments_train(serving: House) -> None:
    async with serving.watch(await serving.open_session("run")) as spectator:
        await spectator.next()

        def train() -> int:
            with grandstand.open_session(
                "run", algorithm="PPO", url=serving.url, resume=True
            ) as session:
                model = agent(PPO, make_vec_env("CartPole-v1", 4, seed=1))
                model.learn(512, callback=GrandstandCallback(session))
                session.flush()
                return session.sent

        sent = await asyncio.to_thread(train)
        messages = await spectator.records(sent)
    kinds = {message["type"] for message in messages}
    assert {"training_metrics", "bot_decision"} <= kinds


async def test_a_session_gone_on_with_counts_on(serving: House) -> None:
    def train() -> int:
        env = Monitor(gym.make("CartPole-v1"))
        with GrandstandCallback("run", url=serving.url, resume=True) as callback:
            agent(PPO, env).learn(128, callback=callback)
        return len(env.get_episode_rewards())

    first = await asyncio.to_thread(train)
    second = await asyncio.to_thread(train)
    history = await serving.history("run", limit=1000)
    told = [r["episode"] for r in history["metrics_data"] if r.get("episode_length") is not None]
    assert told == list(range(1, first + second + 1))


@pytest.mark.slow
async def test_an_environment_that_breaks_fails_the_session(serving: House) -> None:
    class Breaks(gym.Wrapper[Any, Any, Any, Any]):
        steps = 0

        def step(self, action: Any) -> Any:
            self.steps += 1
            if self.steps > 100:
                raise RuntimeError("the pole broke")
            return self.env.step(action)

    def train() -> None:
        with pytest.raises(RuntimeError, match="pole broke"):
            learn(serving.url, agent(PPO, Breaks(gym.make("CartPole-v1"))), 1000)

    await asyncio.to_thread(train)
    seen = await serving.ok("GET", f"{SESSIONS}/run")
    assert seen["status"] == "failed"
    assert "the pole broke" in seen["error"]["traceback"]


async def test_a_vector_of_environments_reports_to_it(serving: House) -> None:
    def play() -> int:
        with grandstand.open_session("run", algorithm="chance", url=serving.url) as session:
            envs = GrandstandVectorWrapper(
                gym.make_vec("CartPole-v1", 4, vectorization_mode="sync"), session
            )
            envs.action_space.seed(1)
            envs.reset(seed=1)
            for _ in range(100):
                envs.step(envs.action_space.sample())
            envs.close()
            return envs.episodes_done

    done = await asyncio.to_thread(play)
    seen = await serving.ok("GET", f"{SESSIONS}/run")
    assert seen["status"] == "completed"
    assert seen["current_episode"] == done
    history = await serving.history("run", limit=1000)
    assert [row["episode"] for row in history["metrics_data"]] == list(range(1, done + 1))


@pytest.mark.slow
@pytest.mark.parametrize("section", ["Stable-Baselines3", "Gymnasium"])
async def test_the_documented_scripts_run(
    serving: House, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    monkeypatch.setenv("GRANDSTAND_URL", serving.url)
    page = PAGE.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    scripts = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for script in scripts:
        short = re.sub(r"\.learn\([\d_]+", ".learn(600", script)
        await asyncio.to_thread(exec, compile(short, str(PAGE), "exec"), {})
    ended = (await serving.ok("GET", f"{SESSIONS}?status=completed"))["sessions"]
    assert len(ended) == len(scripts)
    for each in ended:
        told = await serving.history(each["session_id"])
        assert told["metrics_data"], each["session_id"]
