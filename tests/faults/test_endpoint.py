"""The credential endpoint fails while its job runs: the job is unharmed, and it serves again.

It is a thread of the wrapper, so nothing kills it alone (the whole wrapper: test_wrapper_killed).
What it can lack is descriptors: every connection needs one.
"""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.jobs import Host, host
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

JOB = """
asked() {
  curl -s -m 2 -o /dev/null -w "$1: %{http_code}\\n" \\
    "http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" || true
}
wait_for() { until test -e "$BUILDKITE_BUILD_PATH/$1"; do sleep 0.1; done; }
asked before
echo "the job has asked"
wait_for lacking
asked lacking
echo "the job has asked again"
wait_for restored
for try in 1 2 3 4 5 6; do asked after; sleep 0.5; done
echo "the end"
exit 5
"""


@pytest.fixture
def machine(lab: Lab, tmp_path: Path) -> Iterator[Host]:
    with host(lab, tmp_path, neighbour=False) as made:
        yield made


def until(machine: Host, line: bytes, log: list[bytes], lines: Iterator[bytes]) -> None:
    for one in lines:
        log.append(one)
        if one.startswith(line):
            return
    raise AssertionError(b"".join(log).decode())


@pytest.mark.parametrize("restored", [True, False])
def test_endpoint_without_descriptors_does_not_change_the_job(
    machine: Host, *, restored: bool
) -> None:
    job = machine.running(JOB)
    assert job.stdout
    lines, log = iter(job.stdout), list[bytes]()
    until(machine, b"the job has asked", log, lines)
    before = resource.prlimit(job.pid, resource.RLIMIT_NOFILE, (3, 4096))
    machine.jobs.tell("lacking")
    until(machine, b"the job has asked again", log, lines)
    if restored:
        resource.prlimit(job.pid, resource.RLIMIT_NOFILE, before)
    machine.jobs.tell("restored")
    log += lines
    job.wait(60)
    text = b"".join(log).decode()
    assert job.returncode == 5, text
    assert "before: 200\n" in text
    assert "lacking: 200\n" not in text
    assert ("after: 200\n" in text) == restored, text
    assert "the end\n" in text
    assert machine.settled() == []
