"""Event files that the real writer of PyTorch wrote, as this package reads them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grandstand.client.tensorboard.events import Bins, EventFile, Picture, masked_crc
from grandstand.client.tensorboard.follow import hyperparameters
from grandstand.model.media import look_at

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own dependencies warn when imported
    from torch.utils.tensorboard import SummaryWriter

TABLE = "|param|value|\n|-|-|\n|seed|1|\n|lr|0.5|"


def written(folder: Path, steps: int) -> Path:
    writer: Any = SummaryWriter(str(folder))
    writer.add_text("hyperparameters", TABLE)
    for step in range(steps):
        writer.add_scalar("charts/episodic_return", step * 0.5, step, walltime=1000.25 + step)
    writer.add_scalar("new", 2.5, 7, new_style=True)
    writer.add_scalar("double", 0.1, 8, new_style=True, double_precision=True)
    writer.add_scalar("nan", float("inf"), 9)
    writer.close()
    (path,) = folder.glob("*tfevents*")
    return path


def test_everything_the_real_writer_wrote_is_read(tmp_path: Path) -> None:
    found = list(EventFile(written(tmp_path, 5)).news())
    by_tag = {entry.tag: entry for entry in found}
    returns = [e for e in found if e.tag == "charts/episodic_return"]
    assert [(e.step, e.value, e.wall_time) for e in returns] == [
        (step, step * 0.5, 1000.25 + step) for step in range(5)
    ]
    assert by_tag["new"].value == 2.5
    assert by_tag["double"].value == 0.1
    assert by_tag["nan"].value == float("inf")
    table = by_tag["hyperparameters/text_summary"].value
    assert isinstance(table, str)
    assert hyperparameters(table) == {"seed": "1", "lr": "0.5"}


def test_a_file_that_grows_by_single_bytes_is_read_once(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole", 3).read_bytes()
    expected = list(EventFile(next((tmp_path / "whole").iterdir())).news())
    path = tmp_path / "growing"
    path.touch()
    file, found = EventFile(path), []
    with path.open("ab", buffering=0) as growing:
        for byte in whole:
            growing.write(bytes([byte]))
            found += list(file.news())
    assert found == expected


@pytest.mark.parametrize("shift", [1, 12], ids=["length", "data"])
def test_damage_is_said_and_harmless(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, shift: int
) -> None:
    path = written(tmp_path, 3)
    clean = list(EventFile(path).news())
    data = bytearray(path.read_bytes())
    at = clean[2].offset
    data[at + shift] ^= 0xFF
    path.write_bytes(data)
    file = EventFile(path)
    found = list(file.news())
    expected = clean[:2] if shift == 1 else clean[:2] + clean[3:]
    assert found == expected
    assert file.damaged is (shift == 1)
    assert "damaged" in caplog.text


def test_the_checksum_is_the_one_of_the_standard() -> None:
    crc = 0xE3069283  # RFC 3720: of the digits 1 to 9
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    assert masked_crc(b"123456789") == masked


def test_histograms_and_images_of_the_real_writer_are_read_where_asked_for(
    tmp_path: Path,
) -> None:
    values = np.random.default_rng(1).normal(size=500)
    path = written(tmp_path, 1)
    writer: Any = SummaryWriter(str(tmp_path / "more"))
    writer.add_histogram("auto", values, 3, bins="auto")
    writer.add_histogram("wide", values, 3)
    writer.add_histogram("same", np.full(9, 2.0), 3)
    writer.add_image("red", np.full((3, 4, 6), 255, np.uint8), 4)
    writer.add_text("note", "words", 5)
    writer.close()
    (more,) = (tmp_path / "more").glob("*tfevents*")
    assert [e.tag for e in EventFile(more).news()] == ["note/text_summary"]
    found = {e.tag: e for e in EventFile(more, media=True).news()}
    for tag in ("auto", "wide", "same"):
        told = found[tag].value
        assert isinstance(told, Bins)
        assert len(told.edges) == len(told.counts) + 1
        assert all(low < high for low, high in zip(told.edges, told.edges[1:], strict=False))
    auto, same = found["auto"].value, found["same"].value
    assert isinstance(auto, Bins)
    counts, edges = np.histogram(values, "auto")
    assert auto.counts == tuple(counts)
    assert auto.edges == pytest.approx(tuple(edges))
    assert isinstance(same, Bins)
    assert sum(same.counts) == 9
    red = found["red"].value
    assert isinstance(red, Picture)
    assert look_at(red.image) == ("image/png", 6, 4)
    # Without being asked for, they are left out of what was read so far too.
    assert len(list(EventFile(path, media=True).news())) == len(list(EventFile(path).news()))
