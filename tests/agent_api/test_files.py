"""Files below one directory: no path leaves it, nothing is replaced, no link is followed."""

import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.agent_api.model import MalformedError
from bootstrap.agent_api.offline import files as module
from bootstrap.agent_api.offline.files import MAX_NAME, MAX_PARTS, Files, own_directory, parts_of


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path / "artifacts")
    yield made
    made.close()


def added(files: Files, path: str, content: bytes = b"content") -> str:
    names, _ = files.add(path, io.BytesIO(content), len(content))
    return "/".join(names)


PATHS = st.text(max_size=60) | st.lists(
    st.sampled_from(
        ["..", ".", "", "a", "b", "\0", "\n", "\x1b[2J", "..%2f", "~", "C:\\", "\udcff"]
    )
).map("/".join)


@given(PATHS)
def test_names_stay_below_the_directory(path: str) -> None:
    try:
        parts = parts_of(path)
    except MalformedError:
        return
    assert 1 <= len(parts) <= MAX_PARTS
    for part in parts:
        assert part not in {"", ".", ".."}
        assert "/" not in part
        assert part.isprintable()
        assert len(os.fsencode(part)) <= MAX_NAME


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "a/../../../b", "..", "./../x"]
)
def test_a_path_upwards_ends_below(files: Files, path: str) -> None:
    added(files, path)
    root = files.directory.parent
    found = [one.relative_to(root) for one in root.rglob("*") if one.is_file()]
    assert len(found) == 1
    assert found[0].parts[0] == "artifacts"


def test_what_is_there_is_not_replaced(files: Files) -> None:
    assert added(files, "a/b", b"first") == "a/b"
    assert added(files, "a/b", b"second") == "again/2/a/b"
    assert added(files, "a/b/c", b"third") == "again/3/a/b/c"
    assert added(files, "a", b"fourth") == "again/4/a"
    assert (files.directory / "a/b").read_bytes() == b"first"


def test_no_symbolic_link_is_followed(files: Files, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (files.directory / "link").symlink_to(outside)
    (files.directory / "file").symlink_to(outside / "new")
    assert added(files, "link/a") == "again/2/link/a"
    assert added(files, "file") == "again/2/file"
    assert list(outside.iterdir()) == []
    with pytest.raises(OSError, match="link"):
        files.opened(("link", "a"))
    with pytest.raises(OSError, match="file"):
        files.opened(("file",))


@pytest.mark.parametrize("name", ["artifacts", "artifacts/pipelines"])
def test_directory_that_is_a_link_is_not_used(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="symbolic link"):
        own_directory(tmp_path / name)
    with pytest.raises(OSError, match="symbolic link"):
        Files(tmp_path / name)


@pytest.mark.parametrize("protected", [True, False])
@pytest.mark.parametrize("prefix", [".git/", "sub/.git/", "bare/"])
def test_git_runs_nothing_in_what_a_job_uploaded(
    files: Files, monkeypatch: pytest.MonkeyPatch, prefix: str, *, protected: bool
) -> None:
    """As a prompt does that shows the branch of the directory that a developer looks into."""
    if not protected:
        monkeypatch.setattr(module, "_OF_GIT", frozenset())
    ran = files.directory.parent / "ran"
    worktree = f"worktree = {files.directory}\n" if prefix == "bare/" else ""
    settings = f"[core]\nrepositoryformatversion = 0\nbare = false\n{worktree}"
    program = f"fsmonitor = touch {ran}; false\n"
    for name, text in {
        "config": settings + program, "HEAD": "ref: refs/heads/main\n", "objects/x": "",
        "refs/x": "",
    }.items():  # fmt: skip
        added(files, prefix + name, text.encode())
    looked = files.directory / prefix.replace(".git/", "")
    env = {"PATH": os.environ["PATH"], "HOME": str(files.directory.parent)}
    subprocess.run(["git", "-C", looked, "status"], env=env, capture_output=True, check=False)
    assert ran.exists() != protected


def test_a_closed_directory_is_not_used(files: Files) -> None:
    files.close()
    files.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        added(files, "a")


def test_half_a_file_is_removed(files: Files) -> None:
    with pytest.raises(MalformedError, match="shorter"):
        files.add("a", io.BytesIO(b"abc"), 4)
    assert list(files.directory.iterdir()) == []


def test_a_path_that_is_taken_too_often_is_refused(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_AGAIN", 3)
    assert [added(files, "a"), added(files, "a")] == ["a", "again/2/a"]
    with pytest.raises(MalformedError, match="3 files"):
        added(files, "a")
