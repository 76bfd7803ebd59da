"""The record of a container's address counts only while the container runs."""

import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network import addresses


def running(pid: int) -> Running:
    return Running(id="", name="", pid=pid, address="198.18.240.2", gateway="198.18.240.1")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "jobs" / "one"
    made.mkdir(parents=True)
    return made


@pytest.mark.parametrize("port", [None, 40001])
def test_record_written_is_read_until_removed(directory: Path, port: int | None) -> None:
    record = addresses.record_of(directory, running(os.getpid()), port)
    assert addresses.read(directory) is None
    addresses.write(directory, record)
    assert addresses.read(directory) == record
    assert record.token == "one"
    assert addresses.in_use(directory.parent) == (record,)
    addresses.remove(directory)
    addresses.remove(directory)
    assert addresses.read(directory) is None


def test_record_of_ended_process_is_not_in_use(directory: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        record = addresses.record_of(directory, running(child.pid), None)
        addresses.write(directory, record)
        assert addresses.is_running(record)
        child.kill()
        # It stays a zombie, which counts as ended.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not addresses.is_running(record)
    assert addresses.in_use(directory.parent) == ()
    with pytest.raises(FileNotFoundError, match=str(child.pid)):
        addresses.record_of(directory, running(child.pid), None)


def test_address_is_its_holders_for_as_long_as_that_runs(directory: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as holder:
        joined = replace(running(os.getpid()), holder=holder.pid)
        record = addresses.record_of(directory, joined, None)
        assert addresses.is_running(record)
        holder.kill()
        holder.wait()
        assert not addresses.is_running(record)


def test_another_process_with_the_same_pid_is_not_the_container(directory: Path) -> None:
    record = addresses.record_of(directory, running(os.getpid()), None)
    assert not addresses.is_running(replace(record, namespace=record.namespace + 1))


@pytest.mark.parametrize("text", ["[]", "{}", '{"pid": ', "null"])
def test_record_of_another_version_is_ignored(directory: Path, text: str) -> None:
    """It must not keep other jobs from starting."""
    (directory / "address").write_text(text)
    assert addresses.read(directory) is None
    assert addresses.in_use(directory.parent) == ()


def test_half_written_record_is_ignored(directory: Path) -> None:
    (directory / ".address").write_text("{")
    assert addresses.in_use(directory.parent) == ()


def test_process_that_ends_in_this_moment_is_no_failure(directory: Path) -> None:
    """Then its namespace is not there, or there is no permission to look at it."""
    record = replace(addresses.record_of(directory, running(os.getpid()), None), namespace=1)
    for _ in range(1500):
        with subprocess.Popen(["/bin/true"], stdin=subprocess.DEVNULL) as process:
            ending = replace(record, pid=process.pid)
            waiting = threading.Thread(target=process.wait)
            waiting.start()
            while waiting.is_alive():
                assert not addresses.is_running(ending)
            waiting.join()
