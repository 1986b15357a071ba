"""Makes and fills `.venv` with nothing but Python and pip; `make run` and `make test` stand on it.

    python3 scripts/environment.py base     server, page and SDK
    python3 scripts/environment.py dev      base, the training part, and what the tests need

A stamp in `.venv` remembers what was installed from which files, so a second call with nothing
changed takes no network and no time. Standard library only; the messages are for people.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import page

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)


class CannotGoOn(Exception):
    """Something this machine lacks; the message says what to do."""


def say(text: str) -> None:
    """One line for the person at the terminal."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def find_python() -> list[str]:
    """The command of a Python that is new enough: this one, else the newest on the PATH."""
    if sys.version_info >= OLDEST:
        return [sys.executable]
    for name in ("python3.14", "python3.13", "python3.12", "python3.11"):
        if found := shutil.which(name):
            return [found]
    raise CannotGoOn(
        "Grandstand needs Python 3.11 or newer; this is "
        f"{sys.version_info[0]}.{sys.version_info[1]}. Install a newer one (on Debian and Ubuntu: "
        "apt-get install python3.11 python3.11-venv) and run the same command again."
    )


def quietly(command: list[str]) -> bool:
    """Run `command` and say whether it succeeded; its output goes nowhere."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return False
    return done.returncode == 0


def interpreter(venv: Path) -> Path:
    """The environment's Python."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def works(venv: Path) -> bool:
    """Whether `venv` is an environment whose Python starts and has pip."""
    return interpreter(venv).exists() and quietly([str(interpreter(venv)), "-m", "pip", "-V"])


def make_venv(venv: Path) -> None:
    """Make `venv`, by the first way this machine knows.

    Debian and Ubuntu ship Python without `ensurepip` (it is in python3-venv), so after the plain
    way comes an environment without pip that the system's pip then fills, then virtualenv and uv.

    Raises:
        CannotGoOn: none of them worked.
    """
    if works(venv):
        return
    say("Making an environment in .venv …")
    python = find_python()
    target = str(venv)
    beside = [*python, "-m", "pip", "--disable-pip-version-check", "--python"]
    ways = [
        [[*python, "-m", "venv", "--clear", target]],
        [
            [*python, "-m", "venv", "--clear", "--without-pip", target],
            [*beside, str(interpreter(venv)), "install", "--quiet", "pip"],
        ],
        [[*python, "-m", "virtualenv", "--clear", target]],
        [["uv", "venv", "--clear", "--seed", "--python", python[0], target]],
    ]
    for steps in ways:
        if all(quietly(step) for step in steps) and works(venv):
            return
    raise CannotGoOn(
        "No virtual environment could be made: this Python has no venv module with pip, and "
        "neither virtualenv nor uv is there. On Debian and Ubuntu: apt-get install python3-venv. "
        "Elsewhere: python3 -m pip install --user virtualenv. Then run the same command again."
    )


def fingerprint(part: str) -> str:
    """What `part` is installed from, as one hex digest: unchanged means nothing to install."""
    digest = hashlib.sha256(f"{part} {sys.version_info[:2]}".encode())
    digest.update((ROOT / "pyproject.toml").read_bytes())
    digest.update((ROOT / "hatch_build.py").read_bytes())
    if page.has_sources(ROOT) and os.environ.get("SKIP_WEB") != "1":
        digest.update(page.fingerprint(ROOT).encode())
        digest.update(b"current" if page.is_current(ROOT) else b"to build")
    return digest.hexdigest()


def pip_install(venv: Path, *arguments: str) -> bool:
    """`pip install` inside the environment, errors shown; whether it succeeded."""
    command = [str(interpreter(venv)), "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", *arguments]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode == 0


def install_training_part(venv: Path) -> None:
    """Bring PyTorch the way a running server does, before anything that depends on it.

    So there is one place that knows to take the CPU build where there is no GPU. Where it does not
    work, the install that follows brings whatever build the usual index has.
    """
    code = (
        "import asyncio, sys; from grandstand.launch.runtime import Runtime; "
        "runtime = Runtime(); setup = runtime.setup(); "
        "setup.state == 'ready' or print(f'Installing the training part (about {setup.size_mb} "
        "MB on disk) …', file=sys.stderr, flush=True); asyncio.run(runtime.install())"
    )
    subprocess.run([str(interpreter(venv)), "-c", code], cwd=ROOT, stdin=subprocess.DEVNULL)


def install(part: str, venv: Path) -> None:
    """Install `part` ("base" or "dev") unless the stamp says it is there already.

    Raises:
        CannotGoOn: pip failed, and there is no earlier install to go on with.
    """
    stamp = venv / f".grandstand-{part}"
    if stamp.is_file() and stamp.read_text(encoding="ascii") == fingerprint(part):
        return
    if part == "base":
        say("Installing Grandstand and its page; the first time takes up to a minute …")
        done = pip_install(venv, "--editable", ".")
    else:
        install("base", venv)
        install_training_part(venv)
        say("Installing what the tests need …")
        done = pip_install(venv, "--editable", ".[dev]")
    if done:
        # Taken again: the install has just built the page. "dev" contains "base".
        for name in {"base", part}:
            (venv / f".grandstand-{name}").write_text(fingerprint(name), encoding="ascii")
    elif stamp.is_file():
        say("The update did not work (its reason stands above); going on with what is installed.")
    else:
        raise CannotGoOn(
            "The installation did not work; pip's reason stands above. The first one needs a "
            "network (or a package index that pip is configured for); afterwards everything runs "
            "offline. Run the same command again when there is one."
        )


def main() -> int:
    """Make the environment and install the part asked for; 0 when it stands."""
    parser = argparse.ArgumentParser(description="Make and fill Grandstand's .venv.")
    parser.add_argument("part", choices=["base", "dev"])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    chosen = parser.parse_args()
    try:
        make_venv(chosen.venv)
        install(chosen.part, chosen.venv)
    except CannotGoOn as problem:
        say(f"\n{problem}")
        return 1
    except KeyboardInterrupt:
        say("\nStopped; the same command goes on where this one ended.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
