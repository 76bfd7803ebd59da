"""A claim is worth something only while its container lives."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.sandbox import claims
from bootstrap.sandbox.model import Running


def running(pid: int) -> Running:
    return Running(id="", name="", pid=pid, address="172.31.240.2", gateway="172.31.240.1")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "jobs" / "one"
    made.mkdir(parents=True)
    return made


@pytest.mark.parametrize("port", [None, 40001])
def test_what_is_written_is_read(directory: Path, port: int | None) -> None:
    claim = claims.of(directory, running(os.getpid()), port)
    assert claims.read(directory) is None
    claims.write(directory, claim)
    assert claims.read(directory) == claim
    assert claim.token == "one"
    assert claims.living(directory.parent) == (claim,)
    claims.remove(directory)
    claims.remove(directory)
    assert claims.read(directory) is None


def test_a_process_that_has_ended_claims_nothing(directory: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        claim = claims.of(directory, running(child.pid), None)
        claims.write(directory, claim)
        assert claims.is_alive(claim)
        child.kill()
        os.waitid(
            os.P_PID, child.pid, os.WEXITED | os.WNOWAIT
        )  # it is a zombie, and counts as dead
        assert not claims.is_alive(claim)
    assert claims.living(directory.parent) == ()
    with pytest.raises(FileNotFoundError):
        claims.of(directory, running(child.pid), None)


def test_another_process_of_the_same_pid_is_not_the_container(directory: Path) -> None:
    claim = claims.of(directory, running(os.getpid()), None)
    assert not claims.is_alive(replace(claim, namespace=claim.namespace + 1))


def test_what_is_half_written_is_not_there(directory: Path) -> None:
    (directory / ".address").write_text("{")
    assert claims.living(directory.parent) == ()
