"""Stable-Baselines3 in Gymnasium environments: counted exactly, told of, continued, played."""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from grandstand.errors import Conflict, Unavailable, ValidationFailed
from grandstand.model.frames import MAX_FRAME_BYTES, media_type_of
from grandstand.model.scenarios import Scenario, load_scenario
from grandstand.train.check import check_trainer
from grandstand.train.checkpoint import load_checkpoint, save_checkpoint
from grandstand.train.evaluate import evaluate
from grandstand.train.policy import load_policy, save_models
from grandstand.train.sb3 import Sb3Trainer
from grandstand.train.sb3_agent import Draws
from grandstand.train.sb3_policy import Sb3Policy
from grandstand.train.trainer import Diverged, Trainer, make_trainer

SMALL: dict[str, Any] = {"policy_kwargs": {"net_arch": [16]}}
OFF: dict[str, Any] = {**SMALL, "learning_starts": 20, "batch_size": 16, "buffer_size": 500}
DISCRETE: dict[str, Any] = {"id": "CartPole-v1", "actions": ["left", "right"], "max_steps": 40}
CONTINUOUS: dict[str, Any] = {"id": "Pendulum-v1", "actions": ["torque"], "max_steps": 15}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dqn": (DISCRETE, {"parameters": {**OFF, "train_freq": 4}, "steps_per_update": 60}),
    "ppo": (
        DISCRETE,
        {"parameters": {**SMALL, "n_steps": 32, "batch_size": 32}, "environments": 2},
    ),
    "a2c": (CONTINUOUS, {"parameters": SMALL, "steps_per_update": 40}),
    "sac": (CONTINUOUS, {"parameters": OFF, "steps_per_update": 40}),
    "td3": (
        CONTINUOUS,
        {
            "parameters": {**OFF, "action_noise": {"kind": "normal", "sigma": 0.1}},
            "environments": 2,
            "steps_per_update": 40,
        },
    ),
}


def scenario(algorithm: str = "dqn", environment: Any = None, **training: Any) -> Scenario:
    usual, settings = CASES[algorithm]
    return Scenario.from_mapping(
        {
            "name": f"small_{algorithm}",
            "environment": environment or usual,
            "training": {"algorithm": f"sb3:{algorithm}", **settings, **training},
        }
    )


def make(algorithm: str = "dqn", episodes: int = 200, seed: int = 3, **more: Any) -> Sb3Trainer:
    trainer = make_trainer(scenario(algorithm, **more), num_episodes=episodes, seed=seed)
    assert isinstance(trainer, Sb3Trainer)
    return trainer


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = trainer.models()["agent"]["weights"]
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- The protocol ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", CASES)
def test_every_algorithm_keeps_a_trainers_promises(algorithm: str) -> None:
    check_trainer(lambda: make(algorithm))


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_episodes_are_numbered_without_a_gap_to_exactly_the_end(algorithm: str) -> None:
    updates = list(make(algorithm, 23))
    assert [update.update for update in updates] == list(range(1, len(updates) + 1))
    rows = [update.episodes for update in updates]
    assert np.concatenate([r.episode for r in rows]).tolist() == list(range(1, 24))
    returns = np.concatenate([r.current_reward for r in rows])
    lengths = np.concatenate([r.episode_length for r in rows])
    assert returns.tolist() == lengths.tolist()  # a point a step, in CartPole
    means = np.concatenate([r.average_reward for r in rows])
    assert means[3] == pytest.approx(returns[:4].mean())
    assert means[20] == pytest.approx(returns[11:21].mean())
    assert np.concatenate([r.best_reward for r in rows]).tolist() == (
        np.maximum.accumulate(returns).tolist()
    )
    average_length = np.concatenate([r.extra["average_length"] for r in rows])
    assert average_length.tolist() == means.tolist()
    elapsed = np.concatenate([r.training_time_elapsed for r in rows])
    assert (np.diff(elapsed) >= 0).all()
    steps = [update.step for update in updates]
    assert steps == sorted(set(steps))


def test_max_steps_cuts_episodes_off() -> None:
    trainer = make("sac", 4)
    lengths = np.concatenate([update.episodes.episode_length for update in trainer])
    assert lengths.tolist() == [15] * 4


def test_what_the_library_logs_is_told_under_its_names() -> None:
    trainer = make("dqn")
    scalars = {name for update in (next(trainer), next(trainer)) for name in update.scalars}
    assert {
        "train/loss",
        "train/learning_rate",
        "train/n_updates",
        "rollout/exploration_rate",
        "steps_per_second",
    } <= scalars
    assert {"train/entropy_loss", "train/approx_kl"} <= next(make("ppo")).scalars.keys()


@pytest.mark.slow
def test_schedules_follow_the_share_of_episodes_or_the_steps_planned() -> None:
    parameters = {**OFF, "exploration_fraction": 1.0, "exploration_final_eps": 0.0}
    settings = {"parameters": parameters, "steps_per_update": 20}
    last = list(make("dqn", 40, **settings))[-1]
    rate = last.scalars["rollout/exploration_rate"]
    assert rate <= 2 / 40  # all but the last episode or two were done at the last step
    planned = make("dqn", 40, total_timesteps=400, **settings)
    for update in planned:
        expected = max(0.0, 1 - update.step / 400)
        # The last step of a run is not followed by a look at the schedule.
        assert update.scalars["rollout/exploration_rate"] == pytest.approx(expected, abs=0.01)
    assert update.step > 400


def test_networks_that_are_no_numbers_any_more_end_the_run() -> None:
    trainer = make("ppo", parameters={**CASES["ppo"][1]["parameters"], "learning_rate": 1e30})
    with pytest.raises(Diverged, match="smaller learning_rate"):
        for _ in trainer:
            pass


# --- What is seen ---------------------------------------------------------------------------------


def test_dqn_tells_its_q_values_and_how_it_chose() -> None:
    trainer = make("dqn")
    first, second = next(trainer), next(trainer)
    assert first.decisions is not None
    assert second.decisions is not None
    warming = first.decisions[0]
    assert warming.probabilities == {"left": 0.5, "right": 0.5}  # drawn before it learns
    for decision in (second.decisions[i] for i in range(len(second.decisions))):
        assert sum(decision.probabilities.values()) == pytest.approx(1)
        assert decision.q_values is not None
        best = max(decision.q_values, key=decision.q_values.__getitem__)
        rate = decision.extra["exploration_rate"]
        assert decision.probabilities[best] == pytest.approx(1 - rate / 2)
        assert decision.value == decision.q_values[best]
        assert decision.selected in ("left", "right")
        assert decision.step is not None
        assert first.step < decision.step <= second.step
    assert len(second.decisions) > 20


def test_ppo_tells_its_probabilities_and_sac_its_mean_action() -> None:
    decisions = next(make("ppo")).decisions
    assert decisions is not None
    one = decisions[len(decisions) - 1]
    assert one.probabilities.keys() == {"left", "right"}
    assert sum(one.probabilities.values()) == pytest.approx(1)
    assert one.confidence == max(one.probabilities.values())
    assert one.value is not None
    for algorithm in ("sac", "a2c", "td3"):
        trainer = make(algorithm)
        next(trainer)
        decisions = next(trainer).decisions
        assert decisions is not None
        one = decisions[0]
        assert one.probabilities == {}
        assert -2 <= one.extra["torque"] <= 2
        assert -2 <= one.extra["taken/torque"] <= 2
        assert one.selected.startswith("torque ")
        assert one.value is not None


@pytest.mark.slow
def test_frames_are_jpegs_of_env_0_at_most_ten_a_second() -> None:
    trainer = make("dqn")
    began = perf_counter()
    frames = [update.frame for update in trainer if update.frame is not None]
    assert 1 <= len(frames) <= 1 + 10 * (perf_counter() - began)
    for frame in frames:
        assert media_type_of(frame.image) == frame.media_type == "image/jpeg"
        assert len(frame.image) <= MAX_FRAME_BYTES
        assert (frame.width, frame.height) == (600, 400)
        assert 1 <= frame.episode <= 200
        assert 0 <= frame.ret <= 40


# --- Going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["dqn", pytest.param("sac", marks=pytest.mark.slow), "ppo"])
def test_a_continued_run_has_everything_but_the_episode_that_was_running(
    algorithm: str, tmp_path: Path
) -> None:
    first = make(algorithm)
    for _ in range(4):
        next(first)
    path = save_checkpoint(
        tmp_path, first.episodes_done, first.state_dict(), first.models(), {}, []
    )
    at = (first.step, first.updates, first.episodes_done)
    kept = weights(first)
    rows = next(first).episodes  # what happens after the checkpoint does not leak into it
    assert not same(weights(first), kept)
    second = make(algorithm, seed=99)
    second.load_state_dict(load_checkpoint(path).state)
    assert (second.step, second.updates, second.episodes_done) == at
    assert same(weights(second), kept)
    again = second.state_dict()
    told = load_checkpoint(path).state
    assert _plain(again["agent"]["parameters"]) == _plain(told["agent"]["parameters"])
    assert again["agent"]["counters"] == told["agent"]["counters"]
    assert again["episodes"] == told["episodes"]
    assert _plain(again["draws"]) == _plain(told["draws"])
    if algorithm != "ppo":
        one, other = told["agent"]["replay"], again["agent"]["replay"]
        assert one["position"] == other["position"] == len(one["rewards"]) == min(at[0], 500)
        assert torch.equal(one["observations"], other["observations"])
        # The transition before the cut ends its episode, cut off.
        assert other["dones"][-1, 0] == 1
        assert other["timeouts"][-1, 0] == (1 - one["dones"][-1, 0] or one["timeouts"][-1, 0])
        assert torch.equal(one["dones"][:-1], other["dones"][:-1])
    more = next(second)
    assert more.update == at[1] + 1
    assert more.episodes.episode.tolist()[:1] in ([], rows.episode.tolist()[:1])
    assert more.scalars["train/n_updates"] > 0


def _plain(item: Any) -> Any:
    if isinstance(item, torch.Tensor):
        return item.numpy().tobytes()
    if isinstance(item, dict):
        return {key: _plain(value) for key, value in item.items()}
    return [_plain(value) for value in item] if isinstance(item, list) else item


def test_a_run_that_was_never_asked_for_anything_can_be_continued() -> None:
    other = make("sac")
    other.load_state_dict(make("sac").state_dict())
    assert next(other).update == 1


def test_a_full_replay_buffer_comes_back_whole() -> None:
    parameters = {**OFF, "buffer_size": 50}
    first, second = (make("sac", parameters=parameters) for _ in range(2))
    for _ in range(3):
        next(first)
    state = first.state_dict()
    assert state["agent"]["replay"]["full"]
    assert len(state["agent"]["replay"]["rewards"]) == 50
    second.load_state_dict(state)
    again = second.state_dict()["agent"]["replay"]
    assert again["position"] == state["agent"]["replay"]["position"]
    assert torch.equal(again["actions"], state["agent"]["replay"]["actions"])


def test_the_start_after_a_cut_is_not_the_first_one_again() -> None:
    first, second = make("dqn"), make("dqn")
    start = next(make("dqn"))
    next(first)
    second.load_state_dict(first.state_dict())
    again = next(second)
    assert again.decisions is not None
    assert start.decisions is not None
    assert again.decisions[0].q_values != start.decisions[0].q_values
    assert again.decisions[0].extra["episode_step"] == 1


def test_a_state_of_another_scenario_is_refused() -> None:
    state = make("dqn").state_dict()
    with pytest.raises(Conflict, match="another scenario"):
        make("ppo").load_state_dict(state)
    more = make("dqn", 201)
    more.load_state_dict(state)  # another number of episodes is no other scenario
    assert next(more).update == 1


def test_two_runs_in_turns_do_not_disturb_one_another_nor_anybody_else() -> None:
    alone = make("dqn")
    expected = [next(alone).scalars["rollout/exploration_rate"] for _ in range(3)]
    kept = weights(alone)
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    one, other = make("dqn"), make("dqn", seed=4)
    got = []
    for _ in range(3):
        got.append(next(one).scalars["rollout/exploration_rate"])
        next(other)
    drawn = (float(torch.rand(1)), float(np.random.rand()), random.random())
    assert got == expected
    assert same(weights(one), kept)
    assert not same(weights(other), kept)
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    assert drawn == (float(torch.rand(1)), float(np.random.rand()), random.random())


def test_draws_go_on_from_their_state() -> None:
    one, other = Draws(1), Draws(2)
    with one:
        np.random.standard_normal()
    buffer = io.BytesIO()
    torch.save(one.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))

    def draw(draws: Draws) -> tuple[float, ...]:
        with draws:
            return float(torch.rand(1)), float(np.random.standard_normal()), random.random()

    assert draw(one) == draw(other)


# --- Acting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", CASES)
def test_a_saved_agent_acts_as_the_one_that_was_trained(algorithm: str, tmp_path: Path) -> None:
    trainer = make(algorithm)
    next(trainer)
    paths = save_models(trainer.models(), tmp_path, "small")
    policy = load_policy(paths["agent"])
    assert isinstance(policy, Sb3Policy)
    assert policy.scenario == scenario(algorithm, num_episodes=200)
    assert policy.episodes == trainer.episodes_done
    env = gym.make(policy.scenario.gymnasium.id)
    seen = [env.observation_space.sample().clip(-3, 3) for _ in range(5)]
    for observation in seen:
        action = policy.act(observation)
        expected, _ = trainer._agent.policy.predict(observation, deterministic=True)
        assert np.array_equal(action, expected)
        assert isinstance(action, np.ndarray)
        assert env.action_space.contains(action)
        assert np.array_equal(policy.act(observation.tolist()), expected)
    policy.reseed(7)
    drawn = [policy.act(seen[0], greedy=False).tolist() for _ in range(20)]
    policy.reseed(7)
    assert drawn == [policy.act(seen[0], greedy=False).tolist() for _ in range(20)]
    if algorithm != "td3":  # which has no chance in it
        assert len({str(one) for one in drawn}) > 1
    assert load_policy(tmp_path).episodes == policy.episodes


def test_an_observation_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    paths = save_models(make("dqn").models(), tmp_path, "small")
    policy = load_policy(paths["agent"])
    for wrong in ([1, 2, 3], [[1, 2, 3, 4]], [1, 2, 3, float("nan")], "left", None, {"a": 1}, 3):
        with pytest.raises(ValidationFailed, match="4 finite numbers, as CartPole-v1 gives it"):
            policy.act(wrong)


@pytest.mark.parametrize("algorithm", ["dqn", "sac"])
def test_an_evaluation_counts_returns_and_lengths_and_knows_no_optimum(
    algorithm: str, tmp_path: Path
) -> None:
    paths = save_models(make(algorithm).models(), tmp_path, "small")
    policy = load_policy(paths["agent"])
    told = evaluate(policy, episodes=40, seed=1, trajectories=2)
    assert told == evaluate(load_policy(paths["agent"]), episodes=40, seed=1, trajectories=2)
    assert told != evaluate(policy, episodes=40, seed=2, trajectories=2)
    found = told.to_mapping()
    for name in ("months_mean", "score", "optimum", "uniform", "best_constant"):
        assert found[name] is None
    assert told.return_se > 0
    assert len(told.trajectories) == 2
    rewards = told.trajectories[0]["reward"]
    assert len(rewards) == len(told.trajectories[0]["action"])
    if algorithm == "dqn":
        assert told.return_mean == told.length_mean == pytest.approx(sum(rewards), abs=30)
    else:
        assert told.length_mean == 15


def test_an_agent_is_not_evaluated_where_it_cannot_act(tmp_path: Path) -> None:
    paths = save_models(make("dqn").models(), tmp_path, "small")
    policy = load_policy(paths["agent"])
    with pytest.raises(ValidationFailed, match="cannot act in Pendulum-v1"):
        evaluate(policy, scenario("sac"), episodes=2)
    with pytest.raises(ValidationFailed, match="is a household"):
        evaluate(policy, load_scenario("balanced"), episodes=2)


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "parameters", "words"),
    [
        (
            "dqn",
            {"learnin_rate": 1, "n_epochs": 3},
            ["training.parameters.learnin_rate", "training.parameters.n_epochs", "DQN"],
        ),
        ("dqn", {"seed": 3}, ["training.parameters.seed"]),
        ("dqn", {"replay_buffer_class": "x"}, ["training.parameters.replay_buffer_class"]),
        ("dqn", {"learning_rate": "fast"}, ["learning_rate is 'fast'", "lin_X"]),
        ("dqn", {"policy": "LstmPolicy"}, ["parameters.policy is 'LstmPolicy'", "MlpPolicy"]),
        ("dqn", {"policy_kwargs": {"net": [3]}}, ["policy_kwargs.net", "net_arch"]),
        ("dqn", {"policy_kwargs": {"activation_fn": "no"}}, ["activation_fn is 'no'", "relu"]),
        ("dqn", {"policy_kwargs": 3}, ["policy_kwargs is 3", "mapping"]),
        ("dqn", {"train_freq": [1, "week"]}, ["these parameters", "week"]),
        ("td3", {"action_noise": {"sigma": "x"}}, ["action_noise"]),
        ("ppo", {"n_steps": "many"}, ["cannot be made for this environment"]),
    ],
)
def test_bad_parameters_are_named(
    algorithm: str, parameters: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ValidationFailed) as caught:
        make(algorithm, parameters=parameters)
    for word in words:
        assert word in caught.value.message
    assert caught.value.details["errors"][0]["field"].startswith("training.parameters")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"id": "CartPole-v99"}, "'CartPole-v99' cannot be made"),
        ({"id": "Nowhere-v0"}, "'Nowhere-v0' cannot be made"),
        ({"id": "no_such_package:It-v0"}, "the package no_such_package is not installed"),
        ({"id": "CartPole-v1", "kwargs": {"gravity": 3}}, "gravity"),
        ({"id": "CartPole-v1", "actions": ["left"]}, "1 names, but there are 2"),
        ({"id": "Pendulum-v1"}, "sb3:dqn cannot be made for this environment"),
    ],
)
def test_an_environment_that_cannot_be_made_says_why(
    environment: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationFailed, match=words):
        make(environment=environment)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationFailed, match="device is 'tpu'"):
        make_trainer(scenario(), device="tpu")


def test_without_the_library_the_line_that_installs_it_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths = save_models(make("dqn").models(), tmp_path, "small")
    for name in list(sys.modules):
        if name.startswith("grandstand.train.sb3"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    for ask in (lambda: make_trainer(scenario()), lambda: load_policy(paths["agent"])):
        with pytest.raises(Unavailable) as caught:
            ask()
        assert "pip install 'grandstand[sb3]'" in caught.value.detail


# --- Other kinds of environments ------------------------------------------------------------------


class Corridor(gym.Env[Any, Any]):
    """Four steps to the right; seen and acted in ways that CartPole is not."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, seen: str, act: str = "discrete") -> None:
        self.kind = seen
        kinds: dict[str, spaces.Space[Any]] = {
            "number": spaces.Discrete(5),
            "nested": spaces.Dict(
                {"at": spaces.Discrete(5), "far": spaces.Box(0, 9, (2,), np.float32)}
            ),
            "picture": spaces.Box(0, 255, (36, 36, 3), np.uint8),
        }
        self.observation_space = kinds[seen]
        self.action_space = (
            spaces.MultiDiscrete([2, 3]) if act == "compound" else spaces.Discrete(2)
        )
        self.at = 0

    def _seen(self) -> Any:
        if self.kind == "nested":
            return {"at": self.at, "far": np.full(2, self.at, np.float32)}
        if self.kind == "picture":
            return np.full((36, 36, 3), 50 * self.at, np.uint8)
        return self.at

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.at = min(self.at + int(np.ravel(action)[0]), 4)
        return self._seen(), float(self.at), self.at == 4, False, {}


@pytest.fixture
def corridor() -> Iterator[str]:
    gym.register("Corridor-v0", entry_point=Corridor, max_episode_steps=20)
    yield "Corridor-v0"
    del gym.registry["Corridor-v0"]


@pytest.mark.parametrize(
    ("seen", "observation"),
    [
        ("number", 2),
        ("nested", {"at": 2, "far": [1.0, 2.0]}),
        pytest.param("picture", np.zeros((36, 36, 3)).tolist(), marks=pytest.mark.slow),
    ],
)
def test_whatever_is_seen_is_learned_saved_and_acted_on(
    corridor: str, tmp_path: Path, seen: str, observation: Any
) -> None:
    parameters: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 1}
    trainer = make(
        "ppo", 12, environment={"id": corridor, "kwargs": {"seen": seen}}, parameters=parameters
    )
    updates = list(trainer)
    assert trainer.episodes_done == 12
    assert all(update.frame is None for update in updates)  # it draws nothing
    paths = save_models(trainer.models(), tmp_path, "corridor")
    policy = load_policy(paths["agent"])
    assert policy.act(observation).tolist() in (0, 1)
    assert policy.action_names == ("0", "1")
    assert evaluate(policy, episodes=3).length_mean >= 4


def test_a_compound_action_is_told_in_numbers(corridor: str, tmp_path: Path) -> None:
    environment = {"id": corridor, "kwargs": {"seen": "number", "act": "compound"}}
    trainer = make("ppo", 6, environment=environment)
    decisions = next(trainer).decisions
    assert decisions is not None
    assert decisions[0].extra.keys() >= {"action_0", "action_1", "taken/action_0"}
    paths = save_models(trainer.models(), tmp_path, "corridor")
    assert load_policy(paths["agent"]).act(3).shape == (2,)
