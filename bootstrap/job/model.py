"""What the agent passes: the claims that a decision needs, and the rest of the job."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bootstrap.buildkite.grace import Grace
from bootstrap.secret import Secret


class Provenance(StrEnum):
    """Who vouches for a value (docs/agent-contract.md#who-sets-which-variable)."""

    AGENT = "agent"  # the agent always overwrites it, so no job can have written it
    JOB = "job"  # Buildkite's backend, or an author of the pipeline, step or build
    HOST = "host"  # checked by this host
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
    """There is a value, but no party vouches for it. Never satisfies a rule.

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
class Claims:
    """Everything that a decision needs to know about a job: its identity and its facts.

    `env` is Buildkite's job environment as a policy sees it, without the agent's own names.
    `facts` include who vouches for each.
    """

    organization: str
    pipeline: str
    job_id: str
    build_number: str
    agent_name: str
    repository: str
    env: Mapping[str, str]
    facts: Mapping[str, Fact]


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent:
    """What the agent passes beside the job's environment: `values` are those it vouches for.

    `uid` is the user that the agent runs as; where that is not root, it has chosen the values.
    `token` is the access token; it is not among `values`. `own_token` is whether it is this
    job's alone: where Buildkite issues no job tokens, agents pass their own.
    """

    values: Mapping[str, str]
    token: Secret
    own_token: bool
    uid: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One job to run: its claims, the agent's part, and the agent's deadlines."""

    claims: Claims
    agent: Agent
    grace: Grace
    build_path: Path
    timeout_marker: Path | None
