"""The directory of results: while a replay runs, and afterwards if something is in it."""

import subprocess
from pathlib import Path

import pytest

from bootstrap.errors import WrongConfiguration
from bootstrap.replay import results


def test_what_stays_empty_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "airlock-replay/job"
    with results.directory(path):
        assert (path / "artifacts").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_directory_of_the_developer_stays(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    with results.directory(mine / "job"):
        assert (mine / "job").is_dir()
    assert list(mine.iterdir()) == []


def test_what_was_made_stays_and_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "airlock-replay/job"
    with results.directory(path):
        (path / "artifacts/one").write_text("1")
        (path / "annotations.html").write_text("2")
    assert results.listed(path) == "annotations.html, artifacts/"
    assert results.listed(tmp_path / "none") == ""


@pytest.mark.parametrize("first", [0, 1])
def test_two_replays_of_a_job_share_it(tmp_path: Path, first: int) -> None:
    path = tmp_path / "airlock-replay/job"
    both = results.directory(path), results.directory(path)
    for one in both:
        one.__enter__()
    both[first].__exit__(None, None, None)
    assert (path / "artifacts").is_dir(), "the other one still uses it"
    both[1 - first].__exit__(None, None, None)
    assert not path.exists()


def test_directory_in_a_working_copy_is_no_change_of_it(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    with results.directory(tmp_path / "airlock-replay/job"):
        (tmp_path / "airlock-replay/job/artifacts/one").write_text("1")
    status = ["git", "-C", str(tmp_path), "status", "--short"]
    assert subprocess.run(status, capture_output=True, check=True).stdout == b""


def test_what_cannot_be_created_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(WrongConfiguration, match=r"cannot go to .*/file/job: Not a directory"),
        results.directory(tmp_path / "file/job"),
    ):
        pass
