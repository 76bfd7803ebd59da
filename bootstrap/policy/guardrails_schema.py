"""The grammar of a guardrails document (docs/policy.md#guardrails), as policy.schema's."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from bootstrap.fields import ONE_OR_MANY
from bootstrap.forms import form
from bootstrap.job.grades import Grade
from bootstrap.policy.builds_schema import Builder
from bootstrap.policy.egress_schema import EgressBoundsNode
from bootstrap.policy.limits_schema import LimitsNode
from bootstrap.policy.model import AgentApiUse, ForkAccess
from bootstrap.policy.names import PIPELINE
from bootstrap.policy.schema import (
    Account,
    Node,
    Plugin,
    RuleName,
    SessionDuration,
    Slug,
    Text,
    When,
)

_NAMES_IN_BRACES = re.compile(r"[{}]")


def _glob(value: str) -> str:
    if _NAMES_IN_BRACES.search(value.replace(PIPELINE, "")):
        raise ValueError(f"expected {PIPELINE} as the only name in braces")
    if value == "!":
        raise ValueError("expected a pattern after the `!`")
    return value


def _several(value: object) -> object:
    return [value] if isinstance(value, dict) else value


_slugs = form(r"!?[a-z0-9*][a-z0-9._*-]{0,99}", "a pipeline slug, or a glob over slugs")

Globs = Annotated[list[Annotated[Text, AfterValidator(_glob)]], ONE_OR_MANY, Field(max_length=500)]
_tags = form(r"\*|!?[^*=!]+=.*", "a session tag as key=value, with `*` in the value only, or `*`")
TagGlobs = Annotated[
    list[Annotated[Text, AfterValidator(_glob), AfterValidator(_tags)]],
    ONE_OR_MANY,
    Field(max_length=500),
]
Slugs = Annotated[
    list[Annotated[str, AfterValidator(_slugs)]], ONE_OR_MANY, Field(min_length=1, max_length=500)
]
# To editors that read YAML 1.1, both are booleans.
YesNo = Annotated[
    Literal["yes", "no"],
    WithJsonSchema({"anyOf": [{"enum": ["yes", "no"], "type": "string"}, {"type": "boolean"}]}),
]


class BoundsNode(Node):
    """What a grant may not exceed. A key that is left out limits nothing."""

    accounts: Annotated[list[Account], ONE_OR_MANY] | None = None
    roles: Globs | None = None
    images: Globs | None = None
    secrets: Globs | None = None
    plugins: Annotated[list[Plugin], ONE_OR_MANY, Field(max_length=500)] | None = None
    oidc_audiences: Globs | None = None
    agent_api: AgentApiUse = AgentApiUse.OPTIONAL
    builds: Annotated[list[Builder], ONE_OR_MANY] | None = None
    egress: EgressBoundsNode | None = None
    session_tags: TagGlobs | None = None
    session: SessionDuration | None = None
    limits: LimitsNode = LimitsNode()


class ScopeNode(BoundsNode):
    """Bounds of some pipelines, beside those of the document. The first that names one counts."""

    name: RuleName
    pipelines: Slugs
    forks: ForkAccess | None = None


class RequirementNode(When):
    """What must hold of every job that gets one of these roles or secrets: conditions as of rules.

    Without `tag` and `pull-request`, builds of tags and pull requests get none of them.
    """

    name: RuleName | None = None
    roles: Globs = Field(default_factory=list)
    secrets: Globs = Field(default_factory=list)
    signed: YesNo = "no"
    vouched: YesNo = "no"

    @model_validator(mode="after")
    def _of_something(self) -> "RequirementNode":
        if not self.roles and not self.secrets:
            raise ValueError("expected `roles` or `secrets`, for which this is required")
        return self

    @property
    def grade(self) -> Grade:
        """The least grade of a fact that may decide."""
        if self.signed == "yes":
            return Grade.SIGNED
        return Grade.VOUCHED if self.vouched == "yes" else Grade.CLAIMED


class GuardrailsNode(BoundsNode):
    """The whole document of guardrails. A key that is left out limits nothing."""

    guardrails: Slug
    forks: ForkAccess = ForkAccess.NOTHING
    scopes: Annotated[list[ScopeNode], Field(default_factory=list, max_length=500)]
    requires: Annotated[
        list[RequirementNode],
        BeforeValidator(_several, json_schema_input_type=RequirementNode | list[RequirementNode]),
        Field(default_factory=list, max_length=100),
    ]

    @model_validator(mode="after")
    def _names_once(self) -> "GuardrailsNode":
        for kind, listed in (("scopes", self.scopes), ("requires", self.requires)):
            names = [node.name for node in listed if node.name is not None]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"expected each name in `{kind}` once; got {twice[0]!r} twice")
        return self
