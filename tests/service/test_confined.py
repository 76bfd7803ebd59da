"""Jobs run with what airlock.service leaves its processes, and with nothing that it takes."""

import shlex
import sys
from pathlib import Path

import pytest

from tests.e2e.test_ssh import policy, private, ssh
from tests.lab.engine import eventually
from tests.lab.lab import AIRLOCK, GATE, ROLE, Fleet, forget_host, open_gate
from tests.lab.leftovers import leftovers
from tests.lab.service import serving
from tests.lab.sshd import GitOverSsh
from tests.service.test_meter import values
from tests.test_docs import ROOT

pytestmark = pytest.mark.lab
__all__ = ["ssh"]  # a fixture

CONFINED = (sys.executable, "-m", "tests.service.as_unit")


@pytest.fixture
def confined(tmp_path: Path) -> Path:
    """A program that starts others as systemd starts the service."""
    path = tmp_path / "confined"
    path.write_text(f'#!/bin/sh\ncd {ROOT} && exec {shlex.join(CONFINED)} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def script(fleet: Fleet, confined: Path) -> str:
    """A bootstrap-script with which jobs run as workers of the service do."""
    return shlex.join([str(confined), *shlex.split(fleet.bootstrap_script)])


def test_job_with_a_role_in_a_workspace_that_is_reused(fleet: Fleet, script: str) -> None:
    fleet.policy(f"  - {{name: all, allow: {{role: '{ROLE}'}}}}\n")
    with fleet.agent(bootstrap_script=script):
        for _ in range(2):
            job = fleet.control.enqueue(fleet.env("grep Seccomp_filters /proc/self/status"))
            assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    assert len(fleet.sts.asked) == 2
    assert leftovers(fleet) == []


def test_private_repository_with_a_key_in_an_ssh_agent(
    fleet: Fleet,
    ssh: GitOverSsh,
    script: str,
) -> None:
    url, commit = private(fleet, ssh)
    policy(fleet, ssh, url)
    command = "cat README.md library/library.txt"
    env = fleet.env(command, BUILDKITE_REPO=url, BUILDKITE_COMMIT=commit)
    with fleet.agent("--no-ssh-keyscan", bootstrap_script=script):
        job = fleet.control.enqueue(env)
        assert fleet.control.finished(job, 120) == ("0", "", ""), job.log.decode()
    assert leftovers(fleet) == []


def test_killed_agent_leaves_nothing(fleet: Fleet, script: str) -> None:
    with fleet.agent(bootstrap_script=script) as agent:
        job = fleet.control.enqueue(fleet.env("echo sleeping; sleep 60"))
        fleet.control.wait(job, lambda j: b"\nsleeping" in j.log)
        assert leftovers(fleet) != []
        agent.process.kill()
        eventually(lambda: leftovers(fleet) == [], "everything is removed", 15)


def test_service_serves_jobs_is_upgraded_and_does_its_chores(fleet: Fleet, confined: Path) -> None:
    textfile = fleet.base / "airlock.prom"
    program = (str(confined), *AIRLOCK)
    forget_host(fleet.lab.docker)
    fleet.policy(f"  - {{name: all, allow: {{role: '{ROLE}'}}}}\n")
    with serving(fleet, f'metrics = "{textfile}"\ngc-interval = "1m"', program=program) as service:
        limits = Path(f"/proc/{service.pid}/status").read_text()
        assert "NoNewPrivs:\t1\n" in limits
        assert "Seccomp:\t2\n" in limits
        with fleet.agent(bootstrap_script=service.bootstrap_script):
            running = fleet.control.enqueue(fleet.env(f"echo here; {GATE}"))
            fleet.control.wait(running, lambda j: b"\nhere" in j.log)
            service.upgrade()
            open_gate(running)
            assert fleet.control.finished(running) == ("0", "", ""), running.log.decode()
            later = fleet.control.enqueue(fleet.env("echo later"))
            assert fleet.control.finished(later) == ("0", "", ""), later.log.decode()
        eventually(lambda: _counted(textfile), "both jobs and a gc are counted", 120)
        assert service.stop() == 0
        lines = service.log.read_text()
    assert "warning" not in lines
    assert "error" not in lines
    assert leftovers(fleet) == []


def _counted(textfile: Path) -> bool:
    found = values(textfile) if textfile.exists() else {}
    return (
        found.get("airlock_jobs_total{outcome=passed}", 0) == 2
        and found["airlock_chore_runs_total{chore=prepare,result=ok}"] >= 1
        and found["airlock_chore_runs_total{chore=gc,result=ok}"] >= 1
        and found["airlock_gc_last_success_timestamp_seconds{}"] > 0
    )
