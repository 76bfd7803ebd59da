"""Builds that no agent passed: described in a case or on the command line, by what is given."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from bootstrap.errors import WrongConfiguration
from bootstrap.fields import ONE_OR_MANY, Variable
from bootstrap.job.assemble import claims_of
from bootstrap.job.claims import agreeing, confirmed
from bootstrap.job.facts import PLAIN, tag_fact
from bootstrap.job.model import Claims, Known, Provenance
from bootstrap.job.plugins import full_source
from bootstrap.mistakes import explain
from bootstrap.policy.decide import agent_tags, with_commit
from bootstrap.policy.guardrails_schema import YesNo
from bootstrap.policy.model import NO_TAG, Guardrails, Policy
from bootstrap.policy.schema import Node, Text
from bootstrap.text import counted

SOURCES = ("ui", "api", "webhook", "schedule", "trigger_job")  # docs/policy.md#conditions

# Keys of a build whose value is that of one of Buildkite's variables.
_VARIABLES = {
    **{fact: variable for fact, variable in PLAIN.items() if fact not in {"pipeline", "tag"}},
    "creator": "BUILDKITE_BUILD_CREATOR",
    "creator-email": "BUILDKITE_BUILD_CREATOR_EMAIL",
    "creator-team": "BUILDKITE_BUILD_CREATOR_TEAMS",
    "author-team": "BUILDKITE_BUILD_CREATOR_TEAMS",
    "unblocker-team": "BUILDKITE_UNBLOCKER_TEAMS",
}


def _plugin(value: object) -> object:
    if not isinstance(value, str | dict) or not value:
        raise ValueError("expected a plugin such as docker#v5.13.0, or it with its settings")
    return value


Plugin = Annotated[Any, BeforeValidator(_plugin, json_schema_input_type=str | dict[str, Any])]
Texts = Annotated[list[Text], ONE_OR_MANY, Field(max_length=200)]


class BuildNode(Node):
    """A build of `main` that was started in the UI, and what differs from that."""

    organization: Text | None = None
    repository: Text | None = None
    branch: Text | None = None
    tag: Text = NO_TAG
    commit: Text | None = None
    source: Literal["ui", "api", "webhook", "schedule", "trigger_job"] | None = None
    step: Text | None = None
    queue: Text | None = None
    command: Text | None = None
    plugin: Annotated[list[Plugin], ONE_OR_MANY, Field(max_length=200)] | None = None
    creator: Text | None = None
    creator_email: Text | None = None
    creator_team: Texts | None = None
    author_team: Texts | None = None
    unblocker_team: Texts | None = None
    commit_on_branch: Literal["verified", "elsewhere", "unknown"] | None = None
    pull_request: Literal["no", "same-repository", "fork"] = "no"
    agent_tag: dict[Text, str] = Field(default_factory=dict)
    env: dict[Variable, str] = Field(default_factory=dict)
    signed: YesNo = "no"

    @model_validator(mode="after")
    def _one_list_of_teams(self) -> "BuildNode":
        both = (self.creator_team, self.author_team)
        if None not in both and self.creator_team != self.author_team:
            raise ValueError(
                "expected creator-team or author-team: Buildkite sends one list of teams, and "
                "`source` decides which of the two it is"
            )
        return self


def parsed(given: Mapping[str, Any]) -> BuildNode:
    """Return a build of options. Raises WrongConfiguration with every mistake."""
    try:
        return BuildNode.model_validate(given)
    except ValidationError as invalid:
        schema = BuildNode.model_json_schema(by_alias=True)
        details = tuple(explain(error, schema) for error in invalid.errors())
        raise WrongConfiguration(
            f"the build has {counted(len(details), 'mistake')}",
            hint="docs/governance.md#test-cases lists what can be stated of a build.",
            details=details,
        ) from invalid


def claims(
    build: BuildNode, slug: str, policy: Policy | None, guardrails: Guardrails | None = None
) -> Claims:
    """Return the claims of the build, of the policy's first repository unless it names one.

    Its organization is that of the guardrails, or one named acme.

    A commit that is on its branch, or is not, counts as checked by the host, and signed facts as
    confirmed by a token. Raises Refused for what no job may set.
    """
    env = environment(build, slug, policy, guardrails)
    made = claims_of(env, process_env={})
    if build.signed == "yes":
        made = signed(made, policy)
    if build.commit_on_branch:
        found = Known(value=build.commit_on_branch, provenance=Provenance.HOST)
        made = with_commit(made, found)
    return made


def signed(unsigned: Claims, policy: Policy | None) -> Claims:
    """Return the claims as on a host with signed identity whose token agrees with them.

    A host has only those of the agent's tags signed that a document asks about. No decision
    depends on the others.
    """
    prefix = tag_fact("")
    own = {key.removeprefix(prefix) for key in unsigned.facts if key.startswith(prefix)}
    tags = sorted(own.union(agent_tags(policy) if policy else ()))
    return confirmed(unsigned, agreeing(unsigned, tags), tags)


def environment(
    build: BuildNode, slug: str, policy: Policy | None, guardrails: Guardrails | None = None
) -> dict[str, str]:
    """Return the variables that Buildkite would send for the build."""
    given = build.model_dump(by_alias=True, exclude_none=True)
    repository = policy.repositories[0] if policy else "git@example.com:acme/without-policy.git"
    here = given.get("repository", repository)
    env = {
        "BUILDKITE_JOB_ID": "00000000-0000-4000-8000-000000000000",
        "BUILDKITE_BUILD_NUMBER": "1",
        "BUILDKITE_ORGANIZATION_SLUG": guardrails.organization if guardrails else "acme",
        "BUILDKITE_PIPELINE_SLUG": slug,
        "BUILDKITE_PIPELINE_PROVIDER": "github",
        "BUILDKITE_AGENT_NAME": "agent-1",
        "BUILDKITE_AGENT_META_DATA_QUEUE": "default",
        "BUILDKITE_REPO": repository,
        "BUILDKITE_BRANCH": "main",
        "BUILDKITE_COMMIT": "0" * 40,
        "BUILDKITE_SOURCE": "ui",
        **_pull_request(build.pull_request, here),
        **_tag_build(build.tag),
        **{_VARIABLES[key]: _joined(value) for key, value in given.items() if key in _VARIABLES},
        **_tags(build.agent_tag),
        **build.env,
    }
    if build.plugin is not None:
        env["BUILDKITE_PLUGINS"] = json.dumps([_uploaded(entry) for entry in build.plugin])
    return env


def _pull_request(kind: str, here: str) -> dict[str, str]:
    if kind == "no":
        return {"BUILDKITE_PULL_REQUEST": "false"}
    origin = here if kind == "same-repository" else "https://example.com/fork/of-it.git"
    return {"BUILDKITE_PULL_REQUEST": "1", "BUILDKITE_PULL_REQUEST_REPO": origin}


def _tag_build(tag: str) -> dict[str, str]:
    """Return what Buildkite sends for a tag: the tag's name is also the branch."""
    return {} if tag == NO_TAG else {"BUILDKITE_TAG": tag, "BUILDKITE_BRANCH": tag}


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {
        f"BUILDKITE_AGENT_META_DATA_{name.upper().replace('-', '_')}": value
        for name, value in tags.items()
    }


def _uploaded(entry: Any) -> object:  # noqa: ANN401 - see Plugin
    """Expand short names, as Buildkite does before it sends a job."""
    if isinstance(entry, dict):
        return {full_source(str(source)): entry[source] for source in entry}
    return full_source(entry)


def _joined(value: object) -> str:
    return ":".join(map(str, value)) if isinstance(value, list) else str(value)
