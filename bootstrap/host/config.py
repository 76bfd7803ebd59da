"""This host's configuration: airlock.toml, read once. No environment variable changes any of it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from bootstrap.errors import WrongConfiguration
from bootstrap.forms import FileStore
from bootstrap.host import mistakes
from bootstrap.host.builds_settings import Builds  # noqa: TC001 - pydantic reads annotations
from bootstrap.host.parsed import parsed
from bootstrap.host.proxy import Proxy, is_direct
from bootstrap.host.section import Section
from bootstrap.host.service_settings import Service

if TYPE_CHECKING:
    from pydantic import Field

    from bootstrap.fields import (
        Duration,
        Memory,
        PositiveSize,
        Registry,
        RoleArn,
        Size,
        StoreLocation,
    )
    from bootstrap.host.settings import (
        AbsolutePath,
        DockerSocket,
        HostCredentials,
        Issuer,
        NoProxy,
        ProxyUrl,
        Region,
        RegistryLogin,
        Resolver,
        Subnet,
        Url,
    )
    from bootstrap.secret import Secret


@dataclass(frozen=True, kw_only=True)
class Policy(Section):
    """Where the pipelines' policies are, and the guardrails that none of them may exceed."""

    store: StoreLocation = FileStore(path=Path("/etc/airlock/policies"))  # noqa: RUF009 - frozen
    guardrails: StoreLocation | None = None
    identity: Literal["environment", "signed"] = "environment"
    issuer: Issuer = "https://agent.buildkite.com"
    mode: Literal["enforce", "observe"] = "enforce"
    enforce: tuple[str, ...] = ()
    observe_role: RoleArn | None = None
    loader_variables: Literal["refuse", "allow"] = "refuse"
    agent_tokens: Literal["job", "any"] = "job"
    cache: Duration = 30
    serve_stale: Duration = 0

    def observes(self, pipeline: str) -> bool:
        """Return whether this pipeline's refusals are only recorded."""
        return self.mode == "observe" and pipeline not in self.enforce


@dataclass(frozen=True, kw_only=True)
class Aws(Section):
    """How Airlock itself reaches AWS. `region` also becomes the job's AWS_REGION.

    The proxy is for Buildkite's API too.
    """

    region: Region = "us-east-1"
    credentials: HostCredentials = "instance-role"
    sts_endpoint: Url | None = None
    ssm_endpoint: Url | None = None
    secretsmanager_endpoint: Url | None = None
    ecr_endpoint: Url | None = None
    https_proxy: ProxyUrl | None = None
    no_proxy: tuple[NoProxy, ...] = ()

    def proxy_for(self, url: str) -> Proxy | None:
        """Return the proxy through which Airlock reaches a URL, AWS's or Buildkite's."""
        return None if is_direct(url, self.no_proxy) else self.https_proxy


@dataclass(frozen=True, kw_only=True)
class Sandbox(Section):
    """The sandbox's defaults; a rule's `limits` and `image` override them."""

    image: Annotated[str, Field(min_length=1)]
    pull: Literal["missing", "always", "never"] = "missing"
    docker: DockerSocket = "unix:///var/run/docker.sock"
    runtime: Annotated[str, Field(min_length=1)] = "runc"
    agent_binary: AbsolutePath | None = None
    hooks: bool = False
    first_uid: Annotated[int, Field(ge=1001)] = 61000
    slots: Annotated[int, Field(ge=1, le=1000)] = 64
    ssh_destinations: Literal["trusted", "any"] = "trusted"
    memory: Memory = 8 << 30
    cpus: Annotated[float, Field(gt=0)] = 4.0
    pids: Annotated[int, Field(ge=64)] = 4096
    tmp: PositiveSize = 2 << 30
    open_files: Annotated[int, Field(ge=1024)] = 65536
    subnet: Subnet = IPv4Network("198.18.240.0/20")  # noqa: RUF009 - immutable
    dns: tuple[Resolver, ...] | None = None

    @property
    def uids(self) -> range:
        """Every uid, and gid of the same number, that a job may run as: one for each slot."""
        return range(self.first_uid, self.first_uid + self.slots)

    @property
    def helper_uid(self) -> int:
        """The uid below the range, for Airlock's programs that serve jobs: no job ever has it."""
        return self.first_uid - 1

    def __post_init__(self) -> None:
        """65534 is the user nobody, 65535 is "no uid" in 16 bits, and 32-bit uids may be signed."""
        if self.uids[-1] >= 1 << 31 or {65534, 65535} & set(self.uids):
            raise ValueError(
                f"first-uid and slots give jobs uids {self.uids[0]} to {self.uids[-1]}; expected "
                "a range without 65534 and 65535 that ends below 2147483648"
            )


@dataclass(frozen=True, kw_only=True)
class Paths(Section):
    """Where Airlock keeps its files: `runtime` is in memory, `state` on disk."""

    runtime: AbsolutePath = Path("/run/airlock")
    state: AbsolutePath = Path("/var/lib/airlock")
    records: AbsolutePath = Path("/var/log/airlock/records.jsonl")


@dataclass(frozen=True, kw_only=True)
class Storage(Section):
    """Budgets for what is kept, and the space that has to stay free on the disk of `paths.state`.

    0 as a size or an age is no bound.
    """

    min_free: Size = 5 << 30
    min_free_inodes: Annotated[int, Field(ge=0)] = 250_000
    floor: Size = 1 << 30
    floor_inodes: Annotated[int, Field(ge=0)] = 25_000
    workspaces: Annotated[int, Field(ge=1)] = 50
    workspace_age: Duration = 14 * 86400
    workspaces_size: Size = 100 << 30
    histories: Annotated[int, Field(ge=1)] = 50
    history_age: Duration = 30 * 86400
    histories_size: Size = 16 << 30
    records: Annotated[int, Field(ge=1)] = 10_000
    record_age: Duration = 90 * 86400
    records_size: Size = 2 << 30
    trail_file: Size = 100 << 20
    trail_size: Size = 1 << 30
    trail_age: Duration = 400 * 86400
    image_age: Duration = 30 * 86400

    def __post_init__(self) -> None:
        self._check_trail()
        self._check_floors()

    def _check_trail(self) -> None:
        if 0 < self.trail_size < 2 * self.trail_file:
            raise ValueError(
                f"trail-size is {self.trail_size >> 20} MiB, expected at least twice trail-file "
                f"({self.trail_file >> 20} MiB): the audit trail would lose its last file as soon "
                "as it is rotated"
            )

    def _check_floors(self) -> None:
        if self.floor > self.min_free or self.floor_inodes > self.min_free_inodes:
            raise ValueError(
                f"expected floor ({self.floor >> 20} MiB, {self.floor_inodes} inodes) to be at "
                f"most min-free ({self.min_free >> 20} MiB, {self.min_free_inodes} inodes): jobs "
                "would be stopped as soon as they had started"
            )


@dataclass(frozen=True, kw_only=True)
class Host(Section):
    """The whole of airlock.toml."""

    policy: Policy = Policy()
    aws: Aws = Aws()
    sandbox: Sandbox
    registries: dict[Registry, RegistryLogin] = field(default_factory=dict)
    paths: Paths = Paths()
    storage: Storage = Storage()
    service: Service = Service()  # noqa: RUF009 - frozen
    builds: Builds | None = None

    def __post_init__(self) -> None:
        """Only root can reach what is below paths.runtime."""
        if self.service.socket.is_relative_to(self.paths.runtime):
            raise ValueError(
                f"service.socket is {self.service.socket}, expected a path outside of "
                f"paths.runtime ({self.paths.runtime}), which agents cannot enter"
            )
        if self.builds:
            self.builds.check(self.sandbox.uids)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What of this must be masked in all output."""
        return self.aws.https_proxy.secrets() if self.aws.https_proxy else ()


def load(path: Path) -> Host:
    """Read and check airlock.toml. Raises WrongConfiguration that lists every mistake at once."""
    try:
        with path.open("rb") as file:
            _only_root_writes(path, os.fstat(file.fileno()))
            content = file.read()
    except OSError as unreadable:
        raise mistakes.unreadable(path, unreadable) from unreadable
    # Where Airlock is to keep it is known only afterwards; elsewhere it is read anew each time.
    runtime = Paths().runtime
    return parsed(runtime, Host, str(path), content, partial(_read, content, path))


def _read(content: bytes, path: Path) -> Host:
    import tomllib  # noqa: PLC0415 - as pydantic, see bootstrap/fields.py

    try:
        document = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise mistakes.not_toml(path, broken) from broken
    return parse(document, path)


_BY_THE_SERVICE = (
    'Set bootstrap-script="/usr/libexec/airlock-launcher" in buildkite-agent.cfg: it passes the '
    "job to the service (`airlock serve`), which is root, while the agent keeps its own user. "
    "`airlock bootstrap` itself is for agents that run as root."
)


def require_root(hint: str = _BY_THE_SERVICE) -> None:
    """Raise WrongConfiguration unless this process may do what a job needs of the host."""
    if os.geteuid() != 0:
        raise WrongConfiguration(f"Airlock runs as uid {os.geteuid()}, expected root", hint=hint)


def parse(document: dict[str, Any], path: Path) -> Host:
    """Check a document that is already TOML. Raises WrongConfiguration."""
    from pydantic import ValidationError  # noqa: PLC0415

    from bootstrap.host.settings import adapter  # noqa: PLC0415

    try:
        return Host.model_validate(document)
    except ValidationError as invalid:
        raise mistakes.invalid(path, invalid, adapter(Host).json_schema()) from invalid


def _only_root_writes(path: Path, status: os.stat_result) -> None:
    """A process that can write this file decides what every job may do."""
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (0, os.geteuid()) or mode & 0o022:
        raise mistakes.writable_by_others(path, uid=status.st_uid, mode=mode)
