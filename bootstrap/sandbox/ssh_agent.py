"""The rule's ssh keys, in an agent on this host: the sandbox gets a socket and never a key.

Two lines: the job speaks to a filter that knows three messages, and behind it ssh-agent runs as
nobody that the job could be, in namespaces of its own, without a right and with few system calls.
It dies with us, however we die.
"""

import os
import platform
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib import resources
from pathlib import Path

from bootstrap import process
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.files import write
from bootstrap.log import JobLog
from bootstrap.record import Record
from bootstrap.sandbox.agent_filter import AgentFilter, Usage
from bootstrap.sandbox.agent_seccomp import MACHINES
from bootstrap.sandbox.agent_seccomp import program as seccomp_program
from bootstrap.sandbox.environment import AIRLOCK
from bootstrap.secret import Secret

SSH = AIRLOCK / "ssh"
HOSTS = "hosts"  # the file, beside the agent's socket, of host keys that keys are bound to
TRUSTED = "trusted"  # the one name of all hosts in it

# What an ssh-add before 8.9 says of -h: "unknown option -- h" (openbsd-compat/getopt_long.c).
_NO_DESTINATIONS = "option -- h"


def variables() -> dict[str, str]:
    """Return what leads ssh and git in the room to the agent, and to hosts that are known."""
    options = (
        f"-o UserKnownHostsFile={AIRLOCK}/known_hosts -o GlobalKnownHostsFile=/dev/null "
        "-o StrictHostKeyChecking=yes"
    )
    return {"SSH_AUTH_SOCK": str(SSH / "agent"), "GIT_SSH_COMMAND": f"ssh {options}"}


def known_hosts(pinned: tuple[str, ...]) -> bytes:
    """Return the hosts that the room trusts: the big ones and those that the rule pins."""
    shipped = resources.files("bootstrap.sandbox").joinpath("known_hosts").read_text()
    return (shipped + "".join(f"{line}\n" for line in pinned)).encode()


def destinations(known: bytes) -> bytes:
    """Return the keys of all known hosts under one name, for `ssh-add -h`.

    The agent binds a key to host keys, and takes their names for messages only. Under a name of
    our own every entry counts: also hashed names, which cannot be looked up, and patterns.
    """
    lines = [line.split() for line in known.decode().splitlines()]
    keys = [fields[1:3] for fields in lines if len(fields) >= 3 and fields[0][0] not in "#@"]
    return "".join(f"{TRUSTED} {kind} {key}\n" for kind, key in keys).encode()


@contextmanager
def ssh_agent(
    room: Path,
    place: Path,
    keys: Mapping[str, Secret],
    *,
    uid: int,
    agent_uid: int,
    known: bytes | None,
    used: Callable[[Usage], object],
) -> Iterator[None]:
    """Hold an agent with these keys at `room`/agent, for processes of `uid` alone.

    The agent itself is at `place`, as `agent_uid`. The keys' names are for complaints. They sign
    for the hosts in `known` only; None means for all. `used` is told at the end what was asked.
    Raises WrongConfiguration for what is no private key, CannotStart if there is no agent.
    """
    socket = place / "socket"
    for directory in (place, place / "root", socket):
        directory.mkdir(mode=0o700)
    os.chown(socket, agent_uid, agent_uid)
    with _confined(place, agent_uid):
        if known is not None:
            write(socket / HOSTS, destinations(known), 0o444)
        for reference, key in keys.items():
            _add(reference, key, socket, agent_uid, bound=known is not None)
        guard = AgentFilter(room / "agent", socket / "agent", uid=uid)
        guard.start()
        try:
            yield
        finally:
            used(guard.close())


@contextmanager
def _confined(place: Path, uid: int) -> Iterator[None]:
    """Run the real agent until this closes, as a child of ours that dies with this thread."""
    machine = MACHINES.get(platform.machine())
    program = shutil.which("ssh-agent", path=process.ENVIRONMENT["PATH"])
    if machine is None or program is None:
        raise CannotStart(
            f"no ssh agent for the rule's keys on this host: program {program}, machine "
            f"{platform.machine()}; expected ssh-agent in {process.ENVIRONMENT['PATH']}, and one "
            f"of {', '.join(MACHINES)}",
            hint="Install OpenSSH's client programs, or take allow.ssh-keys out of the rule.",
        )
    # A pattern for libraries that no absolute path matches.
    agent = (program, "-D", "-P", "none", "-a", "/socket/agent")
    with resources.as_file(resources.files("bootstrap.sandbox").joinpath("confine.py")) as script:
        alone = (sys.executable, "-I", "-S", str(script), str(os.getpid()), str(uid), str(place))
        pid = int(process.run([*alone, *agent], stdin=seccomp_program(machine).hex()))
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _add(reference: str, key: Secret, socket: Path, uid: int, *, bound: bool) -> None:
    """Give the agent one key, bound to the trusted hosts if `bound`."""
    powerless = ("--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
    no_core = ("prlimit", "--core=1:1", "--")  # as in confine.py
    argv = [*no_core, "setpriv", f"--reuid={uid}", f"--regid={uid}", *powerless, "--"]
    argv += ["env", "SSH_AUTH_SOCK=agent", "ssh-add", "-q"]
    argv += ["-h", TRUSTED, "-H", HOSTS] if bound else []
    try:
        # From within the directory: the agent's user may not walk the way to it.
        process.run([*argv, "-"], stdin=key.reveal().rstrip("\n") + "\n", cwd=socket)
    except CannotStart as refused:
        if _NO_DESTINATIONS in refused.problem:
            raise _too_old() from refused
        raise WrongConfiguration(
            f"the ssh key {reference} could not be used: it is no private key, or it has "
            "a passphrase",
            hint="Mend allow.ssh-keys of the rule, or the key where it is stored.",
        ) from refused


def _too_old() -> WrongConfiguration:
    return WrongConfiguration(
        "this host's OpenSSH cannot bind ssh keys to the hosts that a rule trusts: got an ssh-add "
        "without -h, expected OpenSSH 8.9 or newer",
        hint='Install a newer one, or set sandbox.ssh-destinations = "any" in airlock.toml: jobs '
        "can then use their keys towards every host that accepts them.",
    )


def report_use(usage: Usage, *, log: JobLog, record: Record) -> None:
    """Say once, in the log and in the audit trail, what the job asked of its agent."""
    if usage.refused:
        asked = ", ".join(f"{name} ({times})" for name, times in sorted(usage.refused.items()))
        log.alert(f"refused by the ssh agent, which only lists keys and signs: {asked}")
    if usage.not_signed:
        log.note(
            f"{usage.not_signed} ssh signature(s) refused: the rule's keys sign for the hosts that "
            "the rule trusts, and for clients that name their host (OpenSSH 8.9 or newer)"
        )
    try:
        record.ssh_agent(asdict(usage))
    except CannotStart as unwritable:  # the job has ended: its result is its own
        log.alert(f"the use of ssh keys is not in the audit record: {unwritable.problem}")
