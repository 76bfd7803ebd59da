"""A job that fails because something was full finds out what, how large it is, and what sets it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Fleet, Lab, fleet

pytestmark = pytest.mark.lab

TMP = "/tmp, in memory, was full: it holds 32 MiB"
HOME = "/home/airlock, in memory, was full: it holds 32 MiB"
SETTING = "sandbox.tmp in airlock.toml sets the size"


@pytest.fixture(scope="module")
def small(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    base = tmp_path_factory.mktemp("full")
    settings = 'tmp = "32MiB"\npids = 64\n'
    with fleet(lab, base / "fleet", settings=settings) as made, made.agent():
        yield made


def run(made: Fleet, command: str) -> tuple[str, str]:
    """Run a job; return its exit status and its log."""
    job = made.control.enqueue(made.env(command))
    status = made.control.finished(job)[0]
    return status, job.log.decode(errors="replace")


@pytest.mark.parametrize(
    ("where", "expected", "advice"),
    [
        ("/tmp", TMP, SETTING),
        ("$HOME", HOME, SETTING),
        ("/run/buildkite", "/run/buildkite, in memory, was full: it holds 64 MiB", "is fixed"),
    ],
)
def test_directory_in_memory_that_was_full_is_named(
    small: Fleet, where: str, expected: str, advice: str
) -> None:
    """Also if the program that filled it ends the job at once.

    With a full /tmp, the agent's own bootstrap fails too: it writes its hooks there.
    """
    status, log = run(small, f"dd if=/dev/zero of={where}/f bs=1M || exit 3")
    assert status == ("1" if where == "/tmp" else "3")
    assert "No space left on device" in log
    assert expected in log
    assert advice in log
    assert "The exit status is the job's own" in log


def test_file_that_is_deleted_again_is_noticed_while_the_job_runs(small: Fleet) -> None:
    command = "dd if=/dev/zero of=/tmp/f bs=1M || (sleep 2; rm /tmp/f; exit 4)"
    status, log = run(small, command)
    assert status == "4", log
    assert TMP in log


def test_job_that_ends_well_gets_no_explanation(small: Fleet) -> None:
    status, log = run(small, "dd if=/dev/zero of=$HOME/f bs=1M || true")
    assert status == "0"
    assert "was full" not in log


def test_job_that_fails_otherwise_gets_no_explanation(small: Fleet) -> None:
    status, log = run(small, "exit 6")
    assert status == "6"
    assert "was full" not in log
    assert "limit of processes" not in log


def test_limit_of_processes_is_named(small: Fleet) -> None:
    command = "for n in $(seq 200); do sleep 3 & done 2>&1 | tail -1; sleep 2; exit 7"
    status, log = run(small, command)
    assert status != "0"
    assert "The job reached its limit of processes and threads" in log
    assert "sandbox.pids in airlock.toml" in log


def test_disk_of_the_workspace_that_was_full_is_named(lab: Lab, tmp_path: Path) -> None:
    storage = 'min-free = "1MiB"\nmin-free-inodes = 0\nfloor = "0MiB"\nfloor-inodes = 0\n'
    with fleet(lab, tmp_path / "fleet", storage=storage) as made:
        state = made.base / "state"
        state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "lab", str(state)], check=True)
        try:
            with made.agent():
                status, log = run(made, "dd if=/dev/zero of=f bs=1M || exit 8")
        finally:
            subprocess.run(["umount", str(state)], check=True)
    assert status == "8"
    assert "the disk of the workspace was full: it holds 32 MiB" in log
