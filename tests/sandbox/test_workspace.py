"""A workspace belongs to the uid of the job that uses it, however its files were created."""

import os
import subprocess
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from bootstrap.host.config import Host, Paths, Sandbox
from bootstrap.job.assemble import assemble
from bootstrap.policy.model import Admitted, Grant
from bootstrap.sandbox import workspace as workspaces
from bootstrap.sandbox.job_sandbox import tree_of
from bootstrap.sandbox.workspace import workspace
from tests.job.given import job_env, process_env

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")

TREES = {"builds", "plugins"}


def opened(state: Path, uid: int, notes: list[str] | None = None) -> Path:
    """Open the workspace once and return where it was."""
    note = notes.append if notes is not None else pytest.fail
    path = state / "workspaces/key"
    with workspace(state, path, sorted(TREES), uid=uid, note=note):
        return path


def owners(path: Path) -> set[int]:
    return {found.lstat().st_uid for tree in TREES for found in (path / tree).rglob("*")}


def test_trees_belong_to_the_job_and_their_parent_to_root(tmp_path: Path) -> None:
    path = opened(tmp_path, 61001)
    assert {child.name: child.stat().st_uid for child in path.iterdir()} == dict.fromkeys(
        TREES, 61001
    )
    assert path.stat().st_uid == 0
    assert path.stat().st_mode & 0o777 == 0o700


def test_change_of_owner_does_not_follow_links(tmp_path: Path) -> None:
    of_root = tmp_path / "roots"
    of_root.mkdir()
    (of_root / "shadow").touch()
    path = opened(tmp_path / "state", 61001)
    (path / "builds/to-directory").symlink_to(of_root)
    (path / "builds/to-file").symlink_to(of_root / "shadow")
    (path / "builds/a\nname").mkdir(mode=0o000)
    (path / "builds/-R").touch()
    program = path / "builds/program"
    program.touch()
    os.chown(program, 61001, 61001)
    program.chmod(0o6755)
    os.link(program, path / "builds/second-name")
    assert opened(tmp_path / "state", 61002) == path
    assert owners(path) == {61002}
    assert (of_root.stat().st_uid, (of_root / "shadow").stat().st_uid) == (0, 0)
    assert program.stat().st_mode & 0o6000 == 0


def test_trees_of_the_same_uid_are_not_walked(tmp_path: Path) -> None:
    path = opened(tmp_path, 61001)
    (path / "builds/of-root").touch()
    opened(tmp_path, 61001)
    assert owners(path) == {0}


def test_interrupted_change_of_owner_is_repeated(tmp_path: Path) -> None:
    """The top of the tree changes last, so that it does not look finished."""
    path = opened(tmp_path, 61001)
    (path / "builds/file").touch()
    os.chown(path / "builds", 0, 0)  # as it is left by a wrapper that was killed
    opened(tmp_path, 61001)
    assert owners(path) == {61001}


def test_trees_are_discarded_if_change_of_owner_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = opened(tmp_path, 61001)
    (path / "builds/file").touch()
    monkeypatch.setattr(workspaces, "CHOWN_TIMEOUT", 0.0)
    notes: list[str] = []
    assert opened(tmp_path, 61002, notes) == path
    assert "the job starts with an empty workspace" in notes[0]
    assert owners(path) == set()
    assert {(path / tree).stat().st_uid for tree in TREES} == {61002}


def test_workspace_in_use_cannot_be_opened(tmp_path: Path) -> None:
    with (
        workspace(
            tmp_path, tmp_path / "workspaces/key", sorted(TREES), uid=61001, note=pytest.fail
        ),
        pytest.raises(CannotStart, match="is in use by another job"),
    ):
        opened(tmp_path, 61002)


def test_hard_link_from_outside_the_tree_is_impossible(tmp_path: Path) -> None:
    """A link to a host's file would change that file's owner too: links do not cross mounts."""
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


def test_users_of_agents_share_no_workspace_whatever_they_name_their_agents(tmp_path: Path) -> None:
    """Else one of them could put files into a checkout of the other's, or keep it from starting."""
    host = Host(sandbox=Sandbox(image="x"), paths=Paths(state=tmp_path))
    admitted = Admitted(
        rule="main", grant=Grant(), policy_origin="", policy_digest="", reasons=(),
        apart=("main", ""),
    )  # fmt: skip
    trees = {
        tree_of(assemble(job_env(), process_env(), agent_uid=uid), admitted, host, "t")
        for uid in (0, 2000, 2001, 2000)
    }
    assert len(trees) == 3
