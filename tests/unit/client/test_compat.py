"""Scripts written for other trackers, one import line changed."""

from __future__ import annotations

import io
from argparse import Namespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from grandstand.compat import saying, wandb
from grandstand.compat.tensorboard import SummaryWriter
from grandstand.model.media import MEDIA
from grandstand.model.telemetry import METRICS

from .conftest import RecordingServer


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saying, "_said", set())
    monkeypatch.setattr(wandb, "run", None)


def events(server: RecordingServer, name: str) -> list[dict[str, Any]]:
    return [row for row in server.rows() if row.get("event") == name]


def metrics(server: RecordingServer) -> list[dict[str, Any]]:
    return [row for b in server.batches for r in b.records if r.type == METRICS for row in r.rows()]


# ---- TensorBoard ---------------------------------------------------------------------------------


def test_a_summary_writer_reports_scalars_texts_and_hyperparameters(
    server: RecordingServer,
) -> None:
    writer = SummaryWriter("runs/CartPole__ppo__1", url=server.url, algorithm="PPO")
    writer.add_text("hyperparameters", "|param|value|\n|-|-|\n|seed|1|\n|gamma|0.99|")
    writer.add_text("note", "so far so good", 5)
    for step in range(1, 4):
        writer.add_scalar("charts/episodic_return", np.float32(step * 10), step * 100)
        writer.add_scalar("losses/value_loss", 0.5, global_step=step * 100)
    writer.add_scalars("q", {"left": 1.0, "right": 2.0}, 400)
    writer.add_hparams({"lr": 0.1}, {"hparam/score": 7.0})
    writer.close()

    opening = server.requests[0][2]
    assert opening["training_session_id"] == "CartPole__ppo__1"
    assert opening["algorithm"] == "PPO"
    rows = metrics(server)
    returns = [r for r in rows if "current_reward" in r]
    assert [(r["episode"], r["step"], r["current_reward"]) for r in returns] == [
        (1, 100, 10.0),
        (2, 200, 20.0),
        (3, 300, 30.0),
    ]
    assert [r["extra"]["charts/episodic_return"] for r in returns] == [10.0, 20.0, 30.0]
    assert [r["extra"]["losses/value_loss"] for r in rows if "losses/value_loss" in r["extra"]] == [
        0.5
    ] * 3
    assert any(r["extra"].get("q/right") == 2.0 for r in rows)
    assert any(r["extra"].get("hparam/score") == 7.0 for r in rows)
    told = [e["config"] for e in events(server, "configuration")]
    assert told == [{"seed": "1", "gamma": "0.99"}, {"lr": 0.1}]
    (note,) = [r.value for b in server.batches for r in b.records if r.type == "text"]
    assert (note.name, note.text, note.step) == ("note", "so far so good", 5)
    assert server.posted("/finish")[0]["status"] == "completed"


def test_a_summary_writer_reports_histograms_and_images(server: RecordingServer) -> None:
    picture = np.zeros((3, 4, 6))
    picture[0] = 1.0
    with SummaryWriter("runs/x", url=server.url) as writer:
        writer.add_histogram("weights", torch.arange(101.0), 7, bins=10, walltime=1000.25)
        writer.add_histogram("more", np.arange(101.0), 7, max_bins=5)
        writer.add_image("red", torch.tensor(picture), 7)
        writer.add_image("red/last", picture.transpose(1, 2, 0), 7, dataformats="HWC")
        writer.add_image("grey", np.zeros((4, 6), np.uint8), 7, dataformats="HW")
    told = {r.value.name: r for b in server.batches for r in b.records}
    weights = told["weights"].value
    assert weights.counts == [10] * 9 + [11]
    assert (weights.step, weights.timestamp.timestamp()) == (7, 1000.25)
    assert len(told["more"].value.counts) == 5
    for name in ("red", "red/last"):
        shown = np.asarray(PIL.Image.open(io.BytesIO(told[name].image)))
        assert shown.shape == (4, 6, 3)
        assert (shown == [255, 0, 0]).all()
    assert (told["grey"].value.width, told["grey"].value.height) == (6, 4)


def test_what_a_summary_writer_leaves_out_it_says_once(
    server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    with SummaryWriter("runs/x", url=server.url) as writer:
        for _ in range(3):
            writer.add_graph(object())
            writer.add_video("play", np.zeros((1, 2, 3, 4, 4)))
        with pytest.raises(AttributeError, match="no attribute 'export'"):
            _ = writer.export
    assert caplog.text.count("add_video is not reported") == 1
    assert caplog.text.count("add_graph is not reported") == 1


def test_a_writer_left_by_an_exception_fails_its_session(server: RecordingServer) -> None:
    def train() -> None:
        with SummaryWriter("runs/y", url=server.url) as writer:
            writer.add_scalar("a", 1.0, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert server.posted("/finish")[0]["status"] == "failed"


# ---- wandb ---------------------------------------------------------------------------------------


def test_a_script_written_for_wandb_reports(server: RecordingServer) -> None:
    run = wandb.init(
        project="cartpole",
        name="first",
        id="run-1",
        config=Namespace(lr=0.1, algorithm="PPO"),
        tags=["x"],
        url=server.url,
    )
    assert wandb.run is run
    assert wandb.config.lr == wandb.config["lr"] == 0.1
    wandb.config.update({"batch": 64})
    wandb.config.seed = 3
    for i in range(3):
        wandb.log({"reward": float(i), "loss": {"policy": 0.5}})
    wandb.log({"a": 1}, commit=False)
    wandb.log({"b": 2}, step=10)
    wandb.log({"weights": wandb.Histogram([1.0, 2.0, 3.0], num_bins=2), "last": 3})
    made = wandb.Histogram(np_histogram=np.histogram([1.0, 2.0], bins=1))
    wandb.log({"made": made, "play": [wandb.Image(np.zeros((4, 6, 3), np.uint8), caption="so")]})
    assert wandb.summary["reward"] == 2.0
    wandb.summary["best"] = 9.0
    wandb.finish()
    assert wandb.run is None

    opening = server.requests[0][2]
    assert opening["config"] == {"lr": 0.1, "algorithm": "PPO"}
    assert opening["algorithm"] == "PPO"
    assert opening["tags"] == ["x", "cartpole"]
    rows = metrics(server)
    assert [r["step"] for r in rows] == [0, 1, 2, 10, 10]
    media = {r.value.name: r.value for b in server.batches for r in b.records if r.type in MEDIA}
    assert {name: one.step for name, one in media.items()} == {
        "weights": 10,
        "made": 11,
        "play/0": 11,
    }
    assert (media["weights"].counts, media["made"].counts) == ([1, 2], [2])
    assert (media["play/0"].width, media["play/0"].caption) == (6, "so")
    assert [r["extra"].get("loss/policy") for r in rows[:3]] == [0.5] * 3
    assert rows[3]["extra"] == {"a": 1, "b": 2}
    assert rows[4]["extra"] == {"last": 3}
    (told,) = events(server, "configuration")
    assert told["config"] == {"batch": 64, "seed": 3}
    finished = server.posted("/finish")[0]
    assert finished["status"] == "completed"
    assert finished["final_metrics"]["best"] == 9.0


def test_another_init_finishes_the_run_before_and_exit_codes_tell(server: RecordingServer) -> None:
    wandb.init(id="one", url=server.url)
    with wandb.init(id="two", url=server.url) as second:
        second.log({"a": 1})
        second.finish(exit_code=1)
    first, failed = server.posted("/finish")
    assert (first["status"], failed["status"]) == ("completed", "failed")


def test_what_is_known_of_wandb_and_left_out_is_said_once_and_the_rest_is_an_error(
    server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    wandb.init(id="run", url=server.url)
    for _ in range(2):
        wandb.watch(object())
        wandb.log({"table": wandb.Table(columns=["a"])})
    assert caplog.text.count("wandb.watch is left out") == 1
    with pytest.raises(AttributeError, match="there are init, log"):
        _ = wandb.no_such_thing
    wandb.finish()


def test_without_init_a_log_says_so_and_disabled_asks_no_server() -> None:
    with pytest.raises(RuntimeError, match=r"call wandb\.init"):
        wandb.log({"a": 1})
    run = wandb.init(mode="disabled", url="http://127.0.0.1:9")
    run.log({"a": 1})
    run.finish()
