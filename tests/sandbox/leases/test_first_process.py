"""A container is killed by its recorded process, and no other process ever is."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox.leases import first_process


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_recorded_process_is_killed(tmp_path: Path, child: "subprocess.Popen[bytes]") -> None:
    assert not first_process.is_running(tmp_path)
    first_process.record(tmp_path, child.pid)
    assert first_process.is_running(tmp_path)
    first_process.kill(tmp_path, 5)
    assert child.wait() == -9
    assert not first_process.is_running(tmp_path)
    first_process.kill(tmp_path, 5)


def test_zombie_counts_as_ended(tmp_path: Path, child: "subprocess.Popen[bytes]") -> None:
    first_process.record(tmp_path, child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not first_process.is_running(tmp_path)


def test_process_whose_name_is_not_text_is_killed(tmp_path: Path) -> None:
    """A job can rename its container's first process: it has the same user, so by ptrace."""
    rename = r"printf '\377\376) R 1' >/proc/$$/comm; echo renamed; read line"
    pipe = subprocess.PIPE
    with subprocess.Popen(["sh", "-c", "read line; " + rename], stdin=pipe, stdout=pipe) as process:
        first_process.record(tmp_path, process.pid)
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"go\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"renamed\n"
        assert first_process.is_running(tmp_path)
        first_process.kill(tmp_path, 5)
        assert process.wait() == -9


def test_later_process_with_the_same_pid_is_not_killed(
    tmp_path: Path, child: "subprocess.Popen[bytes]"
) -> None:
    first_process.record(tmp_path, child.pid)
    recorded = json.loads((tmp_path / "process").read_text())
    earlier = recorded | {"started": recorded["started"] - 1}
    (tmp_path / "process").write_text(json.dumps(earlier))
    assert not first_process.is_running(tmp_path)
    first_process.kill(tmp_path, 1)
    assert child.poll() is None


def test_ended_process_cannot_be_recorded(tmp_path: Path, child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    child.wait()
    with pytest.raises(CannotStart, match="ended as soon as it was started"):
        first_process.record(tmp_path, child.pid)


def test_record_without_space_is_125(tmp_path: Path, child: "subprocess.Popen[bytes]") -> None:
    with pytest.raises(CannotStart, match="Not a directory"):
        first_process.record(Path("/dev/null"), child.pid)


def test_opened_process_is_recorded_for_whoever_clears_the_lease(
    tmp_path: Path, child: "subprocess.Popen[bytes]"
) -> None:
    process = first_process.opened(tmp_path, child.pid)
    assert process is not None
    assert not first_process.has_ended(process)
    os.close(process)
    assert json.loads((tmp_path / "process").read_text())["pid"] == child.pid


def test_one_that_has_ended_is_no_failure_of_the_record(
    tmp_path: Path, child: "subprocess.Popen[bytes]"
) -> None:
    child.kill()
    child.wait()
    for pid in (0, child.pid):
        assert first_process.opened(tmp_path, pid) is None


def test_a_record_that_cannot_be_written_is_one(
    tmp_path: Path, child: "subprocess.Popen[bytes]"
) -> None:
    (tmp_path / "process").mkdir()
    with pytest.raises(CannotStart, match="could not be recorded"):
        first_process.opened(tmp_path, child.pid)
