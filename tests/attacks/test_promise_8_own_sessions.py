"""Promise 8: cancelling a job signals the wrapper's process group, and no helper is in that.

A signal there would end the ssh agent before the hooks, or a program in the midst of its work.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bootstrap.sandbox.leases.first_process import has_ended, send
from tests.attacks.attacker import run
from tests.attacks.ssh_agent import WAIT, Servers, children, job, waiting
from tests.lab.engine import eventually
from tests.lab.lab import Fleet

pytestmark = pytest.mark.lab


@dataclass(kw_only=True, slots=True)
class Seen:
    """The programs that descend from one process, and those of them in its process group."""

    programs: set[str] = field(default_factory=set)
    in_group: set[str] = field(default_factory=set)

    def look(self, wrapper: int) -> None:
        group, own = os.getpgid(wrapper), _program(wrapper)
        for pid in _descendants(wrapper):
            with suppress(OSError):
                # Before its exec a child is still in its parent's group, under its parent's name.
                program = _program(pid)
                if program != own:
                    self.programs.add(program)
                    if os.getpgid(pid) == group:
                        self.in_group.add(program)
                elif os.getsid(pid) == pid and os.getpgid(pid) == group:
                    self.in_group.add("the reaper")


def _program(pid: int) -> str:
    return Path(f"/proc/{pid}/exe").readlink().name


def _descendants(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for child in children(pid):
            yield child
            yield from _descendants(child)


@contextmanager
def watched(wrapper: int) -> Iterator[Seen]:
    """Look all the time, in a thread of its own."""
    seen, stopping = Seen(), threading.Event()

    def watch() -> None:
        with suppress(OSError):  # it has ended
            while not stopping.is_set():
                seen.look(wrapper)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stopping.set()
        thread.join()


def test_no_helper_is_in_the_process_group_of_its_wrapper(fleet: Fleet, servers: Servers) -> None:
    """From the first program to the last: sweep, ruleset, credentials, ssh agent, cleaning up.

    The ruleset has been changed, so that it is loaded and compared by nft itself.
    """
    with fleet.agent():  # so that the host is prepared
        first = fleet.control.enqueue(
            fleet.env("true", BUILDKITE_REPO=servers.url, BUILDKITE_COMMIT=servers.commit)
        )
        assert fleet.control.finished(first)[0] == "0", first.log.decode()
    run("nft", "flush", "chain", "inet", "airlock", "from_container")
    dead = Path("/run/airlock/jobs/dead-job")
    (dead / "sandbox").mkdir(parents=True)
    with job(fleet, servers, WAIT) as (running, agent), watched(agent.bootstrap_pid()) as seen:
        waiting(fleet, running, agent)
        fleet.control.cancel(running)
        assert fleet.control.finished(running)[1] == "SIGTERM", running.log.decode()
    assert not dead.exists()
    assert seen.programs >= {"nft", "ssh-agent"}
    assert seen.in_group == set()


HELPER = "import subprocess; subprocess.run(['sleep', '60'], start_new_session={})"


@pytest.mark.parametrize("own_session", [False, True])
def test_cancelling_ends_a_helper_that_has_no_session_of_its_own(*, own_session: bool) -> None:
    """Without the protection: the same watch finds the helper, and the agent's signal ends it."""
    command = [sys.executable, "-c", HELPER.format(own_session)]
    with (
        subprocess.Popen(command, start_new_session=True) as wrapper,
        watched(wrapper.pid) as seen,
    ):
        eventually(lambda: "sleep" in seen.programs, "the helper runs")
        (helper,) = children(wrapper.pid)
        process = os.pidfd_open(helper)
        os.killpg(wrapper.pid, signal.SIGTERM)
        wrapper.wait()
    assert seen.in_group == (set() if own_session else {"sleep"})
    try:
        assert has_ended(process, 0.0 if own_session else 10.0) == (not own_session)
        send(process, signal.SIGKILL)
    finally:
        os.close(process)
