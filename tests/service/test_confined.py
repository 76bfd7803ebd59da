"""Jobs run with what airlock.service leaves its processes, and with nothing that it takes."""

import shlex
import sys
from pathlib import Path

import pytest

from tests.e2e.test_ssh import policy, private, ssh
from tests.lab.engine import eventually
from tests.lab.lab import ROLE, Fleet
from tests.lab.leftovers import leftovers
from tests.lab.sshd import GitOverSsh
from tests.test_docs import ROOT

pytestmark = pytest.mark.lab
__all__ = ["ssh"]  # a fixture

CONFINED = (sys.executable, "-m", "tests.service.as_unit")


@pytest.fixture
def script(fleet: Fleet, tmp_path: Path) -> str:
    """A bootstrap-script with which jobs run as workers of the service do."""
    path = tmp_path / "confined"
    command = shlex.join([*CONFINED, *shlex.split(fleet.bootstrap_script)])
    path.write_text(f"#!/bin/sh\ncd {ROOT} && exec {command}\n")
    path.chmod(0o755)
    return str(path)


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
