"""A developer's working copy in place of a clone: the job gets a copy, .git and all."""

import os
import subprocess
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.replay import checkout
from tests.replay.test_job import job

MINE = Path("builds/agent-1/acme/storefront")


def working_copy(path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(path)], check=True)
    (path / "changed").write_text("by the developer")
    (path / "link").symlink_to("changed")
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    path.mkdir()
    return path


def test_job_has_a_copy_where_the_bootstrap_expects_the_checkout(
    tree: Path, tmp_path: Path
) -> None:
    mine = working_copy(tmp_path / "mine")
    checkout.prepare(tree, job(), mine, uid=os.geteuid())
    copy = tree / MINE
    (copy / "changed").write_text("by the job")
    (copy / ".git/config").write_text("")
    assert (mine / "changed").read_text() == "by the developer"
    assert (mine / ".git/config").read_text()
    assert (copy / "link").is_symlink()
    assert checkout.inside(job()) == Path("/var/lib/buildkite-agent") / MINE


def test_working_copy_says_which_commit_it_is_of(tmp_path: Path) -> None:
    mine = working_copy(tmp_path / "mine")
    assert checkout.described(mine).keys() == {"BUILDKITE_BRANCH"}
    git = ["git", "-C", str(mine), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (
        ["checkout", "-q", "-b", "topic"],
        ["remote", "add", "origin", "git@github.com:acme/storefront.git"],
        ["commit", "-q", "--allow-empty", "-m", "one"],
    ):
        subprocess.run([*git, *command], check=True)
    found = checkout.described(mine)
    head = (mine / ".git/refs/heads/topic").read_text().strip()
    assert found == {
        "BUILDKITE_REPO": "git@github.com:acme/storefront.git", "BUILDKITE_COMMIT": head,
        "BUILDKITE_BRANCH": "topic",
    }  # fmt: skip
    url = "https://ada:token@git.example.com/a.git"
    subprocess.run([*git, "remote", "set-url", "origin", url], check=True)
    assert checkout.described(mine)["BUILDKITE_REPO"] == "https://git.example.com/a.git"
    subprocess.run([*git, "checkout", "-q", "--detach"], check=True)
    assert "BUILDKITE_BRANCH" not in checkout.described(mine)


def test_directory_without_a_commit_describes_none(tmp_path: Path) -> None:
    assert checkout.described(tmp_path) == {}


@pytest.mark.parametrize("git", ["none", "a file"])
def test_directory_without_a_repository_of_its_own_is_refused(tmp_path: Path, git: str) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    if git == "a file":
        (mine / ".git").write_text("gitdir: elsewhere\n")
    with pytest.raises(WrongConfiguration, match="not the top of a git repository"):
        checkout.of_developer(mine)


def test_checkout_is_kept_once(tree: Path, tmp_path: Path) -> None:
    (tree / MINE).mkdir(parents=True)
    (tree / MINE / "result").write_text("made")
    output = tmp_path / "airlock-replay"
    kept = checkout.kept(tree, job(), output)
    assert kept == output / "0190-job/checkout"
    assert (kept / "result").read_text() == "made"
    (tree / MINE).mkdir()
    with pytest.raises(WrongConfiguration, match="exists, so that this checkout cannot be kept"):
        checkout.require_free(job(), output)
    with pytest.raises(CannotStart, match="checkout cannot be written: File exists"):
        checkout.kept(tree, job(), output)
    assert (kept / "result").read_text() == "made"


@pytest.mark.lab
def test_checkout_that_does_not_fit_is_not_kept_in_part(tree: Path, tmp_path: Path) -> None:
    output = tmp_path / "airlock-replay"
    output.mkdir()
    checkout.require_free(job(), output)
    (tree / MINE).mkdir(parents=True)
    (tree / MINE / "fits").write_text("made")
    (tree / MINE / "large").write_bytes(b"x" * (1 << 20))
    small = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(output)]
    subprocess.run(small, check=True)
    try:
        with pytest.raises(CannotStart, match=r"checkout cannot be written: .*No space left"):
            checkout.kept(tree, job(), output)
        assert list(output.rglob("*")) == [output / "0190-job"]
    finally:
        subprocess.run(["umount", str(output)], check=True)


@pytest.mark.parametrize("link", ["agent-1", "agent-1/acme", "agent-1/acme/storefront"])
def test_what_a_job_links_to_is_not_moved(tree: Path, tmp_path: Path, link: str) -> None:
    """Else `--keep` would move a directory of the developer's that the job cannot even see."""
    home = tmp_path / "home"
    for parts in ("", "acme/storefront", "storefront"):
        (home / parts).mkdir(parents=True, exist_ok=True)
    (tree / "builds" / link).parent.mkdir(parents=True)
    (tree / "builds" / link).symlink_to(home)
    with pytest.raises(CannotStart, match=f"a symbolic link at builds/{link}"):
        checkout.kept(tree, job(), tmp_path / "airlock-replay")
    assert (home / "acme/storefront").is_dir()
