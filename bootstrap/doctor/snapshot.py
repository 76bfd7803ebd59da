"""Everything that the checks look at, as it was read from one host at one time."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.doctor.model import Read, Stage, after

if TYPE_CHECKING:
    from bootstrap.host.config import Host


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file's owner and mode, and the owners and modes of the directories above it."""

    path: Path
    uid: int
    mode: int  # permission bits
    above: tuple[tuple[Path, int, int], ...] = ()  # path, uid, mode

    def writers(self, trusted: frozenset[int]) -> str:
        """Return who else than root can change or replace it, in words; "" if nobody.

        Those of `trusted` may, by their uids.
        """
        owners = {0, *trusted}
        if self.uid not in owners or self.mode & 0o022:
            return f"{self.path} belongs to uid {self.uid} with mode {self.mode:04o}"
        for path, uid, mode in self.above:
            if uid not in owners or (mode & 0o022 and not mode & 0o1000):
                return f"{path} belongs to uid {uid} with mode {mode:04o}"
        return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """One mounted filesystem, with its options of both kinds (proc(5), mountinfo)."""

    path: Path
    kind: str
    options: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The machine itself. `settings` are the kernel's, by path below /proc/sys; None: no such."""

    uid: int
    python: tuple[int, int, int]
    kernel: str  # the upstream version, such as 6.1.140
    processors: int
    release: str  # as the distribution calls it, such as 6.1.0-37-amd64
    has_apparmor: bool
    selinux_enforcing: bool
    settings: Mapping[str, int | None]
    mounts: tuple[Mount, ...]
    missing_programs: Mapping[str, str]  # program -> Debian package
    accounts: Read[None]  # whether the numbers of jobs are free
    changelogs: Mapping[str, frozenset[str]]  # component -> CVEs that its package fixes


@dataclass(frozen=True, kw_only=True, slots=True)
class DockerSocket:
    """The socket of the engine: whoever may write to it is root."""

    mode: int
    group: str
    members: frozenset[str]  # of the group, by name


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """Docker Engine as it reports itself, and as it was configured."""

    version: str
    api: str
    components: Mapping[str, str]  # containerd, runc, docker-init -> version
    security: frozenset[str]  # of its Security Options, by name
    runtimes: frozenset[str]
    insecure_registries: tuple[str, ...]
    warnings: tuple[str, ...]
    lacks: tuple[str, ...]  # limits that it cannot set
    root: Path  # where its images are
    options: Read[Mapping[str, object]]  # of daemon.json and the command line
    socket: Read[DockerSocket]


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """The host's network, as far as sandboxes depend on it."""

    ruleset: Read[str]  # what the kernel prints for Airlock's own file
    loaded: Read[str]  # what it prints for the table; "" if there is none
    missing_rules: Read[tuple[str, ...]]
    has_bridge: bool
    bridge_ipv6: Read[tuple[str, ...]]  # global addresses on it
    subnet: Read[None]  # whether it is free
    docker_network: Read[tuple[str, ...] | None]  # its subnets; None if there is none yet
    resolv_conf: Read[str]
    networkd: Read[bool | None]  # whether it leaves others' rules alone; None if it does not run
    ecs: Read[tuple[str, ...]]  # what shows an ECS agent
    led_elsewhere: Read[tuple[str, ...]]  # rules that change where metadata addresses lead


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """What the instance metadata service lets this host do."""

    answers_without_token: bool
    gives_tokens: bool
    passes_a_hop: bool  # whether a token survives one more hop than to this host


@dataclass(frozen=True, kw_only=True, slots=True)
class Aws:
    """AWS as the host's own credentials see it."""

    identity: Read[str]  # ARN
    clock: Read[float]  # seconds by which this host's clock is ahead of AWS's
    excess: Read[tuple[str, ...]]  # what the role may do, and no host needs


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """One user of this host, with the names of its groups."""

    name: str
    uid: int
    groups: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent:
    """buildkite-agent's configuration, and what it names on this host."""

    settings: Read[Mapping[str, str]]
    file: Read[File | None]
    launcher: Read[File | None]
    launcher_version: Read[str]
    hooks: Read[tuple[str, ...]]  # names of files in hooks-path
    hook: Read[File | None]  # pre-bootstrap; None: there is no such file
    hook_text: Read[str]
    mountable_hooks: Read[None]
    users: Read[tuple[Account, ...]]  # of service.agents
    sudoers: tuple[str, ...]  # files that name one of them


@dataclass(frozen=True, kw_only=True, slots=True)
class Units:
    """systemd's units by name, each with its properties; a unit that is not loaded has none.

    `variables` are the names of the environment that a unit sets, in it or in a file.
    """

    properties: Mapping[str, Mapping[str, str]]
    variables: Mapping[str, frozenset[str]]

    def of(self, name: str) -> Mapping[str, str]:
        """Return the properties of a unit; none if it is not loaded."""
        return self.properties.get(name, {})


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """One filesystem: its size, what is free, and why that is too little for a job, or ""."""

    path: Path
    size: int  # bytes
    free: int
    lacks: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Storage:
    """The filesystems that Airlock writes to."""

    state: Read[Disk]
    runtime: Read[Disk]
    images: Read[Disk]
    records: Read[None]  # whether an event could be appended


@dataclass(frozen=True, kw_only=True, slots=True)
class Policies:
    """The policies of the host's store, as lint sees them."""

    number: int
    errors: tuple[str, ...]
    warnings: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookup:
    """What one resolver answered to a container."""

    server: IPv4Address
    name: str
    answer: str  # "" if it knows the name, else what went wrong


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What a container found that was opened as a job's is."""

    proof: tuple[str, ...]
    contents: Mapping[str, str]  # what jobs need -> where it is in the image, "" if nowhere
    lookups: tuple[Lookup, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """One host at one time."""

    stage: Stage
    host: "Read[Host]"
    machine: Machine
    agents: Read[None]  # whether the users of service.agents exist and have a group in common
    policies: Read[Policies]
    engine: Read[Engine]
    network: Network
    metadata: Read[Metadata]
    aws: Aws
    agent: Agent
    units: Read[Units]
    service: Read[str]  # what it answers to a launcher
    storage: Storage
    image: Read[str | None]  # the id of the default image; None if it is not on this host
    builder_image: Read[str | None]  # the same of [builds]; None too without this table
    trial: Read[Trial]

    @property
    def configured(self) -> "Host":
        """The configuration, for checks of other things. Raises NotKnown."""
        return after(self.host, "configuration")

    @property
    def docker(self) -> Engine:
        """The engine, for checks of its parts. Raises NotKnown."""
        return after(self.engine, "engine")
