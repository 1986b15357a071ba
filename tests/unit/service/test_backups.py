"""Backups: what is in them, and what is refused when they are put back."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from grandstand.errors import Conflict, Unavailable, ValidationFailed
from grandstand.model.checkpoints import damage
from grandstand.service import backups, restore
from grandstand.service.backups import Places, zstd
from grandstand.store.database import Database

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def places(folder: Path) -> Places:
    return Places(f"sqlite:///{folder / 'x.db'}", {"models": folder / "models"})


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    """A folder with a database, a model shown at the documented path, and two checkpoints."""
    folder = tmp_path / "home"
    await Database.open(places(folder).database).aclose()
    session = folder / "models" / "sessions" / "run"
    session.mkdir(parents=True)
    (session / "balanced_agent.pt").write_bytes(b"weights")
    (folder / "models" / "balanced_agent.pt").symlink_to("sessions/run/balanced_agent.pt")
    (session / "checkpoints" / ".writing_x").mkdir(parents=True)
    for episode in (10, 20):
        make_checkpoint(session / "checkpoints", episode)
    return folder


def make_checkpoint(folder: Path, episode: int) -> Path:
    path = folder / f"checkpoint_episode_{episode}"
    path.mkdir(parents=True)
    listed = {}
    for name in ("state.pt", "metadata.json", "training_history.json"):
        content = f"{name} {episode}".encode()
        (path / name).write_bytes(content)
        listed[name] = {"sha256": hashlib.sha256(content).hexdigest()}
    (path / "manifest.json").write_text(json.dumps({"files": listed}))
    return path


def names(file: Path) -> list[str]:
    with zstd.open(file, "rb") as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
        return [member.name for member in tar]


def rewritten(file: Path, change: Callable[[tarfile.TarInfo], None]) -> Path:
    """A copy of a backup in which `change` was let loose on every entry."""
    target = file.with_name("changed.tar.zst")
    with (
        zstd.open(file, "rb") as packed,
        tarfile.open(fileobj=packed, mode="r|") as source,
        zstd.open(target, "wb") as packing,
        tarfile.open(fileobj=packing, mode="w|") as copy,
    ):
        for member in source:
            content = source.extractfile(member) if member.isreg() else None
            data = content.read() if content is not None else b""
            change(member)
            copy.addfile(member, io.BytesIO(data))
    return target


def test_what_was_put_in_comes_out(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.zst"
    made = backups.take(places(home), file, AT)
    assert (made.kind, made.files, made.facts.sessions, made.damaged) == ("sqlite", 9, {}, [])
    found = names(file)
    assert (found[0], found[-1]) == ("backup.json", "manifest.json")
    assert not any("writing" in name for name in found)
    newer, older = (
        found.index(f"files/models/sessions/run/checkpoints/checkpoint_episode_{n}/state.pt")
        for n in (20, 10)
    )
    assert newer < older < found.index("database")

    other = tmp_path / "other"
    done = restore.restore(places(other), file, AT)
    assert done.kept == []
    shown = other / "models" / "balanced_agent.pt"
    assert (shown.is_symlink(), shown.read_bytes()) == (True, b"weights")
    checkpoints = sorted((other / "models/sessions/run/checkpoints").iterdir())
    assert [path.name for path in checkpoints] == [f"checkpoint_episode_{n}" for n in (10, 20)]
    assert [damage(path) for path in checkpoints] == [None, None]
    assert sorted(path.name for path in other.iterdir()) == ["models", "x.db"]


def test_what_is_there_is_kept_when_it_is_put_aside(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.zst"
    backups.take(places(home), file, AT)
    (home / "models" / "new.txt").write_text("made later")
    with pytest.raises(Conflict) as refused:
        restore.restore(places(home), file, AT)
    assert refused.value.code == "would_overwrite"
    done = restore.restore(places(home), file, AT, force=True)
    aside = ".before-20260102T030405Z"
    assert done.kept == [str(home / f"x.db{aside}"), str(home / "models" / aside)]
    assert (home / "models" / aside / "new.txt").read_text() == "made later"
    assert not (home / "models" / "new.txt").exists()
    # The next backup does not carry what was put aside.
    assert not any("before" in n for n in (backups.take(places(home), file, AT), names(file))[1])


def test_a_damaged_checkpoint_is_taken_as_it_is_and_told(home: Path, tmp_path: Path) -> None:
    (home / "models/sessions/run/checkpoints/checkpoint_episode_20/state.pt").write_bytes(b"?")
    made = backups.take(places(home), tmp_path / "b.tar.zst", AT)
    (told,) = made.damaged
    assert "checkpoint_episode_20: state.pt damaged" in told
    assert restore.check(tmp_path / "b.tar.zst").files == 9


@pytest.mark.parametrize("name", ["files/models/../../x", "/etc/x", "files/x", "x"])
def test_names_that_lead_elsewhere_are_refused(home: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / "b.tar.zst"
    backups.take(places(home), file, AT)

    def change(member: tarfile.TarInfo) -> None:
        if member.name.endswith("run/balanced_agent.pt"):
            member.name = name

    bad = rewritten(file, change)
    with pytest.raises(ValidationFailed):
        restore.restore(places(tmp_path / "other"), bad, AT)
    assert list((tmp_path / "other").rglob("*")) in ([], [tmp_path / "other" / "models"])


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "sessions/../../.."])
def test_links_that_lead_elsewhere_are_refused(home: Path, tmp_path: Path, target: str) -> None:
    file = tmp_path / "b.tar.zst"
    backups.take(places(home), file, AT)

    def change(member: tarfile.TarInfo) -> None:
        if member.issym():
            member.linkname = target

    with pytest.raises(ValidationFailed):
        restore.check(rewritten(file, change))


def test_a_changed_byte_is_noticed(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.zst"
    backups.take(places(home), file, AT)
    whole = file.read_bytes()
    for at in (len(whole) // 3, len(whole) // 2, len(whole) - 8):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ValidationFailed):
            restore.check(file)


def test_a_backup_of_a_newer_version_says_which(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.zst"
    backups.take(places(home), file, AT)
    bad = tmp_path / "newer.tar.zst"
    with zstd.open(bad, "wb") as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        head = {"format": 1, "grandstand": "99.0", "schema": "9999", "database": "sqlite"}
        info = tarfile.TarInfo("backup.json")
        data = json.dumps({**head, "created_at": AT.isoformat()}).encode()
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    with pytest.raises(Conflict, match=r"99\.0, which is newer"):
        restore.restore(places(tmp_path / "other"), bad, AT)


def test_a_target_that_cannot_be_written(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot be written"):
        backups.take(places(home), tmp_path / "file" / "b.tar.zst", AT)
