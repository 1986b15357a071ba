"""Which scalars become one record, whatever the pieces in which they are found."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.client.tensorboard.events import Entry
from grandstand.client.tensorboard.groups import MOST, Gatherer, Group, Stored
from grandstand.client.tensorboard.process import gone

FILE = "events.out.tfevents.1.host.2.3"


def entries(*told: tuple[str, int, float]) -> list[Entry]:
    return [
        Entry(offset=100 * i, index=0, wall_time=at, step=step, tag=tag, value=0.5)
        for i, (tag, step, at) in enumerate(told)
    ]


def gathered(found: list[Entry], stored: Stored | None = None) -> list[Group]:
    gatherer = Gatherer(FILE, stored or Stored())
    return gatherer.take(found) + gatherer.rest()


def shape(groups: list[Group]) -> list[tuple[str, int, list[str]]]:
    return [(group.key, group.step, list(group.values)) for group in groups]


def row(group: Group) -> dict[str, Any]:
    return {
        "timestamp": group.at.isoformat(),
        "step": max(group.step, 0),
        "extra": dict(group.values),
    }


def test_values_of_one_step_are_one_record() -> None:
    found = entries(("a", 1, 5.0), ("b", 1, 5.5), ("a", 2, 5.6), ("a", 2, 5.7), ("b", 2, 9.0))
    assert [list(group.values) for group in gathered(found)] == [["a", "b"], ["a"], ["a"], ["b"]]


def test_two_tags_for_one_field_are_two_records() -> None:
    found = entries(("charts/learning_rate", 1, 5.0), ("train/learning_rate", 1, 5.0))
    assert len(gathered(found)) == 2


def test_a_record_does_not_grow_without_end() -> None:
    found = entries(*((f"tag {i}", 1, 5.0) for i in range(MOST + 1)))
    assert [len(group.values) for group in gathered(found)] == [MOST, 1]


told = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 2), st.sampled_from([5.0, 5.5, 6.25, 8.0])),
    max_size=20,
)


@given(told, st.data())
def test_it_does_not_matter_in_which_pieces_they_are_found(
    told: list[tuple[str, int, float]], data: st.DataObject
) -> None:
    found = entries(*told)
    cut = data.draw(st.integers(0, len(found)))
    gatherer = Gatherer(FILE, Stored())
    pieces = gatherer.take(found[:cut]) + gatherer.take(found[cut:]) + gatherer.rest()
    assert shape(pieces) == shape(gathered(found))


@given(told, st.data())
def test_a_group_that_was_reported_half_is_known_again(
    told: list[tuple[str, int, float]], data: st.DataObject
) -> None:
    found = entries(*told)
    cut = data.draw(st.integers(0, len(found)))
    first = gathered(found[:cut])
    keys = {group.key for group in first}
    second = gathered(found, Stored(map(row, first)))
    stored = first + [group for group in second if group.key not in keys]
    assert sorted((group.step, tag) for group in stored for tag in group.values) == sorted(
        (entry.step, entry.tag) for entry in found
    )


def test_a_long_file_name_makes_no_key_that_is_too_long() -> None:
    (first,) = entries(("a", 1, 5.0))
    assert len(Group("e" * 300, first).key) <= 128


def test_a_writer_is_gone_only_where_that_can_be_told(tmp_path: Path) -> None:
    here, mine = socket.gethostname(), os.getpid()
    nobody = 2**22 + 1  # more than there can be
    begun = 4_000_000_000
    for name, expected in (
        (f"events.out.tfevents.{begun}.{here}.{nobody}.0", Path("/proc/self/fd").is_dir()),
        (f"events.out.tfevents.{begun}.{here}.{mine}.0", False),
        (f"events.out.tfevents.{begun}.elsewhere.{nobody}.0", False),
        (f"events.out.tfevents.{begun}.{here}", False),
    ):
        path = tmp_path / name
        path.touch()
        assert gone(path) is expected, name
        with path.open("ab"):
            assert not gone(path)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_a_process_that_got_the_number_later_is_not_the_writer(tmp_path: Path) -> None:
    path = tmp_path / f"events.out.tfevents.1000000000.{socket.gethostname()}.{os.getpid()}.0.v2"
    path.touch()
    assert gone(path)
