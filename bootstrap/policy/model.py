"""A pipeline's policy and the decision that follows from it.

The grammar is in docs/design.md#policy. Everything here is plain data: `parse` makes it,
`match` and `decide` read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from bootstrap.agent_api.model import AgentApiGrant
from bootstrap.grants.kind import DEFAULT, Kind
from bootstrap.job.grades import Grade
from bootstrap.job.model import Provenance
from bootstrap.policy.egress import EgressBounds, EgressGrant
from bootstrap.policy.services import ServiceContainer

MAX_TEXT = 64 << 10  # characters of a document
NO_TAG = "none"  # a pattern of `tag`: the build is not of a tag
ABSENT = "absent"  # a pattern of `env`: the variable is not set


class Workspace(StrEnum):
    """Whether the checkout of an earlier job under the same rule is reused."""

    REUSE = "reuse"
    FRESH = "fresh"


class CredentialDelivery(StrEnum):
    """How the default role's session reaches the job (docs/design.md#credentials)."""

    ENDPOINT = "endpoint"
    ENV = "env"


class Builds(StrEnum):
    """What builds images for the job inside of its sandbox."""

    BUILDKIT = "buildkit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """One fact and the patterns of which one must match it.

    `subject` is the key of the document's `when` ("branch", "creator-team", "env" …); for `env`
    and `agent-tag`, `name` is the variable or tag. Patterns are Buildkite branch-filter globs; a
    leading `!` negates. An empty tuple of patterns never holds.
    """

    subject: str
    name: str | None = None
    patterns: tuple[str, ...]
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one job may use of the machine. None leaves the host configuration's default."""

    memory: int | None = None  # bytes
    cpus: float | None = None
    pids: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """What a rule grants. The empty grant gives an isolated sandbox and nothing else."""

    kinds: tuple[Kind[Any], ...] = ()  # those that the rule names, in the order of grants.KINDS
    duration: timedelta = timedelta(hours=1)
    tags: Mapping[str, str] = field(default_factory=dict)
    transitive_tags: tuple[str, ...] = ()  # keys of tags, or Airlock's, that later role hops keep
    external_id: str | None = None
    source_identity: bool = True  # False where a trust policy lacks sts:SetSourceIdentity
    session_policy: str | None = None  # JSON; the session has what it and the role both allow
    policy_arns: tuple[str, ...] = ()  # managed policies to the same effect
    via: str | None = None  # ARN of the role that is assumed first, and assumes the others
    web_identity: bool = False  # the first role is assumed with Buildkite's token
    delivery: CredentialDelivery = CredentialDelivery.ENDPOINT
    secrets_with_role: bool = False  # False: everything secret is read with the host's role
    known_hosts: tuple[str, ...] = ()  # in addition to the lines of the big hosts
    env: tuple[str, ...] = ()  # globs over names of steering variables that the job may set
    image: str | None = None  # None: the host configuration's default image
    limits: Limits = field(default_factory=Limits)
    at_most: Limits = field(default_factory=Limits)  # guardrails', without what services take
    workspace: Workspace = Workspace.REUSE
    services: Mapping[str, ServiceContainer] = field(default_factory=dict)  # by name
    agent_api: AgentApiGrant | None = None  # None: all that the job's own token may do
    builds: Builds | None = None  # None: the job builds no images
    egress: EgressGrant | None = None  # None: all that the host's network leads to

    @property
    def images(self) -> tuple[str, ...]:
        """The images that the rule names: the job's, if it does, and those of its services."""
        services = (service.image for service in self.services.values())
        return tuple(dict.fromkeys((*((self.image,) if self.image else ()), *services)))

    @property
    def roles(self) -> dict[str, str]:
        """The ARN of every role, by AWS profile; the job's own role is DEFAULT's."""
        return {name: arn for kind in self.kinds for name, arn in kind.needs().roles.items()}

    @property
    def role(self) -> str | None:
        """The ARN of the job's own role."""
        return self.roles.get(DEFAULT)

    @property
    def references(self) -> tuple[str, ...]:
        """The references of all secrets that the host fetches, each once."""
        return tuple(dict.fromkeys(r for k in self.kinds for r in k.needs().references.values()))

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names of all secrets that the job may have: references, and `buildkite:KEY`."""
        return (*self.references, *self.buildkite_secrets)

    @property
    def buildkite_secrets(self) -> tuple[str, ...]:
        """The names of the secrets that the job may read from Buildkite itself."""
        return tuple(
            f"buildkite:{key}" for key in (self.agent_api.secrets if self.agent_api else ())
        )

    @property
    def audiences(self) -> tuple[str, ...]:
        """The audiences of the tokens that Buildkite signs for the job, as far as it is limited."""
        return self.agent_api.oidc_audiences if self.agent_api else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A job that fulfils every condition gets the grant. No conditions: every job does."""

    name: str
    when: tuple[Condition, ...]
    allow: Grant
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Ignored:
    """A comment that asks lint not to report a finding, on this line or on the one below it.

    `of` is the line that it is about. `reason` is empty where there is none, which is a mistake.
    """

    id: str
    reason: str
    line: int
    of: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """One pipeline's document. `digest` is the sha256 of its text, `origin` where it was read."""

    pipeline: str
    repositories: tuple[str, ...]
    rules: tuple[Rule, ...]
    origin: str
    digest: str
    ignored: tuple[Ignored, ...] = ()  # findings of lint; no decision depends on them


class ForkAccess(StrEnum):
    """What a pull request from a fork may get, whatever a rule grants."""

    REFUSE = "refuse"
    NOTHING = "nothing"  # a sandbox, and no role, secret or key
    ANYTHING = "anything"


class AgentApiUse(StrEnum):
    """Whether each rule needs `agent-api`, so that no job has its own token of Buildkite."""

    REQUIRED = "required"
    OPTIONAL = "optional"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What a grant may not exceed. None: not limited; an empty tuple: nothing of the kind.

    `{pipeline}` in a pattern is the slug of the job's pipeline.
    """

    accounts: tuple[str, ...] | None = None
    roles: tuple[str, ...] | None = None  # globs over role ARNs
    images: tuple[str, ...] | None = None
    secrets: tuple[str, ...] | None = None  # globs over references, ssh keys among them
    plugins: tuple[str, ...] | None = None  # globs over sources with their versions
    oidc_audiences: tuple[str, ...] | None = None  # globs; then every rule needs agent-api
    agent_api: AgentApiUse = AgentApiUse.OPTIONAL
    builds: tuple[str, ...] | None = None
    egress: EgressBounds | None = None  # then every rule needs egress
    session_tags: tuple[str, ...] | None = None  # globs over key=value of the rules' own tags
    session: timedelta | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope(Bounds):
    """Bounds of some pipelines, beside those of the document. The first that names one counts."""

    name: str
    pipelines: tuple[str, ...]  # globs over slugs; `!` excludes
    forks: ForkAccess | None = None  # None: as the document has it


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """What must hold of every job that gets one of these roles or secrets, whatever its rule asks.

    `grade` is the least that the rule's conditions, and those in `when`, may rest on.
    """

    name: str
    roles: tuple[str, ...] = ()  # globs over role ARNs; `!` exempts
    secrets: tuple[str, ...] = ()  # globs over references; `!` exempts
    when: tuple[Condition, ...]
    grade: Grade = Grade.CLAIMED


@dataclass(frozen=True, kw_only=True, slots=True)
class Guardrails(Bounds):
    """What no policy may exceed: the bounds of all pipelines, of some, and requirements.

    If there are scopes, a pipeline in none of them may be granted nothing.
    """

    organization: str
    forks: ForkAccess = ForkAccess.NOTHING
    scopes: tuple[Scope, ...] = ()
    requires: tuple[Requirement, ...] = ()
    origin: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Excess:
    """One thing that a grant has beyond a guardrail. `hint` is "" where its name says enough."""

    guardrail: str
    got: str
    allowed: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One condition's verdict: what the rule expected, what the job has, and whether it holds.

    `provenance` is the party that vouches for `got`, and `grade` how far that can be trusted; both
    are None if the claim is absent or unvouched, and for a guardrail.
    """

    rule: str
    subject: str
    expected: str
    got: str
    holds: bool
    provenance: Provenance | None = None
    grade: Grade | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Admitted:
    """The first rule that matched, and every verdict up to it.

    `apart` separates the workspaces of jobs of one rule that are not equally trusted.
    """

    rule: str
    grant: Grant
    policy_origin: str
    policy_digest: str
    reasons: tuple[Reason, ...]
    apart: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Denied:
    """No rule matched. `nearest` is the rule with the fewest failed conditions, if there is one."""

    problem: str
    hint: str
    nearest: str | None
    reasons: tuple[Reason, ...]
    policy_origin: str | None = None
    policy_digest: str | None = None


Decision = Admitted | Denied
