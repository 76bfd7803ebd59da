"""A workspace belongs to whoever works in it, however its files came there."""

import os
import subprocess
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox import workspace as workspaces
from bootstrap.sandbox.workspace import workspace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")

TREES = {"builds", "plugins"}


def opened(state: Path, uid: int, notes: list[str] | None = None) -> Path:
    """Open the workspace once and return where it was."""
    note = notes.append if notes is not None else pytest.fail
    path = state / "workspaces/key"
    with workspace(state, path, uid=uid, note=note):
        return path


def owners(path: Path) -> set[int]:
    return {found.lstat().st_uid for tree in TREES for found in (path / tree).rglob("*")}


def test_its_trees_are_the_jobs_and_what_is_around_them_is_roots(tmp_path: Path) -> None:
    path = opened(tmp_path, 61001)
    assert {child.name: child.stat().st_uid for child in path.iterdir()} == dict.fromkeys(
        TREES, 61001
    )
    assert path.stat().st_uid == 0
    assert path.stat().st_mode & 0o777 == 0o700


def test_it_changes_hands_without_following_anything(tmp_path: Path) -> None:
    mine = tmp_path / "roots"
    mine.mkdir()
    (mine / "shadow").touch()
    path = opened(tmp_path / "state", 61001)
    (path / "builds/to-directory").symlink_to(mine)
    (path / "builds/to-file").symlink_to(mine / "shadow")
    (path / "builds/a\nname").mkdir(mode=0o000)
    (path / "builds/-R").touch()
    program = path / "builds/program"
    program.touch()
    os.chown(program, 61001, 61001)
    program.chmod(0o6755)
    os.link(program, path / "builds/second-name")
    assert opened(tmp_path / "state", 61002) == path
    assert owners(path) == {61002}
    assert (mine.stat().st_uid, (mine / "shadow").stat().st_uid) == (0, 0)
    assert program.stat().st_mode & 0o6000 == 0


def test_what_already_belongs_to_the_job_is_not_looked_through(tmp_path: Path) -> None:
    path = opened(tmp_path, 61001)
    (path / "builds/of-root").touch()
    opened(tmp_path, 61001)
    assert owners(path) == {0}


def test_what_was_interrupted_is_done_again(tmp_path: Path) -> None:
    """A tree whose top is the old owner's would look as if all below it were."""
    path = opened(tmp_path, 61001)
    (path / "builds/file").touch()
    os.chown(path / "builds", 0, 0)  # as it is left by a wrapper that was killed
    opened(tmp_path, 61001)
    assert owners(path) == {61001}


def test_a_tree_that_takes_too_long_is_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = opened(tmp_path, 61001)
    (path / "builds/file").touch()
    monkeypatch.setattr(workspaces, "CHANGE_HANDS", 0.0)
    notes: list[str] = []
    assert opened(tmp_path, 61002, notes) == path
    assert "is thrown away" in notes[0]
    assert owners(path) == set()
    assert {(path / tree).stat().st_uid for tree in TREES} == {61002}


def test_it_has_one_user_at_a_time(tmp_path: Path) -> None:
    with (
        workspace(tmp_path, tmp_path / "workspaces/key", uid=61001, note=pytest.fail),
        pytest.raises(CannotStart, match="is in use by another job"),
    ):
        opened(tmp_path, 61002)


def test_a_job_can_link_to_nothing_outside_of_its_own_tree(tmp_path: Path) -> None:
    """A hard link to a host's file would change hands with the tree: links do not cross mounts."""
    path = opened(tmp_path, 61001)
    (tmp_path / "theirs").touch()
    script = (
        f"mount --bind {path}/builds {path}/builds && mount --bind {tmp_path} /mnt && "
        f"ln /mnt/theirs {path}/builds/mine"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert "Invalid cross-device link" in done.stderr
