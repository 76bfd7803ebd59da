"""Promise 7: however the wrapper or the agent dies, the room dies and nothing of it stays."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.lab.engine import eventually
from tests.lab.lab import AIRLOCK, ROLE, Fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

POLICY = f"  - name: all\n    allow: {{role: '{ROLE}', workspace: fresh}}\n"

# A line of our own output, or a moment, at which the wrapper is killed.
MOMENTS = ["lease", "create", "start", "address", "running"]


def reached(fleet: Fleet, moment: str) -> bool:
    """Say whether the wrapper has got as far as this."""
    leases = list(Path("/run/airlock/jobs").glob("[!.]*"))
    match moment:
        case "lease":
            return bool(leases)
        case "create":
            return any((lease / "sandbox").exists() for lease in leases)
        case "start":
            return "container" in " ".join(_containers(fleet, "created", "running"))
        case "address":
            return any((lease / "address").exists() for lease in leases)
        case _:
            return bool(_containers(fleet, "running"))


def _containers(fleet: Fleet, *states: str) -> list[str]:
    filters = [flag for state in states for flag in ("--filter", f"status={state}")]
    command = [
        "docker",
        "-H",
        fleet.lab.docker,
        "ps",
        "-a",
        "--filter",
        "label=airlock.job",
        *filters,
    ]
    done = subprocess.run(
        [*command, "--format", "container {{.ID}}"], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_9_at_every_step_leaves_nothing(fleet: Fleet, moment: str) -> None:
    fleet.policy(POLICY)
    with fleet.agent() as agent:
        job = fleet.control.enqueue(fleet.env("sleep 60"))
        pid = agent.bootstrap_pid()
        eventually(lambda: reached(fleet, moment), f"the wrapper reaches {moment!r}")
        os.kill(pid, signal.SIGKILL)
        assert fleet.control.finished(job)[1] == "SIGKILL"
        eventually(lambda: leftovers(fleet) == [], "everything is given back", 6)


def test_without_the_reaper_the_next_job_clears_what_is_left(fleet: Fleet) -> None:
    """Wrapper and reaper killed together: this is the protection removed. Then the second line."""
    fleet.policy(POLICY)
    with fleet.agent() as agent:
        job = fleet.control.enqueue(fleet.env("echo running; sleep 60"))
        fleet.control.wait(job, lambda j: b"\nrunning" in j.log)
        wrapper = agent.bootstrap_pid()
        for pid in (_reaper_of(wrapper), wrapper):
            os.kill(pid, signal.SIGKILL)
        assert fleet.control.finished(job)[1] == "SIGKILL"
        assert leftovers(fleet) != []
        following = fleet.control.enqueue(fleet.env("echo next"))
        assert fleet.control.finished(following) == ("0", "", ""), following.log.decode()
        assert leftovers(fleet) == []


def test_gc_clears_what_is_left(fleet: Fleet) -> None:
    with fleet.agent() as agent:
        job = fleet.control.enqueue(fleet.env("echo running; sleep 60"))
        fleet.control.wait(job, lambda j: b"\nrunning" in j.log)
        wrapper = agent.bootstrap_pid()
        for pid in (_reaper_of(wrapper), wrapper):
            os.kill(pid, signal.SIGKILL)
        fleet.control.finished(job)
    done = subprocess.run(
        [*AIRLOCK, "gc", "--config", fleet.config], capture_output=True, text=True, check=True
    )
    assert "1 dead job(s) cleared" in done.stdout
    assert leftovers(fleet) == []


def test_gc_leaves_running_jobs_alone(fleet: Fleet) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("echo running; sleep 5; echo still here"))
        fleet.control.wait(job, lambda j: b"\nrunning" in j.log)
        done = subprocess.run(
            [*AIRLOCK, "gc", "--config", fleet.config], capture_output=True, text=True, check=True
        )
        assert "0 dead job(s) cleared" in done.stdout
        assert fleet.control.finished(job) == ("0", "", "")
    assert b"\nstill here" in job.log


def _reaper_of(wrapper: int) -> int:
    children = Path(f"/proc/{wrapper}/task/{wrapper}/children").read_text().split()
    sessions = {int(child): os.getsid(int(child)) for child in children}
    (reaper,) = [child for child, session in sessions.items() if session == child]
    return reaper
