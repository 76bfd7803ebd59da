"""Docker is stopped, killed or restarted while a job ends: the job's own status arrives.

Before, this was 125, "could not start", which pipelines retry: a deploy ran twice.
"""

import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.control_plane import Job
from tests.faults.containers import first_processes
from tests.lab import older_kernel
from tests.lab.agent import Agent
from tests.lab.engine import Engine, eventually
from tests.lab.lab import Fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

# Where the status comes from. In a network namespace of its own, as in `labns`, "connector" reports
# nothing, and Docker is asked.
KERNELS = {"": "pidfd", "connector": "process connector", "nothing": "Docker"}
# The job ends on its own, without Docker's help, once the file is there.
WAITING = "echo running; until [ -e /tmp/end ]; do sleep 0.05; done; exit 7"


@contextmanager
def running(fleet: Fleet, *, kernel: str = "") -> Iterator[tuple[Agent, Job, int]]:
    """Run a job to its middle; yield agent, job, and the first process of its container.

    `kernel` is what an older kernel has (tests/lab/older_kernel.py).
    """
    how: dict[str, object] = {}
    if kernel:
        before = shlex.join([sys.executable, older_kernel.__file__, kernel])
        how["bootstrap_script"] = f"{before} {fleet.bootstrap_script}"
    with fleet.agent(**how) as agent:  # type: ignore[arg-type]
        job = fleet.control.enqueue(fleet.env(WAITING))
        fleet.control.wait(job, lambda j: b"\nrunning" in j.log or j.finish)
        (container,) = first_processes()
        yield agent, job, container


def end_job(container: int) -> None:
    """Let the job end now; return once it has."""
    Path(f"/proc/{container}/root/tmp/end").touch()
    eventually(lambda: not Path(f"/proc/{container}").exists(), "the container ends")


def ends_with_seven(fleet: Fleet, job: Job, seconds: float) -> float:
    """Wait for the job's result, which has to be its own; return how long that took."""
    began = time.monotonic()
    ending = fleet.control.finished(job, seconds)
    assert ending == ("7", "", ""), job.log.decode(errors="replace")
    return time.monotonic() - began


def test_docker_does_not_answer_as_the_job_ends(fleet: Fleet, dockerd: Engine) -> None:
    with running(fleet) as (_, job, container):
        dockerd.stop()
        end_job(container)
        try:
            ends_with_seven(fleet, job, 90)
        finally:
            dockerd.cont()
    assert b"whether the job ran out of memory is not known" in job.log
    eventually(lambda: leftovers(fleet) == [], "everything is removed", 30)


def test_docker_was_killed_before_the_job_ends(fleet: Fleet, dockerd: Engine) -> None:
    with running(fleet) as (_, job, container):
        dockerd.kill()
        end_job(container)
        ends_with_seven(fleet, job, 90)
        dockerd.start()
    assert b"could not start" not in job.log.lower()


@pytest.mark.parametrize("kernel", KERNELS, ids=KERNELS.values())
def test_docker_is_restarted_as_the_job_ends(fleet: Fleet, dockerd: Engine, kernel: str) -> None:
    with running(fleet, kernel=kernel) as (_, job, container):
        dockerd.kill()
        end_job(container)
        returned = threading.Timer(5, dockerd.start)
        returned.start()
        ends_with_seven(fleet, job, 90)
        returned.join()
    eventually(lambda: leftovers(fleet) == [], "everything is removed", 30)


def test_docker_hangs_for_a_while_and_only_docker_knows(fleet: Fleet, dockerd: Engine) -> None:
    with running(fleet, kernel="nothing") as (_, job, container):
        dockerd.stop()
        end_job(container)
        goes_on = threading.Timer(12, dockerd.cont)
        goes_on.start()
        assert ends_with_seven(fleet, job, 90) > 8
        goes_on.join()
    assert b"could not start" not in job.log.lower()


def test_nobody_knows_how_the_job_ended(fleet: Fleet, dockerd: Engine) -> None:
    """79, which no rule retries by itself; and the log says what is known."""
    with running(fleet, kernel="nothing") as (_, job, container):
        dockerd.kill()
        end_job(container)
        ending = fleet.control.finished(job, 120)
        dockerd.start()
    assert ending == ("79", "", ""), job.log.decode()
    assert b"the job ran, and how it ended is not known" in job.log
    assert b"Exit status 79 is Airlock's" in job.log
    (ended,) = [one for one in fleet.events(job.id) if one["event"] == "ended"]
    assert ended["ended"]["kind"] == "unknown"
    assert ended["status"] == {"kind": "exit", "code": 79, "whose": "airlock"}


@pytest.mark.parametrize("kernel", ["", "nothing"], ids=["newer", "none of both"])
def test_a_cancelled_job_ends_before_the_agents_sigkill_if_docker_hangs(
    fleet: Fleet, dockerd: Engine, kernel: str
) -> None:
    with running(fleet, kernel=kernel) as (_, job, container):
        dockerd.stop()
        end_job(container)
        began = time.monotonic()
        fleet.control.cancel(job)
        ending = fleet.control.finished(job, 60)
        took = time.monotonic() - began
        dockerd.cont()
    assert ending[:2] == (("79" if kernel else "7"), ""), job.log.decode()
    assert ending[1] != signal.SIGKILL.name
    assert took < 10.5


def test_docker_that_is_stopped_for_good_stops_the_job(fleet: Fleet, dockerd: Engine) -> None:
    """Without live-restore dockerd sends SIGTERM, then SIGKILL: a status like any other."""
    with running(fleet) as (_, job, _container):
        stopping = threading.Thread(target=dockerd.terminate)
        stopping.start()
        ending = fleet.control.finished(job, 90)
        stopping.join()
        dockerd.start()
    assert ending[0] in {"143", "137", "-1"}, job.log.decode()
    assert b"and Docker does not answer: it may have been stopped" in job.log
