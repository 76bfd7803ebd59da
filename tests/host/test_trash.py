"""Discarding a tree takes no time, wherever it is; its files are deleted in the background."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from bootstrap.host import trash
from tests.lab.engine import eventually


@contextmanager
def trash_locked(state: Path) -> Iterator[None]:
    """Hold the lock, as a process does while it deletes a huge tree."""
    with (state / "trash.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_discarded_tree_is_renamed_before_it_is_deleted(tmp_path: Path) -> None:
    state, tree = tmp_path / "state", tmp_path / "state/fresh/t"
    for number in range(100):
        (tree / f"d{number}").mkdir(parents=True)
    with trash_locked(state):
        assert trash.discard(state, tree)
        trash.empty_in_background(state)
        assert not tree.exists()
        (discarded,) = trash.trash(state).iterdir()
        assert len(list(discarded.iterdir())) == 100
    trash.empty_now(state)
    assert trash.is_empty(state)
    assert not trash.discard(state, tree)


def test_trash_of_any_content_is_emptied_in_background(tmp_path: Path) -> None:
    state = tmp_path
    for name in ("-rf", "with space", "new\nline", "*"):
        (tmp_path / "fresh" / name / "d").mkdir(parents=True)
        assert trash.discard(state, tmp_path / "fresh" / name)
    deep = tmp_path / "fresh/deep"
    deep.mkdir()
    dig = "import os; [(os.mkdir('d'), os.chdir('d')) for _ in range(3000)]"
    subprocess.run(["python3", "-c", dig], cwd=deep, check=True)
    trash.discard(state, deep)
    trash.empty_in_background(state)
    eventually(lambda: trash.is_empty(state), "the trash is empty")


def test_background_deletion_inherits_no_descriptor(tmp_path: Path) -> None:
    """The agent waits until no process has its pipes open: here, until end-of-file on one."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)  # noqa: FBT003 - its only spelling
    with trash_locked(tmp_path):
        (tmp_path / "t").mkdir()
        trash.discard(tmp_path, tmp_path / "t")
        saved = os.dup(1)
        os.dup2(writer, 1)
        try:
            trash.empty_in_background(tmp_path)
        finally:
            os.dup2(saved, 1)
            os.close(saved)
        os.close(writer)
        assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_tree_on_another_filesystem_is_renamed_where_it_is(tmp_path: Path) -> None:
    """Workspaces on a disk of their own, for one: no job waits for the deletion of these either."""
    (tmp_path / "fresh").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "lab", str(tmp_path / "fresh")], check=True)
    try:
        tree = tmp_path / "fresh/t"
        (tree / "builds/d").mkdir(parents=True)
        with trash_locked(tmp_path):
            assert trash.discard(tmp_path, tree)
            trash.empty_in_background(tmp_path)
            (renamed,) = trash.discarded(tmp_path)
            assert renamed.parent == tree.parent
            assert (renamed / "builds/d").exists()
            assert not tree.exists()
        trash.empty_now(tmp_path)
        assert trash.is_empty(tmp_path)
        assert list((tmp_path / "fresh").iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path / "fresh")], check=True)


def test_part_of_tree_is_found_where_it_was_renamed(tmp_path: Path) -> None:
    part = tmp_path / "workspaces/key/.discarded.0123"
    below = tmp_path / "workspaces/key/builds/.discarded.of-the-job"
    for path in (part, below):
        path.mkdir(parents=True)
    assert trash.discarded(tmp_path) == (part,)
    trash.empty_now(tmp_path)
    assert not part.exists()
    assert below.exists()


def test_names_in_a_discarded_tree_are_not_looked_at(tmp_path: Path) -> None:
    """A job may leave millions of them, at the top of a checkout that is discarded by itself."""
    tree = tmp_path / "workspaces/key/builds"
    (tree / ".discarded.of-the-job").mkdir(parents=True)
    with trash_locked(tmp_path):
        assert trash.discard(tmp_path, tree)
        (found,) = trash.discarded(tmp_path)
        assert found.parent == trash.trash(tmp_path)
    tree = tmp_path / "fresh/token"
    (tree / ".discarded.of-the-job").mkdir(parents=True)
    renamed = tree.rename(tree.with_name(".discarded.0123"))
    assert set(trash.discarded(tmp_path)) == {found, renamed}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_tree_that_cannot_be_renamed_is_reported(tmp_path: Path) -> None:
    tree = tmp_path / "fresh/t"
    tree.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(tree), str(tree)], check=True)
    try:
        with pytest.raises(CannotStart, match=r"fresh/t could not be removed: .*busy"):
            trash.discard(tmp_path, tree)
    finally:
        subprocess.run(["umount", str(tree)], check=True)
