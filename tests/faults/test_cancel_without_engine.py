"""Jobs end, and what runs in them, although dockerd does not answer (SIGSTOP)."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.fakes.control_plane import Job
from tests.lab.agent import Agent, reaper_of
from tests.lab.engine import OURS, answers, eventually
from tests.lab.lab import AIRLOCK, Fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

# The log does not get through a stopped engine, so trap and hook leave files in the checkout.
COMMAND = r"""
mkdir -p .buildkite/hooks
printf '#!/bin/bash\ntouch hook-ran\n' >.buildkite/hooks/pre-exit
setsid sleep 300 </dev/null >/dev/null 2>&1 &
trap 'touch trap-ran; exit 3' TERM
echo sleeping
sleep 300 & wait
"""


@contextmanager
def stopped_engine(fleet: Fleet) -> Iterator[None]:
    """Stop the lab's own dockerd: it accepts connections and answers nothing."""
    assert fleet.lab.engine, "tests do not stop this machine's own Docker"
    fleet.lab.engine.stop()
    try:
        yield
    finally:
        fleet.lab.engine.cont()
        eventually(lambda: answers(OURS), "dockerd answers again")


def sleeping(fleet: Fleet) -> Job:
    job = fleet.control.enqueue(fleet.env(COMMAND))
    fleet.control.wait(job, lambda j: b"\nsleeping" in j.log)
    return job


def namespace_of_job() -> int:
    """Return the PID namespace of the one running job."""
    (record,) = Path("/run/airlock/jobs").glob("*/process")
    return Path(f"/proc/{json.loads(record.read_text())['pid']}/ns/pid").stat().st_ino


def processes_in(namespace: int) -> list[str]:
    """Return the command lines of all processes in a PID namespace; zombies are in none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "ns/pid").stat().st_ino == namespace:
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def left_in_checkout(fleet: Fleet) -> set[str]:
    return {path.name for path in (fleet.base / "state/workspaces").rglob("*-ran")}


def test_job_is_cancelled_in_time_although_engine_is_stopped(fleet: Fleet) -> None:
    with fleet.agent():
        job = sleeping(fleet)
        inside = namespace_of_job()
        assert any("sleep 300" in line for line in processes_in(inside))
        with stopped_engine(fleet):
            began = time.monotonic()
            fleet.control.cancel(job)
            result = fleet.control.finished(job, 30)
            took = time.monotonic() - began
            assert result == ("-1", "SIGTERM", "cancel"), job.log.decode()
            assert took < 11, "the agent polls each second, and kills 9 s after its signal"
            assert left_in_checkout(fleet) == {"trap-ran", "hook-ran"}
            assert processes_in(inside) == []
            assert b"could not clear all of" in job.log
        eventually(lambda: leftovers(fleet) == [], "everything is removed", 15)
        following = fleet.control.enqueue(fleet.env("echo next"))
        assert fleet.control.finished(following) == ("0", "", ""), following.log.decode()


@pytest.mark.parametrize("killed", ["wrapper", "agent"])
def test_processes_of_job_end_with_their_wrapper_although_engine_is_stopped(
    fleet: Fleet, killed: str
) -> None:
    with fleet.agent() as agent:
        sleeping(fleet)
        inside = namespace_of_job()
        wrapper = agent.bootstrap_pid()
        with stopped_engine(fleet):
            os.kill(wrapper if killed == "wrapper" else agent.pid, signal.SIGKILL)
            eventually(lambda: processes_in(inside) == [], "the job's processes end", 12)
            assert list(Path("/run/airlock/jobs").iterdir()) != []
        eventually(lambda: leftovers(fleet) == [], "everything is removed", 15)


def _kill_with_reaper(agent: Agent) -> None:
    wrapper = agent.bootstrap_pid()
    for pid in (reaper_of(wrapper), wrapper):
        os.kill(pid, signal.SIGKILL)


def test_gc_ends_processes_although_engine_is_stopped_and_says_what_is_left(fleet: Fleet) -> None:
    """Wrapper and reaper are killed together: what is left then is gc's."""
    with fleet.agent() as agent:
        job = sleeping(fleet)
        inside = namespace_of_job()
        with stopped_engine(fleet):
            _kill_with_reaper(agent)
            assert fleet.control.finished(job)[1] == "SIGKILL"
            assert processes_in(inside) != []
            done = _gc(fleet)
            assert done.returncode != 0
            assert "could not" in done.stdout
            assert job.id in done.stdout
            assert processes_in(inside) == []
    assert _gc(fleet).returncode == 0
    assert leftovers(fleet) == []


def test_many_who_clear_the_same_leftovers_do_not_disturb_each_other(fleet: Fleet) -> None:
    """The reaper, three times gc, and the next job."""
    with ExitStack() as agents:
        agent = agents.enter_context(fleet.agent())
        sleeping(fleet)
        agents.enter_context(fleet.agent(name="agent-2"))
        os.kill(agent.bootstrap_pid(), signal.SIGKILL)
        following = fleet.control.enqueue(fleet.env("echo next", BUILDKITE_AGENT_NAME="agent-2"))
        with ThreadPoolExecutor() as pool:
            done = list(pool.map(_gc, [fleet] * 3))
        assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * 3, done
        assert fleet.control.finished(following) == ("0", "", ""), following.log.decode()
        assert b"could not clear" not in following.log
        eventually(lambda: leftovers(fleet) == [], "everything is removed", 10)


def _gc(fleet: Fleet) -> "subprocess.CompletedProcess[str]":
    argv = [*AIRLOCK, "gc", "--config", str(fleet.config)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_leftovers_that_cannot_be_removed_are_reported_and_do_not_stop_the_next_job(
    fleet: Fleet,
) -> None:
    with fleet.agent():
        first = fleet.control.enqueue(fleet.env("true"))
        assert fleet.control.finished(first) == ("0", "", "")
        dead = Path("/run/airlock/jobs/dead-job")
        (dead / "mounted").mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", dead / "mounted"], check=True)
        try:
            (dead / "address").write_text("{}")  # of another version
            job = fleet.control.enqueue(fleet.env("echo next"))
            assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
            assert b"could not clear all that dead jobs left" in job.log
            assert b"dead-job" in job.log
            gc = _gc(fleet)
            assert gc.returncode != 0
            assert "dead-job" in gc.stdout
        finally:
            subprocess.run(["umount", dead / "mounted"], check=True)
    assert _gc(fleet).returncode == 0
    assert leftovers(fleet) == []
