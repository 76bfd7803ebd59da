"""Killed at any step of a job that has service containers: they end, and nothing of them stays.

The wrapper alone (its reaper clears), both at once (the next job or `airlock gc` does), a reaper.
AIRLOCK_LONG=1 takes every step.
"""

import os
from collections.abc import Iterator

import pytest

from tests.attacks.attacker import run
from tests.faults.containers import first_processes
from tests.faults.jobs import Faults, Host, host, kill, kill_wrappers, sample
from tests.faults.killing import kill_both, kill_reapers, reaper_steps
from tests.faults.stepper import Point, after
from tests.lab.engine import ended, eventually
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

LONG = os.environ.get("AIRLOCK_LONG") == "1"
SAMPLES = 240 if LONG else 12
FEWER = 240 if LONG else 6
COMMAND = "[sh, -c, 'echo ready; exec sleep 600']"


@pytest.fixture(scope="module")
def machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(lab, tmp_path_factory.mktemp("services-killed")) as made:
        service = f"{{image: '{lab.image}', command: {COMMAND}, ready: log:ready}}"
        made.jobs.fleet.policy(
            "  - name: all\n    allow:\n      workspace: fresh\n"
            f"      services: {{one: {service}, two: {service}}}\n"
        )
        yield made


@pytest.fixture(scope="module")
def reference(machine: Host) -> list[Point]:
    return machine.reference()


@pytest.fixture(scope="module")
def starting(machine: Host, reference: list[Point]) -> Faults:
    """From the first thing that a service has, its directory, to the job's start gate."""
    first = after(reference, r"^mkdir\(.*/service-one\"")
    held = reference[first : after(reference, r"^write\(.*/go>") + 2]
    return Faults(sample(held, SAMPLES), lambda some: kill_wrappers(machine, some))


@pytest.fixture(scope="module")
def ending(machine: Host, reference: list[Point]) -> Faults:
    held = reference[after(reference, r"^write\(.*/go>") + 1 :]
    return Faults(sample(held, FEWER), lambda some: kill_wrappers(machine, some))


@pytest.fixture(scope="module")
def both(machine: Host, reference: list[Point]) -> Faults:
    held = reference[after(reference, r"^mkdir\(.*/service-one\"") :]
    return Faults(sample(held, FEWER), lambda some: kill_both(machine, some))


@pytest.fixture(scope="module")
def reapers(machine: Host) -> Faults:
    return Faults(sample(reaper_steps(machine), FEWER), lambda some: kill_reapers(machine, some))


@pytest.mark.parametrize("number", range(SAMPLES))
def test_wrapper_killed_while_services_start_leaves_nothing(starting: Faults, number: int) -> None:
    starting.survived(number)


@pytest.mark.parametrize("number", range(FEWER))
def test_wrapper_killed_later_leaves_nothing(ending: Faults, number: int) -> None:
    ending.survived(number)


@pytest.mark.parametrize("number", range(FEWER))
def test_wrapper_and_reaper_killed_leave_nothing_after_next_job_or_gc(
    both: Faults, number: int
) -> None:
    both.survived(number)


@pytest.mark.parametrize("number", range(FEWER))
def test_reaper_killed_leaves_nothing_after_next_job_or_gc(reapers: Faults, number: int) -> None:
    reapers.survived(number)


def test_services_end_without_docker(machine: Host, lab: Lab) -> None:
    """The reaper kills them by their recorded processes, while the engine does not answer."""
    before = set(first_processes())
    job = machine.running()
    containers = set(first_processes()) - before
    assert len(containers) == 3, "the job's own, and two services"
    engine = lab.engine
    if engine is None:
        pytest.skip("stops the engine of this machine")
    engine.stop()
    try:
        kill(job.pid)
        eventually(lambda: all(map(ended, containers)), "all processes end")
    finally:
        engine.cont()
    job.communicate(timeout=60)
    assert machine.settled(60) == []


def test_a_job_that_ends_by_itself_leaves_nothing(machine: Host) -> None:
    job = machine.jobs.start("exit 3")
    job.communicate(timeout=60)
    assert job.returncode == 3
    assert machine.settled(1) == []


def test_containers_of_services_without_a_lease_are_removed_by_gc(machine: Host, lab: Lab) -> None:
    """As after a restart of the machine: leases are in memory, and containers are not."""
    names = [f"airlock-service-gone-0.{name}" for name in ("one", "two")]
    for name in names:
        flags = ["--label", "airlock.job=gone-0", "--name", name, "--network", "none"]
        run("docker", "-H", lab.docker, "create", *flags, lab.image, "true")
    assert "container airlock-gone-0" in machine.jobs.gc()
    assert machine.settled(1) == []
