"""Jobs that end early: stubborn ones, orphaned ones, cancelled ones that have not started yet.

Cancellation, timeouts and statuses: tests/lab/contract_endings.py. A killed wrapper: promise 7.
"""

import os
import signal

import pytest

from tests.lab.engine import eventually
from tests.lab.lab import Fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab


def test_cancelled_command_ignoring_signal_is_killed_by_bootstrap(fleet: Fleet) -> None:
    """The bootstrap inside kills the command at its own, shorter deadline and ends as cancelled."""
    with fleet.agent("--cancel-grace-period", "10"):
        stubborn = "trap '' TERM; echo sleeping; while true; do sleep 1; done"
        job = fleet.control.enqueue(fleet.env(stubborn))
        fleet.control.wait(job, lambda j: b"\nsleeping" in j.log)
        fleet.control.cancel(job)
        result = fleet.control.finished(job)
    assert result == ("-1", "SIGTERM", "cancel"), job.log.decode()
    assert b"interrupted by a signal: signal: killed" in job.log
    assert leftovers(fleet) == []


def test_cancelled_bootstrap_ignoring_signal_is_killed_by_airlock(fleet: Fleet) -> None:
    """A hook that never ends: the container is killed before the agent would kill the wrapper."""
    with fleet.agent("--cancel-grace-period", "6"):
        stubborn = "mkdir -p .buildkite/hooks; printf '#!/bin/bash\\ntrap \"\" TERM\\nsleep 60\\n' "
        stubborn += "> .buildkite/hooks/pre-exit; echo sleeping; sleep 60"
        job = fleet.control.enqueue(fleet.env(stubborn))
        fleet.control.wait(job, lambda j: b"\nsleeping" in j.log)
        fleet.control.cancel(job)
        result = fleet.control.finished(job)
    assert result == ("-1", "SIGKILL", "cancel"), job.log.decode()
    assert b"the job was killed by Airlock: it still ran" in job.log
    assert leftovers(fleet) == []


def test_killed_agent_leaves_nothing(fleet: Fleet) -> None:
    with fleet.agent() as agent:
        job = fleet.control.enqueue(fleet.env("echo sleeping; sleep 60"))
        fleet.control.wait(job, lambda j: b"\nsleeping" in j.log)
        assert leftovers(fleet) != []
        agent.process.kill()
        eventually(lambda: leftovers(fleet) == [], "everything is removed", 15)


def test_cancel_before_container_start_runs_nothing(fleet: Fleet) -> None:
    with fleet.agent() as agent:
        job = fleet.control.enqueue(fleet.env("echo never"))
        os.kill(agent.bootstrap_pid(), signal.SIGTERM)
        result = fleet.control.finished(job)
    assert result[0] in {"-1", "143"}, job.log.decode()
    assert b"\nnever" not in job.log
    assert leftovers(fleet) == []
