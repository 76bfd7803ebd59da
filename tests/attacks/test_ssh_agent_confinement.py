"""The process of the job's ssh agent: without privileges, in namespaces of its own, under seccomp.

Every attack also runs on an agent that is started as it once was, where it has to succeed.
"""

import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootstrap.host.config import load
from bootstrap.sandbox.ssh.agent_seccomp import MACHINES, program
from tests.attacks.ssh_agent import (
    FAILURE,
    NAMESPACES,
    PROGRAM,
    SUCCESS,
    WAIT,
    Servers,
    answers,
    assert_confined,
    children,
    job,
    namespaces,
    real_agent,
    status_of,
    waiting,
)
from tests.lab.engine import eventually
from tests.lab.lab import Fleet, Lab

pytestmark = pytest.mark.lab

CONFINE = Path(__file__).parents[2] / "bootstrap/sandbox/ssh/confine.py"
# Any job's uid, and how an agent was once started as it.
AS_JOB = ("setpriv", "--reuid=2000", "--regid=2000", "--clear-groups", "--no-new-privs", "--")
AGENT_UID = 1999


def test_ssh_agent_of_job_is_confined_and_ends_with_job(fleet: Fleet, servers: Servers) -> None:
    with job(fleet, servers, WAIT) as (running, agent):
        wrapper = waiting(fleet, running, agent)
        pid = real_agent(wrapper)
        assert_confined(pid, load(fleet.config).sandbox.helper_uid)
        own, host = namespaces(pid), namespaces("self")
        assert {name for name in NAMESPACES if own[name] != host[name]} == set(NAMESPACES)
        assert status_of(pid)["NSpid"].split()[1] == "1"
        assert os.getsid(pid) not in (os.getsid(wrapper), 0)
        sees = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        assert [line.split()[4:6] for line in sees] == [["/", "ro,nosuid,nodev,noexec,relatime"]]
        assert list(Path(f"/proc/{pid}/root").iterdir()) == []
        assert Path(f"/proc/{pid}/fd").stat().st_uid == 0, "not dumpable"
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        (core,) = [line.split()[4:6] for line in limits if line.startswith("Max core file size")]
        assert core == ["1", "1"], "0 does not stop a core_pattern that is a pipe"
        fleet.control.cancel(running)
        fleet.control.finished(running)
    assert not Path(f"/proc/{pid}").exists()


@contextmanager
def unconfined_agent(directory: Path) -> Iterator[tuple[int, Path]]:
    """An agent of the job's uid in the host's own namespaces."""
    directory.mkdir()
    os.chown(directory, 2000, 2000)
    argv = [*AS_JOB, "ssh-agent", "-D", "-a", "agent"]
    with subprocess.Popen(argv, cwd=directory, stdout=subprocess.DEVNULL) as agent:
        try:
            eventually((directory / "agent").exists, "the agent listens")
            yield agent.pid, directory / "agent"
        finally:
            agent.kill()


@contextmanager
def confined_agent(directory: Path, *flags: str) -> Iterator[tuple[int, Path]]:
    """The real agent, without the filter in front of it and with other flags."""
    for path in (directory, directory / "root", directory / "socket"):
        path.mkdir()
    os.chown(directory / "socket", AGENT_UID, AGENT_UID)
    argv = [sys.executable, "-I", "-S", str(CONFINE), str(os.getpid()), str(AGENT_UID)]
    argv += [str(directory), "/usr/bin/ssh-agent", "-D", *flags, "-a", "/socket/agent"]
    done = subprocess.run(
        argv,
        input=program(MACHINES[platform.machine()]).hex(),
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    pid = int(done.stdout)
    try:
        yield pid, directory / "socket/agent"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def changed(agent: Path, *as_whom: str) -> dict[str, str]:
    """Run the attacker's program on this host, past the filter, and return its answers."""
    return answers(attack_as(agent, *as_whom).stdout)


def attack_as(agent: Path, *as_whom: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*as_whom, "/usr/bin/python3", "-", "change", str(agent)],
        input=PROGRAM, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def opened(directory: Path) -> Path:
    """Make a directory of pytest's reachable for every user."""
    for path in (directory, *directory.parents[:2]):
        if path != Path(tempfile.gettempdir()):  # with --basetemp it is one of them
            path.chmod(0o755)
    return directory


def test_unconfined_ssh_agent_loads_library_of_job_on_host(lab: Lab, tmp_path: Path) -> None:
    """The attack itself (as CVE-2023-38408): the helper that loads it is outside of the sandbox."""
    with unconfined_agent(opened(tmp_path) / "plain") as (pid, agent):
        assert changed(agent, *AS_JOB)["add-identity"] == str(SUCCESS)
        assert namespaces(pid) == namespaces("self")
        assert status_of(pid)["Uid"].split()[0] == "2000", "the uid of the job's own processes"
        assert os.getpgid(pid) == os.getpgid(0), "a cancellation's signal reached it too"
        (helper, *_) = children(pid)
        assert "ssh-pkcs11-helper" in Path(f"/proc/{helper}/cmdline").read_text()
        assert namespaces(helper) == namespaces("self")
        assert status_of(helper)["Seccomp"] == status_of(os.getpid())["Seccomp"]


def test_confined_ssh_agent_without_providers_starts_no_helper(lab: Lab, tmp_path: Path) -> None:
    """As root, past the filter, where no provider is allowed."""
    with confined_agent(tmp_path / "own", "-P", "none") as (pid, agent):
        got = changed(agent)
        assert got["add-smartcard-key"] == str(FAILURE)
        assert got["lock"] == str(SUCCESS), "it was this agent that answered"
        assert children(pid) == []


def test_confined_ssh_agent_with_every_provider_starts_no_helper(lab: Lab, tmp_path: Path) -> None:
    """Seccomp alone denies every call that starts a process."""
    with confined_agent(tmp_path / "own", "-P", "/*") as (pid, agent):
        assert changed(agent)["add-smartcard-key"] == str(FAILURE)
        assert children(pid) == []
        assert_confined(pid, AGENT_UID)


def test_ssh_agent_is_unreachable_for_job_uid_past_filter(lab: Lab, tmp_path: Path) -> None:
    """Its directory denies it, and with that open the agent's own check of its peer."""
    with confined_agent(opened(tmp_path) / "own", "-P", "none") as (pid, agent):
        assert "PermissionError" in attack_as(agent, *AS_JOB).stderr
        for path in (tmp_path / "own", agent.parent, agent):
            path.chmod(0o777)
        rejected = attack_as(agent, *AS_JOB)
        assert re.search("Connection|BrokenPipe", rejected.stderr), rejected.stderr
        assert answers(rejected.stdout) == {}
        assert changed(agent)["lock"] == str(SUCCESS), "root is answered"
        kill = [*AS_JOB, "kill", "-0", str(pid)]
        assert subprocess.run(kill, capture_output=True, check=False).returncode != 0
