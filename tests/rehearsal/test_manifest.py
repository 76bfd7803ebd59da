"""tests/rehearsal/manifest: no write to a file of a host stays unseen."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

MANIFEST = Path(__file__).with_name("manifest")


def manifest(root: Path, *left_out: str) -> list[str]:
    command = [str(MANIFEST), str(root), *left_out]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/airlock.toml").write_text("before")
    (tmp_path / "etc/link").symlink_to("airlock.toml")
    (tmp_path / "run").mkdir()
    return tmp_path


def rewritten(root: Path) -> None:
    """Other content of the same length, and the old time of change."""
    path = root / "etc/airlock.toml"
    times = path.stat()
    path.write_text("after!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced(root: Path) -> None:
    """The same content again, as a script that always writes would have it."""
    path = root / "etc/airlock.toml"
    shutil.copy2(path, root / "etc/new")
    (root / "etc/new").rename(path)


def relinked(root: Path) -> None:
    (root / "etc/link").unlink()
    (root / "etc/link").symlink_to("airlock.tomb")


CHANGES: tuple[Callable[[Path], object], ...] = (
    rewritten, replaced, relinked,
    lambda root: (root / "etc/airlock.toml").chmod(0o600),
    lambda root: (root / "etc/airlock.toml").unlink(),
    lambda root: (root / "etc/other").mkdir(),
    lambda root: os.chown(root / "etc/airlock.toml", 1, 1),
)  # fmt: skip


def test_nothing_written_is_equal(root: Path) -> None:
    first = manifest(root)
    (root / "etc/airlock.toml").read_text()
    assert manifest(root) == first
    assert [line.split()[0] for line in first if "airlock.toml " in line]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.parametrize("change", CHANGES)
def test_change_is_seen(root: Path, change: Callable[[Path], object]) -> None:
    first = manifest(root)
    change(root)
    assert manifest(root) != first


def test_what_is_left_out_is_not_in_it(root: Path) -> None:
    first = manifest(root, "run")
    (root / "run/state").touch()
    assert manifest(root, "run") == first
    assert manifest(root) != first
