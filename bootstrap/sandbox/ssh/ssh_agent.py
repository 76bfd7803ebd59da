"""The rule's ssh keys, in an agent on this host: the sandbox gets a socket and never a key.

Two layers: a filter passes three kinds of message, and the ssh-agent behind it is isolated from the
job by a uid, namespaces and a seccomp filter of its own (confine.py). It dies with this process.
"""

import os
import platform
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from bootstrap import packaged, process
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.files import write
from bootstrap.log import JobLog
from bootstrap.record import Record
from bootstrap.sandbox.environment import AIRLOCK
from bootstrap.sandbox.ssh.agent_filter import AgentFilter, Usage
from bootstrap.sandbox.ssh.agent_seccomp import MACHINES
from bootstrap.sandbox.ssh.agent_seccomp import program as seccomp_program
from bootstrap.secret import Secret

SSH = AIRLOCK / "ssh"
HOSTS = "hosts"  # beside the agent's socket: the host keys that keys are bound to
TRUSTED = "trusted"  # the one name of all hosts in it

# What an ssh-add before 8.9 prints about -h: "unknown option -- h" (openbsd-compat/getopt_long.c).
_NO_DESTINATIONS = "option -- h"


def variables() -> dict[str, str]:
    """Return the variables by which ssh and git inside use the agent and trust the known hosts.

    ssh takes the first of two settings: docs/agent-contract.md#agent-3-and-agent-4
    """
    options = (
        f"-o UserKnownHostsFile={AIRLOCK}/known_hosts -o GlobalKnownHostsFile=/dev/null "
        "-o StrictHostKeyChecking=yes"
    )
    return {"SSH_AUTH_SOCK": str(SSH / "agent"), "GIT_SSH_COMMAND": f"ssh {options}"}


def known_hosts(pinned: tuple[str, ...]) -> bytes:
    """Return a known_hosts file: the hosts shipped with Airlock, then the lines the rule pins."""
    shipped = packaged.text("bootstrap.sandbox.ssh", "known_hosts")
    return (shipped + "".join(f"{line}\n" for line in pinned)).encode()


def destinations(known: bytes) -> bytes:
    """Return the keys of all known hosts under the one name TRUSTED, for `ssh-add -h`.

    An agent binds a key to host keys and uses names for messages only. One name includes entries
    that cannot be looked up by name: hashed names and patterns.
    """
    lines = [line.split() for line in known.decode().splitlines()]
    keys = [fields[1:3] for fields in lines if len(fields) >= 3 and fields[0][0] not in "#@"]
    return "".join(f"{TRUSTED} {kind} {key}\n" for kind, key in keys).encode()


@contextmanager
def ssh_agent(
    socket_directory: Path,
    agent_directory: Path,
    keys: Mapping[str, Secret],
    *,
    uid: int,
    agent_uid: int,
    known: bytes | None,
    used: Callable[[Usage], object],
) -> Iterator[None]:
    """Run an agent with these keys, reached at `socket_directory`/agent by processes of `uid` only.

    The real agent runs as `agent_uid` in `agent_directory`, which is created. `keys` are by the
    reference to name in errors. They sign for the hosts in `known` only, or for all if it is None.
    `used` is called at the end. Raises WrongConfiguration if a key is unusable or OpenSSH is too
    old, CannotStart if the agent cannot run.
    """
    socket = agent_directory / "socket"
    for directory in (agent_directory, agent_directory / "root", socket):
        directory.mkdir(mode=0o700)
    os.chown(socket, agent_uid, agent_uid)
    with _confined(agent_directory, agent_uid):
        if known is not None:
            write(socket / HOSTS, destinations(known), 0o444)
        for reference, key in keys.items():
            _add(reference, key, socket, agent_uid, bound=known is not None)
        guard = AgentFilter(socket_directory / "agent", socket / "agent", uid=uid)
        guard.start()
        try:
            yield
        finally:
            used(guard.close())


@contextmanager
def _confined(directory: Path, uid: int) -> Iterator[None]:
    """Run the real agent until this closes, as a child that dies with this thread."""
    machine = MACHINES.get(platform.machine())
    program = shutil.which("ssh-agent", path=process.ENVIRONMENT["PATH"])
    if machine is None or program is None:
        raise CannotStart(
            f"cannot run an ssh agent for the rule's keys: got program {program}, machine "
            f"{platform.machine()}; expected ssh-agent in {process.ENVIRONMENT['PATH']} and one of "
            f"{', '.join(MACHINES)}",
            hint="Install OpenSSH's client programs, or remove allow.ssh-keys from the rule.",
        )
    # -P: no absolute path of a library matches this pattern.
    agent = (program, "-D", "-P", "none", "-a", "/socket/agent")
    script = packaged.text("bootstrap.sandbox.ssh", "confine.py")
    arguments = (str(os.getpid()), str(uid), str(directory))
    confine = (sys.executable, "-I", "-S", "-c", script, *arguments)
    pid = int(process.run([*confine, *agent], stdin=seccomp_program(machine).hex()))
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _add(reference: str, key: Secret, socket: Path, uid: int, *, bound: bool) -> None:
    """Add one key to the agent, bound to the trusted hosts if `bound`."""
    no_privileges = ("--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
    no_core = ("prlimit", "--core=1:1", "--")  # as in confine.py
    argv = [*no_core, "setpriv", f"--reuid={uid}", f"--regid={uid}", *no_privileges, "--"]
    argv += ["env", "SSH_AUTH_SOCK=agent", "ssh-add", "-q"]
    argv += ["-h", TRUSTED, "-H", HOSTS] if bound else []
    try:
        # A relative path: the agent's uid cannot search the directories above.
        process.run([*argv, "-"], stdin=key.reveal().rstrip("\n") + "\n", cwd=socket)
    except CannotStart as refused:
        if _NO_DESTINATIONS in refused.problem:
            raise _too_old() from refused
        raise WrongConfiguration(
            f"the ssh key {reference} cannot be used: expected a private key without a passphrase",
            hint="Correct allow.ssh-keys of the rule, or the key where it is stored.",
        ) from refused


def _too_old() -> WrongConfiguration:
    return WrongConfiguration(
        "this host's OpenSSH cannot bind ssh keys to the hosts that a rule trusts: got an ssh-add "
        "without -h, expected OpenSSH 8.9 or newer",
        hint='Upgrade OpenSSH, or set sandbox.ssh-destinations = "any" in airlock.toml: jobs '
        "can then use their keys towards every host that accepts them.",
    )


def report_use(usage: Usage, *, log: JobLog, record: Record) -> None:
    """Report in the log and in the audit trail how the job used its agent."""
    if usage.refused:
        asked = ", ".join(f"{name} ({times})" for name, times in sorted(usage.refused.items()))
        log.alert(f"the ssh agent refused requests other than listing keys and signing: {asked}")
    if usage.not_signed:
        log.note(
            f"the ssh agent refused {usage.not_signed} signature(s): the rule's keys sign only for "
            "hosts that the rule trusts, and clients have to be OpenSSH 8.9 or newer"
        )
    try:
        record.ssh_agent(asdict(usage))
    except CannotStart as unwritable:  # the job has ended, and its result must not change
        log.alert(f"the use of ssh keys is not in the audit record: {unwritable.problem}")
