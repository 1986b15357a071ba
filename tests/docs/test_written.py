"""What is written is true: generated pages are fresh, commands and dependencies are documented."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from grandstand.settings.layers import extra, walk
from grandstand.settings.reference import reference

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_settings_page_is_what_the_code_says() -> None:
    assert (ROOT / "docs/settings.md").read_text() == reference(), "run `make docs`"


def test_every_setting_is_acted_on_or_says_that_it_is_not() -> None:
    """A setting nobody reads is a promise nobody keeps."""
    package = ROOT / "src" / "grandstand"
    # Attributes the code reads, not words in strings: a table of names acts on nothing.
    read = {
        node.attr
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    for path, field in walk():
        if not extra(field).get("later"):
            assert path.rpartition(".")[2] in read, f"{path}: mark it `later`, or use it"


def test_every_dependency_has_a_line_that_says_what_for() -> None:
    project = PYPROJECT["project"]
    declared = {
        re.split(r"[<>=;\[ ]", requirement)[0]
        for part in (project["dependencies"], *project["optional-dependencies"].values())
        for requirement in part
    } - {"grandstand"}
    page = (ROOT / "docs/decisions/dependencies.md").read_text()
    written = set(re.findall(r"^\| ([\w.-]+) \| (?!what for|-)", page, re.MULTILINE))
    assert written - {"package"} == declared


def test_every_make_verb_explains_itself_and_every_written_one_exists() -> None:
    verbs = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert verbs <= set(re.findall(r"make (\w+)", shown))
    for page in PAGES:
        for line in page.read_text().splitlines():
            for verb in re.findall(r"(?:^|`)make ([a-z]+)\b", line):
                assert verb in verbs, f"{page.relative_to(ROOT)}: make {verb}"


@pytest.mark.parametrize("paper", PAGES, ids=lambda paper: str(paper.relative_to(ROOT)))
def test_links_lead_somewhere(paper: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", paper.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (paper.parent / target).exists(), target


def test_the_changelog_names_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {version('grandstand')}" in text or "## Unreleased" in text


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (folder / "README.md").read_text()))
    assert listed == {file.name for file in folder.glob("*.md")} - {"README.md"}
