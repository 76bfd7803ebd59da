"""What a rule grants, delivered to the sandbox of one job while its start gate is closed."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from bootstrap.grants.kind import Obtained, Variables
from bootstrap.host.config import Sandbox
from bootstrap.log import JobLog
from bootstrap.policy.model import Grant
from bootstrap.record import Record
from bootstrap.sandbox.environment import AIRLOCK
from bootstrap.sandbox.workspace import SandboxDirectory
from bootstrap.secret import Secret

if TYPE_CHECKING:
    from bootstrap.sandbox.ssh.agent_filter import Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxDelivery:
    """The one grants.kind.Delivery. What it starts ends with `held`."""

    held: ExitStack
    directory: SandboxDirectory
    env: Mapping[str, str]
    region: str
    endpoint: str | None
    settings: Sandbox
    known_hosts: tuple[str, ...]  # lines of the rule's own
    uid: int  # the job's
    log: JobLog
    used: "Callable[[Usage], object]"  # is called at the end with how the ssh agent was used
    root: PurePosixPath = AIRLOCK

    def put(self, inside: PurePosixPath, content: bytes) -> None:
        """Write a file below `root`, whole, that only the job's user reads."""
        self.directory.put(inside, content)

    def start_ssh_agent(self, keys: Mapping[str, Secret]) -> Variables:
        """Hold these keys in an agent. Raises as `ssh_agent.ssh_agent`."""
        from bootstrap.sandbox.ssh import ssh_agent  # noqa: PLC0415 - of jobs with ssh keys only

        known = ssh_agent.known_hosts(self.known_hosts)
        self.put(self.root / "known_hosts", known)
        bound = self.settings.ssh_destinations == "trusted"
        if not bound:
            self.log.note('ssh keys work towards every host: sandbox.ssh-destinations is "any"')
        agent = ssh_agent.ssh_agent(
            self.directory.path / "ssh",
            self.directory.path.parent / "ssh-agent",
            keys,
            uid=self.uid,
            agent_uid=self.settings.helper_uid,
            known=known if bound else None,
            used=self.used,
        )
        self.held.enter_context(agent)
        return ssh_agent.variables()


def report_use(log: JobLog, record: Record, usage: "Usage") -> None:
    """Report how the job used its ssh agent, whose start has imported what this needs."""
    from bootstrap.sandbox.ssh import ssh_agent  # noqa: PLC0415

    ssh_agent.report_use(usage, log=log, record=record)


def deliver(grant: Grant, obtained: Obtained, sandbox: SandboxDelivery) -> Variables:
    """Put the grant's files and return its variables. Raises WrongConfiguration, CannotStart."""
    variables: dict[str, str | Secret] = {}
    for kind in grant.kinds:
        variables |= kind.deliver(obtained, sandbox)
    return variables
