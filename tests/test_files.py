"""A file is written whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from bootstrap.files import write


def test_an_old_file_is_replaced_with_the_new_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    write(path, b"new", mode=0o440)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_mode_only_the_owner_reads_it(tmp_path: Path) -> None:
    write(tmp_path / "file", b"")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_the_owner_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "file", b"", owner=61000)
    status = (tmp_path / "file").stat()
    assert (status.st_uid, status.st_gid) == (61000, 61000)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["absent/file", "directory"])
def test_a_write_that_fails_names_the_file_and_not_the_unfinished_one(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match=r"\[Errno") as failed:
        write(tmp_path / name, b"new")
    assert str(failed.value).endswith(f": '{tmp_path / name}'")


def test_a_link_in_place_of_the_unfinished_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / f".file.{os.getpid()}.new").symlink_to(tmp_path / "victim")
    write(tmp_path / "file", b"new")
    assert not (tmp_path / "victim").exists()
    assert not (tmp_path / "file").is_symlink()


def test_interruption_after_the_rename_keeps_the_file_and_the_reason(tmp_path: Path) -> None:
    class Interrupting(type(tmp_path)):  # type: ignore[misc]  # the platform's own path class
        def rename(self, target: Path) -> None:
            super().rename(target)
            raise KeyboardInterrupt

        def with_name(self, name: str) -> "Interrupting":
            return Interrupting(self.parent / name)

    with pytest.raises(KeyboardInterrupt):
        write(Interrupting(tmp_path / "file"), b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
