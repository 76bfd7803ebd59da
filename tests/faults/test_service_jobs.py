"""Jobs of the resident service, with the real agent and the real launcher."""

import shlex
from pathlib import Path

import pytest

from tests.lab.engine import eventually
from tests.lab.lab import Fleet
from tests.lab.leftovers import leftovers
from tests.lab.service import Serving, serving

pytestmark = pytest.mark.lab


def hook(directory: Path, service: Serving) -> None:
    """Write the agent's pre-bootstrap hook, which has the service decide."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "pre-bootstrap"
    path.write_text(f"#!/bin/sh\nexec {shlex.join([*service.launcher, 'admit'])}\n")
    path.chmod(0o755)


def test_job_runs_and_its_status_arrives(fleet: Fleet) -> None:
    with (
        serving(fleet) as service,
        fleet.agent(bootstrap_script=service.bootstrap_script),
    ):
        job = fleet.control.enqueue(fleet.env("echo in the sandbox; exit 7"))
        result = fleet.control.finished(job)
    assert result == ("7", "", ""), job.log.decode()
    assert b"\nin the sandbox" in job.log


def test_what_the_hook_decides_counts_for_the_job(fleet: Fleet) -> None:
    with serving(fleet) as service:
        hook(fleet.base / "agent-1/hooks", service)
        with fleet.agent(bootstrap_script=service.bootstrap_script):
            job = fleet.control.enqueue(fleet.env("echo in the sandbox"))
            result = fleet.control.finished(job)
    assert result == ("0", "", ""), job.log.decode()
    events = fleet.events(job.id)
    admitted, verdict = events[:2]
    assert [event["event"] for event in events].count("admitted") == 1
    assert verdict["used"], verdict
    assert admitted["claims"] == verdict["claims"]
    assert 0 < verdict["age"] < 60


def test_job_that_the_hook_refuses_never_starts(fleet: Fleet) -> None:
    fleet.policy("  - {name: main, when: {branch: other}, allow: {}}\n")
    with serving(fleet) as service:
        hook(fleet.base / "agent-1/hooks", service)
        with fleet.agent(bootstrap_script=service.bootstrap_script):
            job = fleet.control.enqueue(fleet.env("echo in the sandbox"))
            result = fleet.control.finished(job)
        eventually(lambda: not service.workers(), "the decision's worker has ended")
    assert result == ("-1", "", "agent_refused"), job.log.decode()
    assert [event["event"] for event in fleet.events(job.id)] == ["denied"]


@pytest.mark.parametrize("flags", [(), ("--no-pty",)])
def test_killed_agent_ends_its_job(fleet: Fleet, flags: tuple[str, ...]) -> None:
    with serving(fleet) as service:
        with fleet.agent(*flags, bootstrap_script=service.bootstrap_script) as agent:
            job = fleet.control.enqueue(fleet.env("echo begun; sleep 600"))
            fleet.control.wait(job, lambda one: b"begun" in one.log)
            agent.process.kill()
            agent.process.wait(10)
        eventually(lambda: not leftovers(fleet), "all of the job is cleared", 30)
        eventually(lambda: not service.workers(), "its worker ends")
    assert fleet.events(job.id)[-1]["event"] == "ended"
