"""What a developer asks of a replay, as values; commands/replay_options.py reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import Path

from bootstrap.secret import Secret


class Shell(StrEnum):
    """When there is a prompt in the prepared checkout."""

    NEVER = "never"
    BEFORE = "before"  # in place of the command, which can be run from there
    ON_FAILURE = "on-failure"  # after what failed


class Until(StrEnum):
    """The phase of the bootstrap after which a replay ends."""

    CHECKOUT = "checkout"


@dataclass(frozen=True, kw_only=True, slots=True)
class NoCredentials:
    """The job gets no session."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnProfile:
    """Sessions of the roles that the recorded job had, assumed with a profile of the developer's.

    `role` replaces the job's own; None keeps what the record names. `profile` None is the
    developer's default profile.
    """

    profile: str | None
    role: str | None


Credentials = NoCredentials | OwnProfile


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options of one replay.

    `docker` is the engine's URL. `agent` is a buildkite-agent, None the one on PATH. `image`
    replaces the recorded one. `checkout` is a working copy that takes the place of a clone.
    `command` replaces the job's. `dns` are resolvers, None the machine's own. `output` is where
    artifacts and what --keep keeps go. With `oidc_stub` the agent API issues OIDC tokens that
    nobody accepts; `secrets` are those that it has. `artifacts` is a directory with what earlier
    jobs of the build uploaded, under their paths; `meta_data` is what they set.
    """

    docker: str
    agent: Path | None = None
    image: str | None = None
    checkout: Path | None = None
    command: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    shell: Shell = Shell.NEVER
    until: Until | None = None
    keep: bool = False
    compare: bool = False
    credentials: Credentials = NoCredentials()
    dns: tuple[IPv4Address, ...] | None = None
    output: Path = Path("airlock-replay")
    oidc_stub: bool = False
    artifacts: Path | None = None
    meta_data: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
