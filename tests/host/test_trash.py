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


def nested(path: Path, levels: int) -> None:
    """Make directories in directories, by their descriptors: no path reaches that deep."""
    path.mkdir()
    directory = os.open(path, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=directory)
        below = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)


@pytest.mark.parametrize("levels", [0, 1, trash.LEVELS - 1, trash.LEVELS, 3000])
def test_tree_of_any_depth_is_removed_at_once(tmp_path: Path, levels: int) -> None:
    nested(tmp_path / "tree", levels)
    trash.remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_what_a_removed_tree_links_to_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/link").symlink_to(tmp_path / "kept")
    (tree / "dangling").symlink_to(tmp_path / "absent")
    os.mkfifo(tree / "a/b/go")
    trash.remove_tree(tree)
    assert not tree.exists()
    assert (tmp_path / "kept/file").read_text() == "kept"


def test_link_in_the_place_of_a_tree_is_removed_itself(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("kept")
    (tmp_path / "tree").symlink_to(tmp_path / "kept")
    trash.remove_tree(tmp_path / "tree")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept/file").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount needs root")
def test_what_is_mounted_in_a_tree_is_not_emptied(tmp_path: Path) -> None:
    mounted = tmp_path / "tree/a/mounted"
    mounted.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "test", mounted], check=True)
    try:
        (mounted / "file").write_text("kept")
        with pytest.raises(CannotStart, match="rm"):
            trash.remove_tree(tmp_path / "tree")
        assert (mounted / "file").read_text() == "kept"
    finally:
        subprocess.run(["umount", mounted], check=True)
