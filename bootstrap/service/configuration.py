"""airlock.toml as the service has it: read again when the file changes."""

import pwd
from dataclasses import dataclass
from pathlib import Path

from bootstrap.errors import WrongConfiguration
from bootstrap.host import config
from bootstrap.host.config import Host

_Signature = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Agents:
    """The users that may start jobs, and the group that their socket is for."""

    uids: frozenset[int]
    gid: int


def agents(names: tuple[str, ...]) -> Agents:
    """Return the users of these names, and root, who may do everything anyway.

    Raises WrongConfiguration if there is no such user, or if they have no primary group in common.
    """
    found = []
    for name in names:
        try:
            found.append(pwd.getpwnam(name))
        except KeyError:
            raise WrongConfiguration(
                f"service.agents in airlock.toml names {name!r}, and this host has no such user",
                hint="List the users that the agents of this host run as.",
            ) from None
    groups = {user.pw_gid for user in found}
    if len(groups) > 1:
        raise WrongConfiguration(
            f"the users of service.agents in airlock.toml, {', '.join(names)}, have different "
            "primary groups; expected one, because the socket is for one group",
            hint="Give them a common primary group (`usermod --gid`).",
        )
    return Agents(uids=frozenset({0, *(user.pw_uid for user in found)}), gid=groups.pop())


class Configuration:
    """The host's configuration, or what is wrong with it.

    `generation` changes whenever the file does: what was decided before counts no more. The agents
    are those of the last file without mistakes.
    """

    def __init__(self, path: Path) -> None:
        """Read the file. Raises WrongConfiguration."""
        self._path = path
        self._signature = _signature(path)
        self._host: Host | WrongConfiguration = config.load(path)
        self.agents = agents(self._host.service.agents)
        self.last_valid = self._host
        self.generation = 0

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether it has."""
        signature = _signature(self._path)
        if signature == self._signature:
            return False
        self._signature = signature
        self.generation += 1
        try:
            host = config.load(self._path)
            self.agents = agents(host.service.agents)
            self._host = self.last_valid = host
        except WrongConfiguration as mistakes:
            self._host = mistakes
        return True

    @property
    def problem(self) -> WrongConfiguration | None:
        """What is wrong with the file at this moment."""
        return self._host if isinstance(self._host, WrongConfiguration) else None

    def summary(self) -> tuple[str, ...]:
        """Return what an operator should know after a change of the file, in lines."""
        if self.problem is None:
            return ("airlock.toml has changed, and counts for the next job",)
        until = f"until it is corrected, jobs end with {self.problem.exit_code}"
        return (self.problem.problem, *self.problem.details, until)

    def host(self) -> Host:
        """Return the configuration. Raises WrongConfiguration as `config.load` did."""
        if isinstance(self._host, WrongConfiguration):
            raise self._host
        return self._host


def _signature(path: Path) -> _Signature:
    try:
        status = path.stat()
    except OSError as unreadable:
        return (unreadable.errno or 0,)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
            status.st_mode, status.st_uid)  # fmt: skip
