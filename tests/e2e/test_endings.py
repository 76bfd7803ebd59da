"""How jobs end early: cancelled, timed out, stubborn, orphaned."""

import os
import signal
from pathlib import Path

import pytest

from tests.lab.engine import eventually
from tests.lab.lab import Fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

TRAP = "trap 'echo the trap ran; exit 3' TERM; echo sleeping; sleep 60 & wait"


def test_cancel_reaches_the_command_and_the_hooks(fleet: Fleet) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env(TRAP))
        fleet.control.wait(job, lambda j: b"\nsleeping" in j.log)
        fleet.control.cancel(job)
        result = fleet.control.finished(job)
    assert result == ("-1", "SIGTERM", "cancel"), job.log.decode()
    assert b"the trap ran" in job.log
    assert b"pre-exit hook ran: cancelled=true timed-out=no" in job.log
    assert leftovers(fleet) == []


def test_a_timeout_is_told_to_the_hooks(fleet: Fleet) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env(TRAP))
        fleet.control.wait(job, lambda j: b"\nsleeping" in j.log)
        fleet.control.cancel(job, "timing_out")
        result = fleet.control.finished(job)
    assert result == ("-1", "SIGTERM", "cancel"), job.log.decode()
    assert b"pre-exit hook ran: cancelled=true timed-out=true" in job.log


def test_a_command_that_ignores_the_signal_is_gone_before_the_agents_kill(fleet: Fleet) -> None:
    """The bootstrap inside kills it at its own, shorter deadline and ends as cancelled."""
    with fleet.agent("--cancel-grace-period", "10"):
        stubborn = "trap '' TERM; echo sleeping; while true; do sleep 1; done"
        job = fleet.control.enqueue(fleet.env(stubborn))
        fleet.control.wait(job, lambda j: b"\nsleeping" in j.log)
        fleet.control.cancel(job)
        result = fleet.control.finished(job)
    assert result == ("-1", "SIGTERM", "cancel"), job.log.decode()
    assert b"interrupted by a signal: signal: killed" in job.log
    assert leftovers(fleet) == []


def test_a_bootstrap_that_ignores_the_signal_is_killed_by_us(fleet: Fleet) -> None:
    """A hook that never ends: the room is killed before the agent would kill us."""
    hook = fleet.base / "git/storefront.work/.buildkite/hooks/pre-exit"
    hook.write_text("#!/bin/bash\ntrap '' TERM; echo hook hangs; sleep 60\n")
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


def test_kill_9_of_the_wrapper_leaves_nothing(fleet: Fleet) -> None:
    with fleet.agent() as agent:
        job = fleet.control.enqueue(fleet.env(TRAP))
        fleet.control.wait(job, lambda j: b"\nsleeping" in j.log)
        assert leftovers(fleet) != []
        os.kill(agent.bootstrap_pid(), signal.SIGKILL)
        eventually(lambda: leftovers(fleet) == [], "everything is given back", 5)
        assert fleet.control.finished(job)[1] == "SIGKILL"


def test_the_agents_death_ends_the_room(fleet: Fleet) -> None:
    with fleet.agent() as agent:
        job = fleet.control.enqueue(fleet.env(TRAP))
        fleet.control.wait(job, lambda j: b"\nsleeping" in j.log)
        agent.process.kill()
        eventually(lambda: leftovers(fleet) == [], "everything is given back", 15)


def test_cancel_before_the_room_is_ready_starts_nothing(fleet: Fleet, tmp_path: Path) -> None:
    with fleet.agent() as agent:
        job = fleet.control.enqueue(fleet.env("echo never"))
        os.kill(agent.bootstrap_pid(), signal.SIGTERM)
        result = fleet.control.finished(job)
    assert result[0] in {"-1", "143"}, job.log.decode()
    assert b"\nnever" not in job.log
    assert leftovers(fleet) == []
