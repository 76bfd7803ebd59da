"""How a process that is no child ended: as the kernel reports it, on newer and older kernels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import older_kernel

# Watches a grandchild, which ends when its input does, and prints its status.
WATCH = """
import os, select, subprocess, sys, time
from bootstrap.sandbox.supervision.process_end import ProcessEnd

middle = subprocess.Popen(
    [sys.executable, "-c", "import subprocess, sys; one = subprocess.Popen(sys.argv[1:]);"
     " print(one.pid, flush=True); one.wait()", "/bin/sh", "-c", "read line; " + sys.argv[1]],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
pid = int(middle.stdout.readline())
pidfd = os.pidfd_open(pid)
end = ProcessEnd(pid, pidfd)
for _ in range(int(sys.argv[2])):
    subprocess.run(["/bin/true"])
middle.stdin.close()
select.select([pidfd], [], [])
first = end.status(5.0)
assert end.status(0.0) == first  # it is asked twice about a job that Airlock has killed
print("listens" if end._events else "asks", first, len(os.listdir("/proc/self/fd")))
end.close()
end.close() if not end._events else None
"""
ENDINGS = {
    "exit 0": 0, "exit 7": 7, "exit 125": 125, "exit 255": 255, "kill -9 $$": 137,
    "kill -15 $$": 143, "kill -11 $$": 139,
}  # fmt: skip


def watched(ending: str, *before: str, others: int = 0) -> tuple[str, str]:
    """Return how it was watched, and what was reported."""
    command = [*before, sys.executable, "-c", WATCH, ending, str(others)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    how, status, _ = done.stdout.split()
    return how, status


def on(features: str) -> tuple[str, ...]:
    return (sys.executable, str(Path(older_kernel.__file__)), features)


@pytest.mark.parametrize(("ending", "status"), ENDINGS.items())
def test_the_pidfd_reports_it(ending: str, status: int) -> None:
    how, reported = watched(ending)
    if how != "asks":
        pytest.skip("this kernel is older than Linux 6.16")
    assert reported == str(status)


@pytest.fixture
def _connector() -> None:
    """The process connector works in the first network namespace only, and for root."""
    how, _ = watched("exit 0", *on("connector"))
    if how != "listens":
        pytest.skip("no process connector here")


@pytest.mark.usefixtures("_connector")
@pytest.mark.parametrize(("ending", "status"), ENDINGS.items())
def test_the_connector_reports_it_on_an_older_kernel(ending: str, status: int) -> None:
    assert watched(ending, *on("connector")) == ("listens", str(status))


@pytest.mark.usefixtures("_connector")
def test_a_busy_host_does_not_overflow_the_connector() -> None:
    """Without the filter the first of these would fill the socket, whose size is limited."""
    assert watched("exit 7", *on("connector"), others=1500) == ("listens", "7")


def test_a_kernel_that_reports_nothing_is_not_waited_for() -> None:
    if os.geteuid() != 0:
        pytest.skip("installing a seccomp filter needs root")
    assert watched("exit 7", *on("nothing")) == ("asks", "None")
