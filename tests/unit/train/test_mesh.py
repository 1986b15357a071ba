"""What ranks of one machine tell each other, between threads of one process."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from grandstand.train.mesh import Mesh
from grandstand.train.trainer import RankLost

MakeMeshes = Callable[..., list[Mesh]]


@pytest.fixture
def meshes(tmp_path: Path) -> Iterator[MakeMeshes]:
    """Makes meshes that know each other."""
    made: list[Mesh] = []

    def make(size: int, seconds: float = 20.0) -> list[Mesh]:
        made.extend(Mesh(tmp_path, rank, size, seconds) for rank in range(size))
        with ThreadPoolExecutor(size) as pool:
            list(pool.map(Mesh.connect, made))
        return made

    yield make
    for mesh in made:
        mesh.close()


@pytest.mark.parametrize("count", [0, 1, 3_000_000])
def test_everybody_gets_everybodys_bytes_in_the_order_of_ranks(
    meshes: MakeMeshes, count: int
) -> None:
    three = meshes(3)
    own = [np.full(count, 10 + rank, np.uint8) for rank in range(3)]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            told = list(pool.map(Mesh.gather, three, own))
    for every in told:
        assert [one.tobytes() for one in every] == [one.tobytes() for one in own]


def test_a_rank_that_left_is_lost_to_the_others(meshes: MakeMeshes) -> None:
    one, other = meshes(2)
    other.close()
    with pytest.raises(RankLost, match="a rank is gone"):
        one.gather(np.zeros(100, np.uint8))


def test_a_rank_that_does_not_answer_is_given_up(meshes: MakeMeshes) -> None:
    one, _ = meshes(2, seconds=0.05)
    with pytest.raises(RankLost, match=r"no answer within 0\.05 s"):
        one.gather(np.zeros(100, np.uint8))


def test_one_that_never_knocks_is_given_up(tmp_path: Path) -> None:
    alone = Mesh(tmp_path, 0, 2, 0.05)
    with pytest.raises(RankLost, match="did not meet"):
        alone.connect()
    alone.close()


def test_one_that_goes_again_at_the_door_is_lost(tmp_path: Path) -> None:
    alone = Mesh(tmp_path, 0, 2, 20.0)
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(tmp_path / "rank-0"))
    with pytest.raises(RankLost, match="one went again at the door"):
        alone.connect()
    alone.close()


def test_a_name_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 150)
    folder.mkdir()
    with pytest.raises(OSError, match="too long"):
        Mesh(folder, 0, 2, 1.0)
