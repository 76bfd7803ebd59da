"""Jobs that attack the ssh agent: servers, program, and what a test sees of the agent."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.control_plane import Job
from tests.fakes.git import publish
from tests.fakes.ssm import StrictSsm
from tests.lab import world
from tests.lab.agent import Agent
from tests.lab.lab import Fleet
from tests.lab.sshd import PORT, GitOverSsh, git_over_ssh

PROGRAM = Path(__file__).with_name("ssh_agent_job.py").read_text()
NAMESPACES = ("net", "mnt", "pid", "ipc", "uts")
FAILURE, SUCCESS, SIGNED = 5, 6, 14  # the protocol's answers

# A job has the attacker's program, a plain agent of its own to compare with, and honest work.
PRELUDE = f"""
set -euo pipefail
cat >/tmp/attack.py <<'ATTACK'
{PROGRAM}
ATTACK
attack() {{ python3 /tmp/attack.py "$@"; }}
honest() {{ git ls-remote "$BUILDKITE_REPO" refs/heads/main | grep -q refs/heads/main; }}
honest
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Servers:
    """The host that the rule pins and one that it does not; both accept the rule's key."""

    pinned: GitOverSsh
    other: GitOverSsh
    url: str
    commit: str


@contextmanager
def two_servers(fleet: Fleet, base: Path) -> Iterator[Servers]:
    with (
        git_over_ssh(base / "ssh") as pinned,
        git_over_ssh(base / "other", port=PORT + 1, takes=pinned) as other,
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
    """Run a job that has to succeed and return its log."""
    with job(fleet, servers, command) as (running, _):
        status = fleet.control.finished(running, 120)[0]
    assert status == "0", running.log.decode()
    return running.log.decode().replace("\r", "")


WAIT = "echo now waiting; sleep 300"


def waiting(fleet: Fleet, running: Job, agent: Agent) -> int:
    """Wait until the job's command runs; return the pid of its wrapper."""
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


def assert_confined(pid: int, uid: int) -> None:
    status = status_of(pid)
    assert status["Uid"].split() == status["Gid"].split() == [str(uid)] * 4
    assert status["Groups"] == ""
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
        assert int(status[f"Cap{kind}"], 16) == 0, kind
