"""Checkpoints: whole or passed over by name."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from grandstand.errors import NotFound, ValidationFailed
from grandstand.model.checkpoints import checkpoints, damage, newest_whole, prune
from grandstand.train.checkpoint import load_checkpoint, save_checkpoint


def save(root: Path, episode: int) -> Path:
    return save_checkpoint(
        root,
        episode,
        {"weights": torch.arange(4.0), "count": episode},
        {"high_agent": {"format": 1}, "low_agent": {"format": 1}},
        {"algorithm": "hierarchical-ppo"},
        [{"episode": episode, "average_reward": math.nan}],
    )


def test_the_documented_files_are_there_and_read_back(tmp_path: Path) -> None:
    path = save(tmp_path / "new" / "root", 100)
    assert path.name == "checkpoint_episode_100"
    assert {file.name for file in path.iterdir()} >= {
        "high_agent.pt",
        "low_agent.pt",
        "metadata.json",
        "training_history.json",
    }
    back = load_checkpoint(path)
    assert (back.episode, back.state["count"]) == (100, 100)
    assert back.metadata["algorithm"] == "hierarchical-ppo"
    assert back.state["weights"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["state.pt", "high_agent.pt", "metadata.json"])
@pytest.mark.parametrize("how", ["cut", "flipped", "gone"])
def test_a_damaged_one_is_passed_over_by_name(tmp_path: Path, name: str, how: str) -> None:
    old, new = save(tmp_path, 100), save(tmp_path, 200)
    file = new / name
    data = file.read_bytes()
    if how == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        file.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    else:
        file.unlink()
    found = newest_whole(tmp_path)
    assert found.path == old
    assert len(found.damaged) == 1
    assert "checkpoint_episode_200" in found.damaged[0]
    assert name in found.damaged[0]
    with pytest.raises(ValidationFailed, match="checkpoint_episode_200"):
        load_checkpoint(new)


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', '{"files": {}}', "{"])
def test_a_damaged_manifest_is_damage(tmp_path: Path, text: str) -> None:
    path = save(tmp_path, 1)
    (path / "manifest.json").write_text(text)
    assert "manifest" in (damage(path) or "")
    assert newest_whole(tmp_path).path is None


def test_a_manifest_cannot_reach_out_of_its_folder(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["../secret"] = {"sha256": "0" * 64, "bytes": 1}
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert "../secret" in (damage(path) or "")


def test_what_a_killed_writer_left_is_no_checkpoint_and_goes(tmp_path: Path) -> None:
    (tmp_path / ".writing_checkpoint_episode_300").mkdir(parents=True)
    (tmp_path / ".writing_checkpoint_episode_300" / "state.pt").write_bytes(b"half")
    assert newest_whole(tmp_path).path is None
    path = save(tmp_path, 400)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_same_episode_again_replaces(tmp_path: Path) -> None:
    save(tmp_path, 7)
    path = save(tmp_path, 7)
    assert damage(path) is None
    assert checkpoints(tmp_path) == [path]


def test_pruning_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for episode in (5, 40, 100, 200, 1000):
        save(tmp_path, episode)
    removed = prune(tmp_path, keep_last=2, best=40)
    assert removed == ["checkpoint_episode_5", "checkpoint_episode_100"]
    assert [path.name.split("_")[-1] for path in checkpoints(tmp_path)] == ["40", "200", "1000"]


def test_none_there_says_so(tmp_path: Path) -> None:
    assert newest_whole(tmp_path / "nowhere").path is None
    with pytest.raises(NotFound):
        load_checkpoint(tmp_path / "checkpoint_episode_1")
