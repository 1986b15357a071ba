"""The page's own unit tests and its types, with the Node it was built with."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def builder() -> Any:
    """scripts/page.py, which knows how to call npm."""
    spec = importlib.util.spec_from_file_location("page_builder", ROOT / "scripts" / "page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", ["test", "check"])
@pytest.mark.timeout(300)
def test_its_own_tests_pass(script: str) -> None:
    command, environment = builder()._npm()
    told = subprocess.run(
        [*command, "run", script],
        cwd=ROOT / "ui",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]


def test_text_files_have_a_packed_copy_and_small_ones_none(tmp_path: Path) -> None:
    page = builder()
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "large.js").write_text("let a = 1;\n" * 500)
    (tmp_path / "small.js").write_text("let a = 1;")
    (tmp_path / "font.woff2").write_bytes(bytes(5000))
    page.pack(tmp_path)
    assert [path.name for path in tmp_path.rglob("*.gz")] == ["large.js.gz"]
    before = (tmp_path / "assets" / "large.js.gz").read_bytes()
    page.pack(tmp_path)
    assert (tmp_path / "assets" / "large.js.gz").read_bytes() == before
