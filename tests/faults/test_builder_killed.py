"""The wrapper, or the builder, is killed while a job gets or has a builder: nothing of it stays."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.faults.direct import POLICY
from tests.faults.jobs import Faults, Host, host, kill, kill_wrappers, run_to_end
from tests.faults.stepper import Point, after
from tests.lab import builder, launcher
from tests.lab.agent import reaper_of
from tests.lab.engine import eventually
from tests.lab.lab import Lab
from tests.lab.leftovers import RUNTIME

pytestmark = pytest.mark.lab

LONG = os.environ.get("AIRLOCK_LONG") == "1"
# What a builder takes, by the call that does it.
STEPS = {
    "directory": r"^mkdir\(.*/builder\"",
    "cache": r"^mkdir\(.*/buildkit\"",
    "control socket": r"^bind\(.*AF_UNIX.*/control",
    "container": r"^sendto\(.*containers/create\?name=airlock-builder",
    "start": r"^sendto\(.*/start ",
    "its process": r"^rename\(.*/builder/process",
    "users": r"^write\(.*gid_map",
    "socket": r"^bind\(.*AF_UNIX.*/buildkit.sock",
    "settings of clients": r"^openat\(.*/prepare\"",
}


@pytest.fixture(scope="module")
def machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    launcher.builder()
    image = builder.builder_image(lab.docker, lab.image)
    with host(lab, tmp_path_factory.mktemp("builders")) as made:
        made.jobs.fleet.policy(POLICY.replace("allow: {", "allow: {builds: buildkit, "))
        with made.jobs.config.open("a") as config:
            config.write(f'[builds]\nimage = "{image}"\n')
        yield made


@pytest.fixture(scope="module")
def reference(machine: Host) -> list[Point]:
    return machine.reference()


@pytest.fixture(scope="module")
def faults(machine: Host, reference: list[Point]) -> Faults:
    first = after(reference, STEPS["directory"])
    ours = reference[first:]
    indices = [first + after(ours, pattern) for pattern in STEPS.values()]
    chosen = [reference[index + more] for index in indices for more in (0, 1)]
    return Faults(chosen, lambda some: kill_wrappers(machine, some))


@pytest.mark.parametrize("step", STEPS)
def test_wrapper_killed_around_a_step_leaves_nothing(faults: Faults, step: str) -> None:
    number = 2 * list(STEPS).index(step)
    faults.survived(number)
    faults.survived(number + 1)


def test_enough_steps_were_interrupted(machine: Host, faults: Faults) -> None:
    """A job makes some calls more or fewer than the reference, and is killed beside the step then.

    Those steps are tried again, with one job at a time.
    """
    where = [faults.outcome(number).killed for number in range(len(faults))]
    missed = []
    for number, pattern in enumerate(STEPS.values()):
        if any(re.search(pattern, one) for one in where):
            continue
        again = [
            outcome
            for more in (0, 1)
            for outcome in kill_wrappers(machine, [faults.outcome(2 * number + more).point])
        ]
        assert not any(outcome.left for outcome in again)
        if not any(re.search(pattern, outcome.killed) for outcome in again):
            missed.append(pattern)
    assert len(missed) <= len(STEPS) // 2 + 1, missed


def _builder() -> int:
    (found,) = (RUNTIME / "jobs").glob("*/builder/process")
    return int(json.loads(found.read_text())["pid"])


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_wrapper_and_reaper_killed_leave_it_to_the_next_job(machine: Host) -> None:
    job = machine.running()
    pid = _builder()
    kill(reaper_of(job.pid), job.pid)
    job.communicate(timeout=60)
    assert _is_alive(pid), "nobody is left to end it"
    run_to_end(machine.jobs.start())
    assert machine.settled() == []
    assert not _is_alive(pid)


def test_wrapper_and_reaper_killed_leave_it_to_gc(machine: Host) -> None:
    machine.dead()
    machine.jobs.gc()
    assert machine.settled() == []


def test_container_without_a_lease_is_removed_by_gc(machine: Host) -> None:
    client = ["docker", "-H", machine.jobs.fleet.lab.docker]
    name = "airlock-builder-nobodys"
    image = machine.jobs.fleet.lab.image
    subprocess.run(
        [*client, "create", "--name", name, "--label", "airlock.job=nobodys", image],
        check=True, capture_output=True,
    )  # fmt: skip
    assert "airlock-nobodys" in machine.jobs.gc()
    assert machine.settled() == []


def test_a_job_outlives_its_builder(machine: Host) -> None:
    job = machine.running("sleep 2; echo it goes on")
    os.kill(_builder(), signal.SIGKILL)
    log = run_to_end(job)
    assert "it goes on" in log
    assert "BuildKit of this job ended before the job did" in log
    assert machine.settled() == []


def test_the_builder_of_a_stopped_engine_is_killed_by_its_process(machine: Host) -> None:
    engine = machine.jobs.fleet.lab.engine
    if engine is None:
        pytest.skip("needs an engine of the lab's own")
    job = machine.running()
    pid = _builder()
    engine.stop()
    try:
        kill(job.pid)
        eventually(lambda: not _is_alive(pid), "the reaper kills it without Docker")
    finally:
        engine.cont()
        job.communicate(timeout=60)
    assert machine.settled() == []
