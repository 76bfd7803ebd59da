"""A lab of its own (tests/lab/isolated): nothing gets out of it, and nothing outlives it."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.lab.engine import eventually

pytestmark = pytest.mark.lab
ISOLATED = Path(__file__).with_name("isolated")


def started(directory: Path, script: str) -> subprocess.Popen[str]:
    command = [str(ISOLATED), str(directory), "bash", "-c", script]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def processes(mark: str) -> list[str]:
    """Return the processes on this machine with the mark as an argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if mark.encode() in words:
            found.append(path.parent.name)
    return found


SEEN = "ip -o link | wc -l; ls /run; touch /var/lib/airlock-lab/here; ip route get 192.0.2.1"


def test_command_sees_an_empty_machine_and_its_status_arrives(tmp_path: Path) -> None:
    with started(tmp_path, f"{SEEN}; exit 7") as process:
        output, _ = process.communicate(timeout=30)
    links, *run = output.split()
    assert links == "1"  # the loopback, and no route
    assert set(run) <= {"lock", "mount"}
    assert process.returncode == 7
    assert (tmp_path / "here").exists()


LEAVES = (
    "setsid --fork sleep {mark}; ip netns add left; mount -t tmpfs left /mnt; echo ready; {then}"
)


def test_what_a_command_leaves_ends_with_it(tmp_path: Path) -> None:
    mark = f"3600.{os.getpid()}1"
    with started(tmp_path, LEAVES.format(mark=mark, then="true")) as process:
        process.wait(30)
    eventually(lambda: not processes(mark), "the kernel ends what was left")
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert not Path("/run/netns/left").exists()


def test_what_runs_ends_when_it_is_killed(tmp_path: Path) -> None:
    mark = f"3600.{os.getpid()}2"
    with started(tmp_path, LEAVES.format(mark=mark, then="sleep 600")) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert processes(mark)
        os.killpg(process.pid, signal.SIGKILL)
    eventually(lambda: not processes(mark), "the kernel ends what ran")
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
