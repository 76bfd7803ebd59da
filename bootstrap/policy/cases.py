"""Test cases beside the policies: for a given build, expect a rule, a role or a refusal."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from bootstrap.errors import AirlockError
from bootstrap.job.assemble import claims_of
from bootstrap.job.facts import PLAIN
from bootstrap.job.model import Claims
from bootstrap.job.plugins import full_source
from bootstrap.policy import schema
from bootstrap.policy.decide import decide
from bootstrap.policy.document import load
from bootstrap.policy.model import NO_TAG, Admitted, Decision, Denied, Guardrails, Policy
from bootstrap.policy.parse import validated, wrong

# Key of a case's `given` -> Buildkite's variable.
_VARIABLES = {
    **{fact: variable for fact, variable in PLAIN.items() if fact not in {"pipeline", "tag"}},
    "creator": "BUILDKITE_BUILD_CREATOR",
    "creator-email": "BUILDKITE_BUILD_CREATOR_EMAIL",
    "creator-team": "BUILDKITE_BUILD_CREATOR_TEAMS",
    "unblocker-team": "BUILDKITE_UNBLOCKER_TEAMS",
}


def _only_refused(value: object) -> object:
    return {"refused": ""} if value == "refused" else value


def _known(given: dict[str, Any]) -> dict[str, Any]:
    known = {*_VARIABLES, "tag", "plugin", "pull-request", "agent-tag", "env"}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(f"unknown fact {unknown[0]!r}; known are {', '.join(sorted(known))}")
    if given.get("pull-request", "no") not in {"no", "same-repository", "fork"}:
        raise ValueError("expected pull-request: no, same-repository or fork")
    return given


_REFUSED = BeforeValidator(
    _only_refused, json_schema_input_type=Literal["refused"] | dict[str, str]
)


class ExpectNode(schema.Node):
    """The expected decision. `refused` is a part of the refusal's message."""

    rule: str | None = None
    role: str | None = None
    refused: str | None = None


class CaseNode(schema.Node):
    """One case."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    given: Annotated[dict[str, Any], AfterValidator(_known)] = Field(default_factory=dict)
    expect: Annotated[ExpectNode, _REFUSED]


class CasesNode(schema.Node):
    """A document of cases."""

    pipeline: schema.Slug
    cases: Annotated[list[CaseNode], Field(min_length=1, max_length=1000)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One build and the expected decision; what is None is not checked."""

    name: str
    line: int
    given: Mapping[str, Any]
    rule: str | None
    role: str | None
    refused: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cases:
    """One document."""

    pipeline: str
    origin: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The result of one case. `problem` is empty if the case passed."""

    origin: str
    pipeline: str
    case: Case
    problem: str


def parse(text: str, origin: str) -> Cases:
    """Read a document of cases. Raises WrongConfiguration with every mistake."""
    document = load(text)
    node, mistakes = validated(document, CasesNode)
    if mistakes or node is None:
        raise wrong(origin, mistakes)
    cases = tuple(
        _case(case, document.line(("cases", index))) for index, case in enumerate(node.cases)
    )
    return Cases(pipeline=node.pipeline, origin=origin, cases=cases)


def _case(node: CaseNode, line: int) -> Case:
    expect = node.expect
    return Case(
        name=node.name,
        line=line,
        given=node.given,
        rule=expect.rule,
        role=expect.role,
        refused=expect.refused,
    )


def outcomes(
    documents: Iterable[Cases], policies: Mapping[str, Policy], guardrails: Guardrails | None
) -> tuple[Outcome, ...]:
    """Run every case against its pipeline's policy."""
    return tuple(
        Outcome(
            origin=document.origin,
            pipeline=document.pipeline,
            case=case,
            problem=_problem(case, policies.get(document.pipeline), document.pipeline, guardrails),
        )
        for document in documents
        for case in document.cases
    )


def _problem(case: Case, policy: Policy | None, slug: str, rails: Guardrails | None) -> str:
    try:
        decision = decide(build(case.given, slug, policy), policy, rails)
    except AirlockError as refusal:
        return f"the case does not describe a valid build: {refusal.problem}"
    return verdict(case, decision)


def verdict(case: Case, decision: Decision) -> str:
    """Return how the decision differs from what the case expects, "" if it does not."""
    match decision:
        case Denied(problem=problem):
            if case.refused is None:
                return f"expected {_wanted(case)}, got a refusal: {problem}"
            return "" if case.refused in problem else f"expected {case.refused!r}, got {problem}"
        case Admitted(rule=rule, grant=grant):
            if case.refused is not None:
                return f"expected a refusal, got rule {rule!r}"
            if case.rule not in (None, rule):
                return f"expected rule {case.rule!r}, got {rule!r}"
            if case.role not in (None, grant.role or "none"):
                return f"expected role {case.role}, got {grant.role or 'none'}"
            return ""


def _wanted(case: Case) -> str:
    return " with ".join(
        f"{kind} {value!r}" for kind, value in (("rule", case.rule), ("role", case.role)) if value
    ) or "a matching rule"  # fmt: skip


def build(given: Mapping[str, Any], slug: str, policy: Policy | None) -> Claims:
    """Return the claims of a build of main that was started in the UI, changed by `given`."""
    repository = policy.repositories[0] if policy else "git@example.com:acme/without-policy.git"
    env = {
        "BUILDKITE_JOB_ID": "00000000-0000-4000-8000-000000000000",
        "BUILDKITE_BUILD_NUMBER": "1",
        "BUILDKITE_ORGANIZATION_SLUG": "acme",
        "BUILDKITE_PIPELINE_SLUG": slug,
        "BUILDKITE_PIPELINE_PROVIDER": "github",
        "BUILDKITE_AGENT_NAME": "agent-1",
        "BUILDKITE_AGENT_META_DATA_QUEUE": "default",
        "BUILDKITE_REPO": repository,
        "BUILDKITE_BRANCH": "main",
        "BUILDKITE_COMMIT": "0" * 40,
        "BUILDKITE_SOURCE": "ui",
        **_pull_request(given.get("pull-request", "no"), repository),
        **_tag_build(given.get("tag", NO_TAG)),
        **{_VARIABLES[key]: _joined(value) for key, value in given.items() if key in _VARIABLES},
        **_tags(given.get("agent-tag", {})),
        **given.get("env", {}),
    }
    if "plugin" in given:
        env["BUILDKITE_PLUGINS"] = json.dumps(list(map(_uploaded, _listed(given["plugin"]))))
    return claims_of(env, process_env={})


def _pull_request(kind: Literal["no", "same-repository", "fork"], here: str) -> dict[str, str]:
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


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _uploaded(entry: object) -> object:
    """Expand short names, as Buildkite does before it sends a job."""
    if isinstance(entry, dict):
        return {full_source(str(source)): entry[source] for source in entry}
    return full_source(entry) if isinstance(entry, str) else entry


def _joined(value: object) -> str:
    return ":".join(str(part) for part in _listed(value))
