"""The first jobs of a host at once, before it has a bridge, a ruleset or a directory."""

from contextlib import ExitStack

import pytest

from tests.lab.lab import ROLE, Fleet, forget_host
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

AGENTS = 4


def test_concurrent_first_jobs_of_host_all_succeed(fleet: Fleet) -> None:
    fleet.policy(f"  - {{name: all, allow: {{role: '{ROLE}'}}}}\n")
    forget_host(fleet.lab.docker)
    with ExitStack() as held:
        jobs = []
        for number in range(AGENTS):
            name = f"agent-{number}"
            held.enter_context(fleet.agent(name=name))
        for number in range(AGENTS):
            env = fleet.env("echo I ran", BUILDKITE_AGENT_NAME=f"agent-{number}")
            jobs.append(fleet.control.enqueue(env))
        for job in jobs:
            assert fleet.control.finished(job, 60) == ("0", "", ""), job.log.decode()
    assert len({asked.session_name for asked in fleet.sts.asked}) == AGENTS
    assert leftovers(fleet) == []
