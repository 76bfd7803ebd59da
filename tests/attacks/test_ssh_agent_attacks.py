"""The job's ssh agent: it lists and signs, for trusted hosts, and is no way out of the sandbox."""

import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootstrap.host.config import load
from bootstrap.sandbox.agent_seccomp import MACHINES, program
from tests.fakes.control_plane import Job
from tests.fakes.git import publish
from tests.fakes.ssm import StrictSsm
from tests.lab import world
from tests.lab.agent import Agent
from tests.lab.engine import eventually
from tests.lab.lab import Fleet, Lab
from tests.lab.leftovers import leftovers
from tests.lab.sshd import PORT, GitOverSsh, git_over_ssh

pytestmark = pytest.mark.lab

ATTACK = Path(__file__).with_name("ssh_agent_job.py")
CONFINE = Path(__file__).parents[2] / "bootstrap/sandbox/confine.py"
NAMESPACES = ("net", "mnt", "pid", "ipc", "uts")
FAILURE, SUCCESS, SIGNED = 5, 6, 14
CHANGES = (
    "add-smartcard-key", "add-smartcard-key-constrained", "add-identity", "add-id-constrained",
    "lock", "unlock", "remove-all-identities",
)  # fmt: skip
# Any job's uid, and how an agent was started as it before.
AS_JOB = ("setpriv", "--reuid=2000", "--regid=2000", "--clear-groups", "--no-new-privs", "--")
AGENT_UID = 1999

# A job has the attacker's program, a plain agent of its own to compare with, and honest work.
PRELUDE = f"""
set -euo pipefail
cat >/tmp/attack.py <<'ATTACK'
{ATTACK.read_text()}
ATTACK
attack() {{ python3 /tmp/attack.py "$@"; }}
honest() {{ git ls-remote "$BUILDKITE_REPO" refs/heads/main | grep -q refs/heads/main; }}
honest
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Servers:
    """The host that the rule pins, one that it does not, and both take the rule's key."""

    pinned: GitOverSsh
    other: GitOverSsh
    url: str
    commit: str


@pytest.fixture
def servers(fleet: Fleet, tmp_path: Path) -> Iterator[Servers]:
    with (
        git_over_ssh(tmp_path / "ssh") as pinned,
        git_over_ssh(tmp_path / "other", port=PORT + 1, takes=pinned) as other,
        StrictSsm(world.listen(world.WORLD, 0)) as ssm,
    ):
        ssm.put("/storefront/deploy-key", pinned.private_key, kind="SecureString")
        settings = f'[aws]\nssm-endpoint = "{ssm.url}"'
        fleet.config.write_text(fleet.config.read_text().replace("[aws]", settings))
        root = fleet.base / "git"
        hook = "#!/bin/bash\nssh-add -l >/tmp/listed && echo the hook sees a key\n"
        commit = publish(root, "private", {".buildkite/hooks/pre-exit": hook})
        url = pinned.url(root / "private.git")
        fleet.policy(
            "  - name: main\n    when: {branch: main}\n    allow:\n"
            "      ssh-keys: 'ssm:/storefront/deploy-key'\n"
            f"      known-hosts: '{pinned.known_host}'\n",
            repository=url,
        )
        yield Servers(pinned=pinned, other=other, url=url, commit=commit)


@contextmanager
def job(fleet: Fleet, servers: Servers, command: str) -> Iterator[tuple[Job, Agent]]:
    """Run a job with the attacker's program."""
    with fleet.agent("--no-ssh-keyscan", "--checkout-attempts", "1") as agent:
        env = fleet.env(
            PRELUDE + command, BUILDKITE_REPO=servers.url, BUILDKITE_COMMIT=servers.commit
        )
        yield fleet.control.enqueue(env), agent


def log_of(fleet: Fleet, servers: Servers, command: str) -> str:
    """Run a job to its good end and return its log."""
    with job(fleet, servers, command) as (running, _):
        status = fleet.control.finished(running, 120)[0]
    assert status == "0", running.log.decode()
    return running.log.decode().replace("\r", "")


WAIT = "echo now waiting; sleep 300"


def waiting(fleet: Fleet, running: Job, agent: Agent) -> int:
    """Wait until the job waits; returns its wrapper's pid."""
    fleet.control.wait(running, lambda j: b"\nnow waiting" in j.log or j.finish)
    assert running.finish is None, running.log.decode()
    return agent.bootstrap_pid()


def answers(text: str) -> dict[str, str]:
    """Return what the attacker's program printed as name=value."""
    lines = [line.partition("=") for line in text.splitlines() if "=" in line]
    return {name: value for name, _, value in lines}


def children(pid: int) -> list[int]:
    listed = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for line in listed for child in line.split()]


def real_agent(wrapper: int) -> int:
    """Find the agent among the wrapper's children."""
    (found,) = [
        pid for pid in children(wrapper)
        if Path(f"/proc/{pid}/comm").read_text() == "ssh-agent\n"
    ]  # fmt: skip
    return found


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def namespaces(pid: int | str) -> dict[str, str]:
    return {name: str(Path(f"/proc/{pid}/ns/{name}").readlink()) for name in NAMESPACES}


def test_nothing_but_lists_and_signatures_reaches_the_agent(fleet: Fleet, servers: Servers) -> None:
    """With its twin: a plain agent of the same job does all of it."""
    log = log_of(
        fleet,
        servers,
        'attack change "$SSH_AUTH_SOCK"\nattack malformed "$SSH_AUTH_SOCK"\nhonest\n'
        "echo the key still works\n"
        "ssh-agent -D -a /tmp/plain >/dev/null &\nuntil test -S /tmp/plain; do :; done\n"
        "echo a plain agent:\nattack change /tmp/plain\nkill $!\n",
    )
    filtered, _, plain = log.partition("\na plain agent:")
    got = answers(filtered)
    assert {got[name] for name in (*CHANGES, "query", "unknown")} == {str(FAILURE)}
    assert {got[f"cut short {number}"] for number in range(4)} == {str(FAILURE)}
    assert {got[f"length {length}"] for length in (0, 262145, 4294967295)} == {str(FAILURE)}
    assert got["left halfway"] == "b''"
    assert got["helpers"] == "0"
    assert re.search(r"change done as [1-9]\d{3,}", filtered), "not as root"
    assert "the key still works" in filtered
    unprotected = answers(plain)
    for name in ("add-identity", "add-id-constrained", "lock", "unlock", "remove-all-identities"):
        assert unprotected[name] == str(SUCCESS), name
    assert int(unprotected["helpers"]) >= 1


def test_refusals_are_reported_once_and_recorded(fleet: Fleet, servers: Servers) -> None:
    command = 'for i in 1 2 3; do attack change "$SSH_AUTH_SOCK"; done\n'
    with job(fleet, servers, command) as (running, _):
        assert fleet.control.finished(running, 120)[0] == "0", running.log.decode()
    assert running.log.count(b"the ssh agent refused requests") == 1
    assert b"add-smartcard-key (3)" in running.log
    (event,) = [e for e in fleet.events(running.id) if e["event"] == "ssh_agent"]
    assert event["refused"]["add-smartcard-key"] == 3
    assert event["signed"] >= 2


def test_a_flood_does_not_stop_an_honest_client(fleet: Fleet, servers: Servers) -> None:
    """Hundreds of silent connections, one that drips and one that takes no answer."""
    log = log_of(
        fleet,
        servers,
        'attack flood "$SSH_AUTH_SOCK" >/tmp/flood &\n'
        "until grep -q flooded /tmp/flood; do kill -0 $!; done\n"
        "for i in 1 2 3 4 5; do honest && echo honest $i; done\n"
        "kill -0 $! && echo the flood goes on\nkill -9 $!\n",
    )
    assert "honest 5" in log
    assert "the flood goes on" in log


ELSEWHERE = f"""
ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes \
  -p {PORT + 1} root@{world.WORLD} echo I am inside || echo not let in
ssh-add -L >/tmp/deploy.pub
echo text | ssh-keygen -q -Y sign -n file -f /tmp/deploy.pub >/tmp/signature || true
test -s /tmp/signature && echo text is signed || echo text is not signed
attack misuse "$SSH_AUTH_SOCK" "KNOWN"
honest
"""


def test_a_key_works_for_trusted_hosts_alone(fleet: Fleet, servers: Servers) -> None:
    log = log_of(fleet, servers, ELSEWHERE.replace("KNOWN", servers.pinned.known_host))
    assert "\nnot let in" in log
    assert "\nI am inside" not in log
    assert "\ntext is not signed" in log
    got = answers(log)
    assert got["unbound"] == got["forged bind"] == got["after it"] == str(FAILURE)
    assert "signature(s): the rule's keys sign only for" in log


def test_without_destinations_a_key_works_for_every_host(fleet: Fleet, servers: Servers) -> None:
    settings = fleet.config.read_text()
    fleet.config.write_text(settings.replace("[sandbox]", '[sandbox]\nssh-destinations = "any"'))
    log = log_of(fleet, servers, ELSEWHERE.replace("KNOWN", servers.pinned.known_host))
    assert "\nI am inside" in log
    assert "\ntext is signed" in log
    assert answers(log)["unbound"] == str(SIGNED)
    assert "ssh keys work towards every host" in log


def test_the_agent_lives_alone_and_without_powers(fleet: Fleet, servers: Servers) -> None:
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


def assert_confined(pid: int, uid: int) -> None:
    status = status_of(pid)
    assert status["Uid"].split() == status["Gid"].split() == [str(uid)] * 4
    assert status["Groups"] == ""
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
        assert int(status[f"Cap{kind}"], 16) == 0, kind


@contextmanager
def agent_as_before(directory: Path) -> Iterator[tuple[int, Path]]:
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
    """Run the attacker's program on this host, as whoever may reach the agent past the filter."""
    return answers(attack_as(agent, *as_whom).stdout)


def attack_as(agent: Path, *as_whom: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*as_whom, "/usr/bin/python3", "-", "change", str(agent)],
        input=ATTACK.read_text(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def opened(directory: Path) -> Path:
    """Let everybody walk to a directory of pytest's."""
    for path in (directory, *directory.parents[:2]):
        path.chmod(0o755)
    return directory


def test_before_it_a_library_of_the_job_s_choice_ran_on_the_host(lab: Lab, tmp_path: Path) -> None:
    """The attack itself (CVE-2023-38408's way): the helper that loads it is in no sandbox."""
    with agent_as_before(opened(tmp_path) / "plain") as (pid, agent):
        assert changed(agent, *AS_JOB)["add-identity"] == str(SUCCESS)
        assert namespaces(pid) == namespaces("self")
        assert status_of(pid)["Uid"].split()[0] == "2000", "as the job's own processes"
        assert os.getpgid(pid) == os.getpgid(0), "a cancellation's signal reached it too"
        (helper, *_) = children(pid)
        assert "ssh-pkcs11-helper" in Path(f"/proc/{helper}/cmdline").read_text()
        assert namespaces(helper) == namespaces("self")
        assert status_of(helper)["Seccomp"] == status_of(os.getpid())["Seccomp"]


def test_behind_the_filter_the_agent_starts_no_helper(lab: Lab, tmp_path: Path) -> None:
    """As root, past the filter: no provider is allowed."""
    with confined_agent(tmp_path / "own", "-P", "none") as (pid, agent):
        got = changed(agent)
        assert got["add-smartcard-key"] == str(FAILURE)
        assert got["lock"] == str(SUCCESS), "it was this agent that answered"
        assert children(pid) == []


def test_not_even_where_every_provider_is_allowed(lab: Lab, tmp_path: Path) -> None:
    """Seccomp alone: there is no call that starts a process."""
    with confined_agent(tmp_path / "own", "-P", "/*") as (pid, agent):
        assert changed(agent)["add-smartcard-key"] == str(FAILURE)
        assert children(pid) == []
        assert_confined(pid, AGENT_UID)


def test_a_job_s_uid_does_not_reach_the_agent_past_the_filter(lab: Lab, tmp_path: Path) -> None:
    """Neither by its directory nor, with that open, by the agent's own check of its peer."""
    with confined_agent(opened(tmp_path) / "own", "-P", "none") as (pid, agent):
        assert "PermissionError" in attack_as(agent, *AS_JOB).stderr
        for path in (tmp_path / "own", agent.parent, agent):
            path.chmod(0o777)
        shut_out = attack_as(agent, *AS_JOB)
        assert "Connection" in shut_out.stderr or "BrokenPipe" in shut_out.stderr
        assert answers(shut_out.stdout) == {}
        assert changed(agent)["lock"] == str(SUCCESS), "root is answered"
        kill = [*AS_JOB, "kill", "-0", str(pid)]
        assert subprocess.run(kill, capture_output=True, check=False).returncode != 0


def test_kill_9_of_the_wrapper_ends_the_agent(fleet: Fleet, servers: Servers) -> None:
    with job(fleet, servers, WAIT) as (running, agent):
        wrapper = waiting(fleet, running, agent)
        pid = real_agent(wrapper)
        os.kill(wrapper, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{pid}").exists(), "the agent ends", 5)
        assert fleet.control.finished(running)[1] == "SIGKILL"
        eventually(lambda: leftovers(fleet) == [], "everything is given back", 6)


def test_the_hooks_of_a_cancelled_job_still_have_the_key(fleet: Fleet, servers: Servers) -> None:
    """The agent's signal to the wrapper's process group is none of the ssh agent's."""
    with job(fleet, servers, WAIT) as (running, agent):
        waiting(fleet, running, agent)
        fleet.control.cancel(running)
        fleet.control.finished(running)
    assert b"the hook sees a key" in running.log, running.log.decode()
