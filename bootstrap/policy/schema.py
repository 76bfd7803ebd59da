"""The grammar of a policy document (docs/design.md#policy): pydantic models over plain strings."""

import json
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    create_model,
    model_validator,
)

from bootstrap.aws.iam import Tag
from bootstrap.fields import ONE_OR_MANY, RoleArn, Variable
from bootstrap.forms import duration, form, image
from bootstrap.grants import KINDS
from bootstrap.grants.kind import DEFAULT, Kind
from bootstrap.job.plugins import canonical_pattern
from bootstrap.job.repository import parse as parse_repository
from bootstrap.job.repository import parse_pattern
from bootstrap.policy.agent_api_schema import AgentApiNode
from bootstrap.policy.builds_schema import Builder
from bootstrap.policy.egress_schema import Egress
from bootstrap.policy.limits_schema import LimitsNode
from bootstrap.policy.model import ABSENT, NO_TAG, CredentialDelivery, Workspace
from bootstrap.policy.node import CONFIG
from bootstrap.policy.services_schema import Services

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_KNOWN_HOST = re.compile(r"[\w.,:*?!\[\]|=+/-]+ (ssh|ecdsa|sk)-[\w@.-]+ [A-Za-z0-9+/=]+", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_POLICY_ARN = re.compile(r"arn:aws[a-z-]*:iam::(aws|[0-9]{12}):policy/[\w+=,.@/-]{1,512}", re.ASCII)
_VARIABLES = re.compile(r"[A-Za-z_*][A-Za-z0-9_*]{0,127}", re.ASCII)


def _full(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    return AfterValidator(form(pattern.pattern, expected))


def _duration(value: object) -> timedelta:
    seconds = duration(value)
    if not 900 <= seconds <= 43200:  # AssumeRole's own bounds
        raise ValueError("expected between 15m and 12h, as STS allows")
    return timedelta(seconds=seconds)


def _repository(value: str) -> str:
    if parse_repository(value) is None:
        raise ValueError(
            "expected a git URL, as in git@github.com:acme/storefront.git: ssh, https, http or "
            "git, to a host by its name or IPv4 address"
        )
    return value


def _repository_pattern(value: str) -> str:
    pattern = value.removeprefix("!")
    if pattern != "*" and parse_pattern(pattern) is None:
        raise ValueError(
            'expected the URL of a git repository, such as "git@github.com:acme/storefront.git" or '
            '"!https://github.com/acme/legacy-*", with `*` in its path only, or `*` alone'
        )
    return value


def _pattern(value: str) -> str:
    if value == "!":
        raise ValueError("expected a pattern after the `!`")
    return value


def _tag_pattern(value: str) -> str:
    if value == f"!{NO_TAG}":
        raise ValueError("expected `*` for builds of any tag")
    return _pattern(value)


def _variable_pattern(value: str) -> str:
    if value == f"!{ABSENT}":
        raise ValueError("expected `*` for a variable that is set")
    return value


def _plugin(value: str) -> str:
    if canonical_pattern(value.removeprefix("!")) is None:
        raise ValueError(
            'expected a plugin such as "docker#v5.*", "acme/*#v*", "!mallory/*" or '
            '"git.example.com/team/plugin#v1": host in small letters, no "..", "//", "?", "%" or '
            '"**", and a version that is a branch, tag or commit'
        )
    return value


def _session_policy(value: str) -> str:
    """Check what STS would otherwise refuse for every job (docs/aws.md#limits-of-sts)."""
    try:
        document = json.loads(value)
    except ValueError:
        raise ValueError("expected an IAM policy as JSON") from None
    if not isinstance(document, dict) or "Statement" not in document:
        raise ValueError("expected an IAM policy with a Statement")
    if not re.fullmatch(r"[\t\n\r -\u00ff]{1,2048}", value):
        raise ValueError("expected at most 2048 characters, none above U+00FF")
    return value


def _one_line(value: str) -> str:
    """A rule's name is printed in logs and annotations, beside Airlock's own words."""
    if not value.isprintable():
        raise ValueError("expected printable characters on one line")
    return value


ExternalId = Annotated[str, _full(_EXTERNAL_ID, "an external id of 2 to 1224 characters")]
PolicyArn = Annotated[str, _full(_POLICY_ARN, "a managed policy's ARN")]
SessionPolicy = Annotated[str, AfterValidator(_session_policy)]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
_LISTED = (ONE_OR_MANY, Field(min_length=1, max_length=200))
Patterns = Annotated[list[Annotated[Text, AfterValidator(_pattern)]], *_LISTED]
TagPatterns = Annotated[list[Annotated[Text, AfterValidator(_tag_pattern)]], *_LISTED]
Value = Annotated[str, Field(max_length=1000), AfterValidator(_variable_pattern)]
ValuePatterns = Annotated[list[Value], *_LISTED]
RepositoryPatterns = Annotated[list[Annotated[Text, AfterValidator(_repository_pattern)]], *_LISTED]
Plugin = Annotated[Text, AfterValidator(_plugin)]
Account = Annotated[str, _full(_ACCOUNT, "an account's twelve digits")]
RuleName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_one_line)]
Slug = Annotated[str, _full(_SLUG, "a pipeline slug: lower-case letters, digits, - . and _")]
Image = Annotated[str, AfterValidator(image)]
KnownHost = Annotated[str, _full(_KNOWN_HOST, "a line of known_hosts: host, type and key")]
VariableGlob = Annotated[str, _full(_VARIABLES, "a variable's name, or a glob over names")]
Repository = Annotated[str, AfterValidator(_repository)]
SessionDuration = Annotated[timedelta, BeforeValidator(_duration, json_schema_input_type=str)]


class Node(BaseModel):
    """A part of a document; unknown keys are mistakes."""

    model_config = CONFIG


class When(Node):
    """Conditions, all of which must hold. Each is a string or a list of which one must match.

    Without `tag`, no build of a tag matches: Buildkite gives those the tag's name as branch.
    """

    organization: Patterns | None = None
    repository: RepositoryPatterns | None = None
    branch: Patterns | None = None
    tag: TagPatterns = [NO_TAG]
    commit: Patterns | None = None
    source: Patterns | None = None
    step: Patterns | None = None
    queue: Patterns | None = None
    command: Patterns | None = None
    plugin: Annotated[list[Plugin], ONE_OR_MANY, Field(min_length=1, max_length=200)] | None = None
    creator: Patterns | None = None
    creator_email: Patterns | None = None
    creator_team: Patterns | None = None
    author_team: Patterns | None = None
    unblocker_team: Patterns | None = None
    commit_on_branch: Literal["verified", "verified-or-unknown"] | None = None
    pull_request: Literal["no", "same-repository", "any"] = "no"
    agent_tag: dict[Text, Patterns] = {}
    env: dict[Variable, ValuePatterns] = {}

    @model_validator(mode="before")
    @classmethod
    def _nothing_names_the_trigger(cls, value: object) -> object:
        if isinstance(value, dict) and "triggered-by" in value:
            raise ValueError(
                "`triggered-by` cannot be a condition: neither Buildkite's signed token nor the "
                "agent API names the pipeline that triggered a build, and a step can set the "
                "variable that does. Use `source: trigger_job`, and restrict in Buildkite (rules "
                "of the cluster) which pipelines may trigger this one"
            )
        return value


class SessionNode(Node):
    """How long a session lasts, how it is tagged, and how it is restricted beyond its role."""

    duration: SessionDuration = timedelta(hours=1)
    tags: dict[Text, str] = {}
    transitive: Annotated[list[Text], ONE_OR_MANY] = []
    external_id: ExternalId | None = None
    source_identity: Literal["job", "none"] = "job"
    via: RoleArn | None = None
    identity: Literal["host", "buildkite"] = "host"
    policy: SessionPolicy | None = None
    policy_arns: Annotated[list[PolicyArn], ONE_OR_MANY, Field(max_length=10)] = []

    @model_validator(mode="after")
    def _transitive_tags_are_tags(self) -> "SessionNode":
        unknown = sorted(set(self.transitive) - set(self.tags) - set(Tag))
        if unknown:
            raise ValueError(f"expected transitive tags to be among tags; {unknown[0]!r} is not")
        return self

    @model_validator(mode="after")
    def _only_a_call_by_a_role_has_tags(self) -> "SessionNode":
        """AssumeRoleWithWebIdentity accepts neither; with `via`, the second call has them."""
        sends = self.tags or self.transitive or self.external_id
        if self.identity == "buildkite" and not self.via and sends:
            raise ValueError("expected neither tags nor external-id with identity: buildkite")
        return self


def _keys_of(kinds: Iterable[type[Kind[Any]]]) -> type[Node]:
    """Return a part of a document with the key of every kind."""
    keys = {_field(kind): kind.grammar() for kind in kinds}
    return create_model("Kinds", __base__=Node, **keys)


def _field(kind: type[Kind[Any]]) -> str:
    return kind.key.replace("-", "_")


class Allow(_keys_of(KINDS), Node):  # type: ignore[misc]  # a base created from the kinds
    """What the rule grants."""

    agent_api: AgentApiNode | None = None
    builds: Builder | None = None
    egress: Egress = None
    session: SessionNode = SessionNode()
    delivery: CredentialDelivery = CredentialDelivery.ENDPOINT
    secrets_with: Literal["host", "role"] = "host"
    known_hosts: Annotated[list[KnownHost], ONE_OR_MANY] = []
    env: Annotated[list[VariableGlob], ONE_OR_MANY, Field(max_length=200)] = []
    image: Image | None = None
    limits: LimitsNode = LimitsNode()
    services: Services = {}
    workspace: Workspace = Workspace.REUSE

    def kinds(self) -> tuple[Kind[Any], ...]:
        """Return what is granted of each kind that the document names."""
        values = ((kind, getattr(self, _field(kind))) for kind in KINDS)
        return tuple(kind(granted=value) for kind, value in values if value)

    @model_validator(mode="after")
    def _a_role_where_one_is_used(self) -> "Allow":
        needs = [kind.needs() for kind in self.kinds()]
        own = any(DEFAULT in need.roles for need in needs)
        if not own and (self.secrets_with == "role" or any(need.ecr for need in needs)):
            raise ValueError(
                "expected `role`, since secrets-with: role, or a registry with `role`, uses it"
            )
        return self


class RuleNode(Node):
    """One rule. Without `when`, it matches every build of a branch that is not a pull request."""

    name: RuleName
    when: When = When()
    allow: Allow


class PolicyNode(Node):
    """The whole document."""

    pipeline: Slug
    repository: Annotated[list[Repository], ONE_OR_MANY, Field(min_length=1, max_length=20)]
    rules: Annotated[list[RuleNode], Field(min_length=1, max_length=200)]


def conditions(when: When) -> dict[str, Any]:
    """Return the conditions that the document states, by their key."""
    names = set(When.model_fields)
    dumped = when.model_dump(by_alias=True, exclude_none=True, include=names)
    return {key: value for key, value in dumped.items() if value}
