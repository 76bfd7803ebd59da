"""Promise 7: however the wrapper or the agent dies, its container ends and nothing of it stays."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.attacks.attacker import run
from tests.fakes.control_plane import Job
from tests.lab.agent import reaper_of
from tests.lab.engine import eventually
from tests.lab.lab import AIRLOCK, GATE, ROLE, Fleet, open_gate
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

POLICY = f"  - name: all\n    allow: {{role: '{ROLE}', workspace: fresh}}\n"

# The steps at which the wrapper is killed.
STEPS = ["lease", "create", "start", "address", "running", "command"]


def reached(fleet: Fleet, job: Job, step: str) -> bool:
    """Return whether the wrapper has reached this step."""
    leases = list(Path("/run/airlock/jobs").glob("[!.]*"))
    match step:
        case "lease":
            return bool(leases)
        case "create":
            return any((lease / "sandbox").exists() for lease in leases)
        case "start":
            return "container" in " ".join(_containers(fleet, "created", "running"))
        case "address":
            return any((lease / "address").exists() for lease in leases)
        case "running":
            return bool(_containers(fleet, "running"))
        case _:
            return b"\nsleeping" in job.log


def _containers(fleet: Fleet, *states: str) -> list[str]:
    filters = [flag for state in states for flag in ("--filter", f"status={state}")]
    docker = ("docker", "-H", fleet.lab.docker)
    listed = (
        "ps",
        "-a",
        "--filter",
        "label=airlock.job",
        *filters,
        "--format",
        "container {{.ID}}",
    )
    return run(*docker, *listed).splitlines()


@pytest.mark.parametrize("step", STEPS)
def test_wrapper_killed_at_any_step_leaves_nothing(fleet: Fleet, step: str) -> None:
    fleet.policy(POLICY)
    with fleet.agent() as agent:
        job = fleet.control.enqueue(fleet.env("echo sleeping; sleep 60"))
        pid = agent.bootstrap_pid()
        eventually(lambda: reached(fleet, job, step), f"the wrapper reaches {step!r}")
        assert leftovers(fleet) != []
        os.kill(pid, signal.SIGKILL)
        assert fleet.control.finished(job)[1] == "SIGKILL"
        eventually(lambda: leftovers(fleet) == [], "everything is removed", 6)


def test_leftovers_of_killed_reaper_are_cleared_by_next_job(fleet: Fleet) -> None:
    """Wrapper and reaper are killed together: the first protection is removed, the second works."""
    fleet.policy(POLICY)
    with fleet.agent() as agent:
        job = fleet.control.enqueue(fleet.env("echo running; sleep 60"))
        fleet.control.wait(job, lambda j: b"\nrunning" in j.log)
        wrapper = agent.bootstrap_pid()
        for pid in (reaper_of(wrapper), wrapper):
            os.kill(pid, signal.SIGKILL)
        assert fleet.control.finished(job)[1] == "SIGKILL"
        assert leftovers(fleet) != []
        following = fleet.control.enqueue(fleet.env("echo next"))
        assert fleet.control.finished(following) == ("0", "", ""), following.log.decode()
        assert leftovers(fleet) == []


def test_leftovers_of_killed_reaper_are_cleared_by_gc(fleet: Fleet) -> None:
    with fleet.agent() as agent:
        job = fleet.control.enqueue(fleet.env("echo running; sleep 60"))
        fleet.control.wait(job, lambda j: b"\nrunning" in j.log)
        wrapper = agent.bootstrap_pid()
        for pid in (reaper_of(wrapper), wrapper):
            os.kill(pid, signal.SIGKILL)
        fleet.control.finished(job)
    done = subprocess.run(
        [*AIRLOCK, "gc", "--config", fleet.config], capture_output=True, text=True, check=True
    )
    assert len(re.findall(r"^cleared dead job \S+: the process", done.stdout, re.MULTILINE)) == 1
    assert leftovers(fleet) == []


def test_gc_leaves_running_job_alone(fleet: Fleet) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env(f"echo running; {GATE}; echo still here"))
        fleet.control.wait(job, lambda j: b"\nrunning" in j.log)
        done = subprocess.run(
            [*AIRLOCK, "gc", "--config", fleet.config], capture_output=True, text=True, check=True
        )
        assert "dead job" not in done.stdout
        open_gate(job)
        assert fleet.control.finished(job) == ("0", "", "")
    assert b"\nstill here" in job.log
