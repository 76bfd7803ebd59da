"""The wrapper is killed at every step it takes: everything of its job goes, its neighbour stays.

Its credential endpoint, the log's pump and the ssh agent's filter are threads of it, and die with
it. By default the steps named here (each before and after) and a sample of all the others;
AIRLOCK_LONG=1 is every step.
"""

import os
import re
from collections.abc import Iterator

import pytest

from tests.faults.jobs import Faults, Host, host, kill_wrappers, sample
from tests.faults.stepper import Point, after
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

LONG = os.environ.get("AIRLOCK_LONG") == "1"
# What a job acquires and gives back, by the call that does it. Those of AWS, and what sets up the
# network of all jobs, are made by other threads: they die with the first one, wherever they are.
STEPS = {
    "reaper": r"^clone\(.*SIGCHLD",
    "lease": r"^mkdir\(.*/jobs/",
    "lock of the lease": r"^flock\(.*/jobs/",
    "slot": r"^flock\(.*/slots/",
    "name in the slot": r"^pwrite64\(",
    "workspace": r"^mkdir\(.*/state/fresh/",
    "owner of the workspace": r"^lchown\(.*/plugins",
    "sandbox directory": r"^mkdir\(.*/sandbox\"",
    "file being written": r"^write\(.*/sandbox/\.job-env\.[^j]",
    "start gate": r"^mknodat\(.*/go\"",
    "listener": r"^bind\(.*AF_INET,",
    "container": r"^sendto\(.*containers/create",
    "its description": r"^sendto\(.*\\\"Image",
    "output": r"^sendto\(.*/attach",
    "start": r"^sendto\(.*/start ",
    "port of the bridge": r"^sendto\(\S+ \[\{nlmsg_len=60, nlmsg_type=(0x10|RTM_NEWLINK)",
    "address": r"^rename\(.*/address\"",
    "firewall element": r"^sendto\(.*(0xa0c|NFT_MSG_NEWSETELEM)",
    "ssh agent": r"^chown\(.*ssh-agent/socket",
    "ssh key": r"^write\(.*PRIVATE KEY",
    "socket of the ssh agent": r"^bind\(.*AF_UNIX.*agent",
    "environment": r"^rename\(.*sandbox/\.env\.",
    "open gate": r"^write\(.*/go>",
    "wait for the end": r"^epoll_wait\(",
    "end of the ssh agent": r"^kill\(",
    "removed element": r"^sendto\(.*(0xa0e|NFT_MSG_DELSETELEM)",
    "removed container": r"^sendto\(.*\"DELETE ",
    "discarded workspace": r"^rename\(.*/trash/",
    "record": r"^rename\(.*\.json",
}
SAMPLES = 400 if LONG else 12


@pytest.fixture(scope="module")
def machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(lab, tmp_path_factory.mktemp("killed")) as made:
        yield made


@pytest.fixture(scope="module")
def reference(machine: Host) -> list[Point]:
    return machine.reference()


@pytest.fixture(scope="module")
def named(machine: Host, reference: list[Point]) -> Faults:
    indices = [after(reference, pattern) for pattern in STEPS.values()]
    chosen = [reference[index + more] for index in indices for more in (0, 1)]
    return Faults(chosen, lambda some: kill_wrappers(machine, some))


@pytest.fixture(scope="module")
def sampled(machine: Host, reference: list[Point]) -> Faults:
    first = after(reference, STEPS["reaper"])
    held = reference[first:]
    assert not LONG or len(held) <= SAMPLES
    return Faults(sample(held, SAMPLES), lambda some: kill_wrappers(machine, some))


@pytest.mark.parametrize("step", STEPS)
def test_wrapper_killed_before_step_leaves_nothing(named: Faults, step: str) -> None:
    named.survived(2 * list(STEPS).index(step))


@pytest.mark.parametrize("step", STEPS)
def test_wrapper_killed_after_step_leaves_nothing(named: Faults, step: str) -> None:
    named.survived(2 * list(STEPS).index(step) + 1)


@pytest.mark.parametrize("number", range(SAMPLES))
def test_wrapper_killed_at_any_other_step_leaves_nothing(sampled: Faults, number: int) -> None:
    sampled.survived(number)


def test_every_named_step_was_interrupted(machine: Host, named: Faults) -> None:
    """Otherwise a job that was never killed would count as one that left nothing.

    Jobs that start at once may clear each other's leases first, and so be killed at an earlier
    step than the one that was meant; those steps are tried again, with one job at a time.
    """
    where = [named.outcome(number).killed for number in range(len(named))]
    for number, pattern in enumerate(STEPS.values()):
        if not any(re.search(pattern, one) for one in where):
            (again,) = kill_wrappers(machine, [named.outcome(2 * number).point])
            assert re.search(pattern, again.killed), f"killed at {again.killed!r} instead"
            assert not again.left
