"""Killed at any step: reapers, wrappers with their reapers, `airlock gc`. Then all is cleared.

By the next job, or by the next `airlock gc`. AIRLOCK_LONG=1 takes every step.
"""

import os
from collections.abc import Iterator

import pytest

from tests.faults.direct import GATE_FILE
from tests.faults.jobs import Faults, Host, host, kill, sample
from tests.faults.killing import (
    collector_steps,
    kill_both,
    kill_collectors,
    kill_reapers,
    reaper_steps,
)
from tests.faults.stepper import after
from tests.lab.agent import reaper_of
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

LONG = os.environ.get("AIRLOCK_LONG") == "1"
SAMPLES = 240 if LONG else 6


@pytest.fixture(scope="module")
def machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(lab, tmp_path_factory.mktemp("reapers")) as made:
        yield made


@pytest.fixture(scope="module")
def reapers(machine: Host) -> Faults:
    return Faults(sample(reaper_steps(machine), SAMPLES), lambda some: kill_reapers(machine, some))


@pytest.fixture(scope="module")
def both(machine: Host) -> Faults:
    steps = machine.reference()
    held = steps[after(steps, r"^clone\(.*SIGCHLD") :]
    return Faults(sample(held, SAMPLES), lambda some: kill_both(machine, some))


@pytest.fixture(scope="module")
def collectors(machine: Host) -> Faults:
    return Faults(
        sample(collector_steps(machine), SAMPLES), lambda some: kill_collectors(machine, some)
    )


@pytest.mark.parametrize("number", range(SAMPLES))
def test_reaper_killed_at_any_step_leaves_nothing_after_next_job_or_gc(
    reapers: Faults, number: int
) -> None:
    reapers.survived(number)


@pytest.mark.parametrize("number", range(SAMPLES))
def test_wrapper_and_reaper_killed_at_any_step_leave_nothing_after_next_job_or_gc(
    both: Faults, number: int
) -> None:
    both.survived(number)


@pytest.mark.parametrize("number", range(SAMPLES))
def test_collector_killed_at_any_step_leaves_nothing_after_next_job_or_gc(
    collectors: Faults, number: int
) -> None:
    collectors.survived(number)


def test_reaper_killed_while_its_job_runs_changes_nothing(machine: Host) -> None:
    """The job ends by itself, with its own status and output, and its wrapper clears up."""
    job = machine.running(f"{GATE_FILE}; echo the end; exit 3")
    kill(reaper_of(job.pid))
    machine.jobs.open_gate()
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 3, output.decode()
    assert b"the end" in output
    assert machine.settled() == []
