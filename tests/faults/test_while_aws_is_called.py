"""The container starts while AWS is called: what ends a job then leaves nothing of it."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.jobs import Host, host
from tests.lab.engine import eventually
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

LATE = 30.0  # seconds until STS answers: longer than any of the tests waits


@pytest.fixture(scope="module")
def machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(lab, tmp_path_factory.mktemp("late"), neighbour=False) as made:
        yield made


@pytest.fixture
def waiting(machine: Host) -> Iterator[subprocess.Popen[bytes]]:
    """The wrapper of a job whose container runs, and that waits for STS."""
    machine.jobs.fleet.sts.latency = LATE
    job = machine.jobs.start()
    try:
        eventually(lambda: _started() or job.poll() is not None, "the container runs")
        assert job.poll() is None, job.communicate()
        yield job
    finally:
        machine.jobs.fleet.sts.latency = 0
        if job.poll() is None:
            job.kill()
        job.communicate()


def _started() -> bool:
    return any(Path("/run/airlock/jobs").glob("*/process"))


def _events(machine: Host) -> list[str]:
    lines = machine.jobs.fleet.records.read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_cancelled_job_waits_for_no_answer_and_leaves_nothing(
    machine: Host, waiting: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    began = time.monotonic()
    waiting.send_signal(number)
    output, _ = waiting.communicate(timeout=20)
    assert time.monotonic() - began < LATE / 2, output.decode()
    assert waiting.returncode == -number, output.decode()
    assert b"cancelled before the job began" in output
    assert b"the job runs" not in output
    assert machine.settled() == []
    assert _events(machine)[-2:] == ["admitted", "cancelled"], "no session was used or recorded"


def test_a_killed_wrapper_leaves_nothing(machine: Host, waiting: subprocess.Popen[bytes]) -> None:
    waiting.kill()
    output, _ = waiting.communicate(timeout=20)
    assert b"the job runs" not in output
    assert machine.settled() == []
