"""The units under systemd itself.

tests/lab/with_systemd .venv/bin/pytest tests/service/test_systemd.py
"""

import os
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.control_plane import Job
from tests.lab import launcher, systemd
from tests.lab.engine import eventually
from tests.lab.lab import GATE, Fleet, open_gate
from tests.lab.leftovers import leftovers
from tests.lab.systemd import main_pid, systemctl
from tests.service.units import SERVICE, unit

pytestmark = [
    pytest.mark.lab,
    pytest.mark.systemd,
    pytest.mark.skipif(not systemd.UNITS.is_dir(), reason="needs tests/lab/with_systemd"),
]


def shown(name: str) -> str:
    return systemd.shown(systemd.SERVICE, name)


@pytest.fixture
def script(fleet: Fleet) -> Iterator[str]:
    """The command of the launcher, for agents of root."""
    with systemd.airlock(fleet):
        yield shlex.join([str(launcher.binary()), "bootstrap"])


def started(fleet: Fleet) -> Job:
    """A job that runs until `finish`."""
    job = fleet.control.enqueue(fleet.env(f"echo here; {GATE}"))
    fleet.control.wait(job, lambda j: b"\nhere" in j.log)
    return job


def finish(fleet: Fleet, job: Job) -> None:
    open_gate(job)
    assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()


def test_first_job_starts_the_service_with_the_units_limits(fleet: Fleet, script: str) -> None:
    assert shown("ActiveState") == "inactive"
    with fleet.agent(bootstrap_script=script):
        job = started(fleet)
        assert (shown("ActiveState"), shown("SubState")) == ("active", "running")
        eventually(lambda: shown("StatusText").endswith(" 1 worker"), "its status is shown")
        status = Path(f"/proc/{main_pid()}/status").read_text()
        finish(fleet, job)
    kept = int(status.partition("CapBnd:\t")[2].split("\n")[0], 16)
    assert kept.bit_count() == len(unit(SERVICE)["Service"]["CapabilityBoundingSet"].split())
    assert "NoNewPrivs:\t1\n" in status
    assert "Seccomp:\t2\n" in status
    assert leftovers(fleet) == []


@pytest.mark.parametrize("verb", ["reload", "restart"])
def test_reload_and_restart_cost_no_job(fleet: Fleet, script: str, verb: str) -> None:
    with fleet.agent(bootstrap_script=script):
        job = started(fleet)
        before = main_pid()
        systemctl(verb, "airlock.service")
        eventually(lambda: shown("ActiveState") == "active", "it is active again")
        assert (main_pid() == before) == (verb == "reload")
        finish(fleet, job)
        later = fleet.control.enqueue(fleet.env("echo later"))
        assert fleet.control.finished(later) == ("0", "", ""), later.log.decode()
    assert leftovers(fleet) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda n: n.name)
def test_service_that_dies_or_hangs_is_started_again_and_costs_no_job(
    fleet: Fleet, script: str, number: signal.Signals
) -> None:
    with fleet.agent(bootstrap_script=script):
        job = started(fleet)
        before = main_pid()
        os.kill(before, number)
        eventually(lambda: main_pid() not in (0, before), "another one runs", 60)
        assert shown("NRestarts") == "1"
        finish(fleet, job)
        later = fleet.control.enqueue(fleet.env("echo later"))
        assert fleet.control.finished(later) == ("0", "", ""), later.log.decode()
    assert leftovers(fleet) == []


def test_stopped_service_leaves_its_jobs_alone(fleet: Fleet, script: str) -> None:
    with fleet.agent(bootstrap_script=script):
        job = started(fleet)
        systemctl("stop", "airlock.socket", "airlock.service")
        assert shown("ActiveState") == "inactive"
        finish(fleet, job)
    assert leftovers(fleet) == []


def test_killed_worker_ends_neither_the_service_nor_other_jobs(fleet: Fleet, script: str) -> None:
    with fleet.agent(bootstrap_script=script), fleet.agent(bootstrap_script=script, name="two"):
        job = started(fleet)
        before = main_pid()
        children = Path(f"/proc/{before}/task/{before}/children").read_text().split()
        other = fleet.control.enqueue(fleet.env(f"echo here; {GATE}", BUILDKITE_AGENT_NAME="two"))
        fleet.control.wait(other, lambda j: b"\nhere" in j.log)
        now = Path(f"/proc/{before}/task/{before}/children").read_text().split()
        (worker,) = [
            pid
            for pid in now
            if pid not in children and os.getpriority(os.PRIO_PROCESS, int(pid)) == 0
        ]
        os.kill(int(worker), signal.SIGKILL)
        assert fleet.control.finished(other)[0] == "79"
        assert (main_pid(), shown("ActiveState")) == (before, "active")
        finish(fleet, job)
    assert leftovers(fleet) == []


def test_job_learns_at_once_why_the_service_cannot_start(fleet: Fleet, script: str) -> None:
    """It waits in systemd's socket, and a service that cannot start answers before it ends."""
    text = fleet.config.read_text()
    fleet.config.write_text(f"{text}\n[nonsense]\n")
    with fleet.agent(bootstrap_script=script):
        for _ in range(2):
            began = time.monotonic()
            job = fleet.control.enqueue(fleet.env("echo never"))
            assert fleet.control.finished(job) == ("78", "", ""), job.log.decode()
            assert b"nonsense" in job.log
            assert time.monotonic() - began < 20
        fleet.config.write_text(text)
        later = fleet.control.enqueue(fleet.env("echo later"))
        assert fleet.control.finished(later) == ("0", "", ""), later.log.decode()
    assert leftovers(fleet) == []
