"""The credential endpoint fails while its job runs: the job is unharmed, and it serves again.

It is a thread of the wrapper, so nothing kills it alone (the whole wrapper: test_wrapper_killed).
What it can lack is descriptors: every connection needs one.
"""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.jobs import Host, host, iter_until
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


@pytest.mark.parametrize("restored", [True, False])
def test_endpoint_without_descriptors_does_not_change_the_job(
    machine: Host, *, restored: bool
) -> None:
    job = machine.running(JOB)
    assert job.stdout
    log = list(iter_until(job.stdout, b"the job has asked"))
    before = resource.prlimit(job.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(job.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    machine.jobs.tell("lacking")
    log += iter_until(job.stdout, b"the job has asked again")
    if restored:
        resource.prlimit(job.pid, resource.RLIMIT_NOFILE, before)
    machine.jobs.tell("restored")
    log.append(job.communicate(timeout=60)[0])
    text = b"".join(log).decode()
    assert job.returncode == 5, text
    assert "before: 200\n" in text
    assert "lacking: 200\n" not in text
    assert ("after: 200\n" in text) == restored, text
    assert "the end\n" in text
    assert machine.settled() == []
