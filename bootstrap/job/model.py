"""What the agent handed over, as one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bootstrap.secret import Secret


class Provenance(StrEnum):
    """Who vouches for a value (docs/agent-contract.md#who-sets-which-variable)."""

    AGENT = "agent"  # the agent always overwrites it, so nobody else can have written it
    JOB = "job"  # Buildkite's backend, or whoever may edit the pipeline, step or build
    HOST = "host"  # this host has looked itself
    SIGNED = "signed"  # a verified claim of Buildkite's OIDC token


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A fact with a value and the party that vouches for it."""

    value: str
    provenance: Provenance


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownSet:
    """A fact that is a set of values, such as a creator's teams or an agent's tags."""

    values: frozenset[str]
    provenance: Provenance


@dataclass(frozen=True, kw_only=True, slots=True)
class Absent:
    """The job has no such value, for instance a tag on a branch build. Never satisfies a rule."""

    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unvouched:
    """There is a value, but nobody vouches for it here. Never satisfies a rule.

    For instance the creator of a webhook build, which comes from a commit's unverified e-mail.
    """

    value: str
    why: str


Fact = Known | KnownSet | Absent | Unvouched


class PullRequest(StrEnum):
    """How far the code of a build is trusted by where it comes from."""

    NO = "no"
    SAME_REPOSITORY = "same-repository"
    FORK = "fork"


@dataclass(frozen=True, kw_only=True, slots=True)
class Grace:
    """How the agent ends a job, in seconds, and in which of its two dialects it said so.

    `until_kill` is the time from the cancel signal to the agent's SIGKILL of the script
    (docs/agent-contract.md#cancellation); `cleanup` is what the agent keeps for itself
    after that.
    """

    until_kill: float
    cleanup: float
    dialect: int  # 3 or 4: which variables the in-container bootstrap reads


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One job: `env` is Buildkite's job environment, `agent` the values the agent vouches for.

    `token` is the access token that the agent hands over; it is in neither mapping. `own_token`
    says whether it is this job's alone: where Buildkite issues none, agents hand over their own.
    """

    id: str
    organization: str
    pipeline: str
    build_id: str
    build_number: str
    agent_name: str
    repository: str
    env: Mapping[str, str]
    agent: Mapping[str, str]
    token: Secret
    own_token: bool
    facts: Mapping[str, Fact]
    grace: Grace
    build_path: Path
    timeout_marker: Path | None
