"""The host restarts under running jobs: what is on disk is cleared, and no stranger is killed.

A restart is simulated: the engine and all processes of jobs are killed, and what the kernel keeps
in memory (the tmpfs of paths.runtime, nftables, routing rules) is removed. paths.runtime cannot
survive a restart, because Airlock mounts a tmpfs where it is on disk; a boot id is not needed then.
That files there name processes that are not the job's any more is tested all the same.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.jobs import Host, host, kill, run_to_end
from tests.lab.agent import reaper_of
from tests.lab.engine import Engine, eventually
from tests.lab.lab import DELETE_ROUTING, DELETE_RULESET, Lab
from tests.lab.leftovers import RUNTIME, everything

pytestmark = pytest.mark.lab


@pytest.fixture
def machine(lab: Lab, tmp_path: Path) -> Iterator[Host]:
    with host(lab, tmp_path, neighbour=False) as made:
        yield made


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host that got the pid of a dead job's process."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def containers_pid(lease: Path) -> int:
    """Return the container's first process on this host."""
    return int(json.loads((lease / "address").read_text())["pid"])


def lease_of(machine: Host) -> Path:
    (lease,) = (RUNTIME / "jobs").iterdir()
    return lease


def crash(machine: Host, dockerd: Engine) -> None:
    """End a running job as a restart of the machine does: all its processes at once."""
    job = machine.running()
    first_process = containers_pid(lease_of(machine))
    kill(reaper_of(job.pid), job.pid)
    dockerd.kill()
    kill(first_process)
    job.communicate(timeout=60)
    eventually(lambda: not Path(f"/proc/{first_process}").exists(), "the container is dead")


def forget_memory() -> None:
    """Remove what only the memory of a machine holds."""
    subprocess.run(["umount", str(RUNTIME)], check=False, capture_output=True)
    subprocess.run(["rm", "-rf", str(RUNTIME)], check=True)
    for command in (DELETE_RULESET, *DELETE_ROUTING):
        subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("by", ["next job", "gc"])
def test_next_job_or_gc_clears_what_a_restart_left_on_disk(
    machine: Host, dockerd: Engine, by: str
) -> None:
    crash(machine, dockerd)
    forget_memory()
    dockerd.start()
    assert list((machine.jobs.fleet.base / "state/fresh").iterdir())
    if by == "gc":
        machine.jobs.gc()
    run_to_end(machine.jobs.start())
    assert machine.settled() == []


# The files of a job directory that name processes, and the names of the fields.
FACTS = ("address", "process")


@pytest.mark.parametrize("by", ["next job", "gc"])
def test_pid_of_another_process_is_never_killed(
    machine: Host, dockerd: Engine, stranger: subprocess.Popen[bytes], by: str
) -> None:
    """The lease of a dead job names a pid that has been given to another process since."""
    crash(machine, dockerd)
    lease = lease_of(machine)
    for name in FACTS:
        if (lease / name).exists():
            facts = json.loads((lease / name).read_text())
            (lease / name).write_text(json.dumps({**facts, "pid": stranger.pid}))
    dockerd.start()
    if by == "gc":
        machine.jobs.gc()
    run_to_end(machine.jobs.start())
    assert machine.settled() == []
    assert stranger.poll() is None


def test_lease_of_living_holder_survives_a_sweep(machine: Host) -> None:
    """The twin: a lease that is held is not cleared, whatever else is."""
    job = machine.running()
    machine.dead()
    machine.jobs.gc()
    assert os.listdir(RUNTIME / "jobs") == [lease_of(machine).name]  # noqa: PTH208
    assert job.poll() is None
    assert any("process" in one for one in everything(machine.jobs.fleet))
    kill(job.pid)
    job.communicate(timeout=60)
    assert machine.settled() == []
