"""The rule's ssh keys, in an agent on this host: the room gets its socket and never a key.

The agent runs as the job's user, who is the only one that it answers, outside of the room's PID
namespace, where nothing of the job can look into it. It dies with us, however we die.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from bootstrap import process
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.sandbox.environment import ROOM
from bootstrap.secret import Secret

SSH = ROOM / "ssh"


def variables() -> dict[str, str]:
    """Return what leads ssh and git in the room to the agent, and to hosts that are known."""
    options = (
        f"-o UserKnownHostsFile={ROOM}/known_hosts -o GlobalKnownHostsFile=/dev/null "
        "-o StrictHostKeyChecking=yes"
    )
    return {"SSH_AUTH_SOCK": str(SSH / "agent"), "GIT_SSH_COMMAND": f"ssh {options}"}


def known_hosts(pinned: tuple[str, ...]) -> bytes:
    """Return the hosts that the room trusts: the big ones and those that the rule pins."""
    shipped = resources.files("bootstrap.sandbox").joinpath("known_hosts").read_text()
    return (shipped + "".join(f"{line}\n" for line in pinned)).encode()


@contextmanager
def ssh_agent(directory: Path, keys: Mapping[str, Secret], *, uid: int) -> Iterator[None]:
    """Hold an agent with these keys at `directory`/agent; the keys' names are for complaints.

    Raises WrongConfiguration for what is no private key, CannotStart if there is no agent.
    """
    as_job = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs")
    agent = [*as_job, "--pdeathsig=KILL", "--", "ssh-agent", "-D", "-a", "agent"]
    # From within the directory: the job's user may not walk the way to it.
    with process.running(agent, ready=(directory / "agent").exists, cwd=directory):
        for reference, key in keys.items():
            add = [*as_job, "--", "env", "SSH_AUTH_SOCK=agent", "ssh-add", "-q", "-"]
            try:
                process.run(add, stdin=key.reveal().rstrip("\n") + "\n", cwd=directory)
            except CannotStart as refused:
                raise WrongConfiguration(
                    f"the ssh key {reference} could not be used: it is no private key, or it has "
                    "a passphrase",
                    hint="Mend allow.ssh-keys of the rule, or the key where it is stored.",
                ) from refused
        yield
