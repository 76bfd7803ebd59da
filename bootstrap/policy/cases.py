"""Test cases beside the policies: for a given build, expect a rule, a grant or a refusal."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from bootstrap.errors import AirlockError, WrongConfiguration
from bootstrap.fields import ONE_OR_MANY, RoleArn
from bootstrap.forms import role_arn
from bootstrap.grants.kind import DEFAULT
from bootstrap.policy import builds, schema
from bootstrap.policy.decide import decide
from bootstrap.policy.document import load
from bootstrap.policy.egress import EgressGrant
from bootstrap.policy.limits_schema import LimitsNode
from bootstrap.policy.model import Admitted, Decision, Denied, Grant, Guardrails, Policy, Rule
from bootstrap.policy.parse import validated, wrong
from bootstrap.text import printable

ANY = "any"  # of OIDC audiences: the rule has no agent-api
NONE = "none"  # of a role, roles, secrets or an image: the rule grants, or names, no such thing

Documents = Callable[[str], tuple[Policy | None, Guardrails | None]]  # takes a pipeline


def _role_or_none(value: str) -> str:
    return value if value == NONE else role_arn(value)


def _no_roles(value: object) -> object:
    return {} if value == NONE else value


_NO_ROLES = BeforeValidator(_no_roles, json_schema_input_type=Literal["none"] | dict[str, str])


class ExpectNode(schema.Node):
    """The expected decision; what is left out is not checked.

    `roles`, `secrets`, `oidc-audiences` and `services` (their names) are all of them. `refused` is
    a part of the refusal's message.
    """

    rule: schema.Text | None = None
    role: Annotated[str, AfterValidator(_role_or_none)] | None = None
    roles: Annotated[dict[schema.Text, RoleArn], _NO_ROLES] | None = None
    secrets: Annotated[list[schema.Text], ONE_OR_MANY] | None = None
    agent_api: Literal["gateway", "direct"] | None = None
    oidc_audiences: Annotated[list[schema.Text], ONE_OR_MANY] | None = None
    builds: Literal["buildkit", "none"] | None = None
    egress: Literal["internet", "none", "list", "observe"] | None = None
    image: schema.Text | None = None
    services: Annotated[list[schema.Text], ONE_OR_MANY] | None = None
    limits: LimitsNode | None = None
    refused: str | None = None

    @model_validator(mode="after")
    def _something(self) -> "ExpectNode":
        stated = self.model_fields_set
        if not stated:
            keys = ", ".join(type(self).model_fields)
            raise ValueError(f"expected `refused`, or a mapping with one or more of {keys}")
        if "refused" in stated and len(stated) > 1:
            raise ValueError("expected either refused or a grant: a refused job gets nothing")
        return self


def _only_refused(value: object) -> object:
    return {"refused": ""} if value == "refused" else value


_REFUSED = BeforeValidator(_only_refused, json_schema_input_type=Literal["refused"] | ExpectNode)


class CaseNode(schema.Node):
    """One case."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    given: builds.BuildNode = builds.BuildNode()
    expect: Annotated[ExpectNode, _REFUSED]


class CasesNode(schema.Node):
    """A document of cases."""

    pipeline: schema.Slug
    cases: Annotated[list[CaseNode], Field(min_length=1, max_length=1000)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One build and the expected decision."""

    name: str
    line: int
    given: builds.BuildNode
    expect: ExpectNode


@dataclass(frozen=True, kw_only=True, slots=True)
class Cases:
    """One document."""

    pipeline: str
    origin: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The result of one case. `problem` is empty if the case passed, `rule` if none matched."""

    origin: str
    pipeline: str
    case: Case
    problem: str
    rule: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """How many rules there are, and those that no passed case was admitted by."""

    rules: int
    missing: tuple[tuple[Policy, Rule], ...]

    @property
    def percent(self) -> float:
        """The rules with a case, of 100."""
        return 100 * (self.rules - len(self.missing)) / self.rules if self.rules else 100.0


def parse(text: str, origin: str) -> Cases:
    """Read a document of cases. Raises WrongConfiguration with every mistake."""
    document = load(text)
    node, mistakes = validated(document, CasesNode)
    if mistakes or node is None:
        raise wrong(origin, mistakes)
    cases = tuple(
        Case(
            name=case.name,
            line=document.line(("cases", index)),
            given=case.given,
            expect=case.expect,
        )
        for index, case in enumerate(node.cases)
    )
    return Cases(pipeline=node.pipeline, origin=origin, cases=cases)


def outcomes(documents: Iterable[Cases], read: Documents) -> tuple[Outcome, ...]:
    """Decide about every case as a host does whose documents `read` returns.

    A host that ends all jobs of a pipeline because of mistakes fails all of its cases, and so does
    a pipeline without policy: that its jobs are refused says nothing about any rule.
    """
    return tuple(
        _outcome(document, case, read) for document in documents for case in document.cases
    )


def _outcome(document: Cases, case: Case, read: Documents) -> Outcome:
    problem, rule = _judged(case, document.pipeline, read)
    return Outcome(
        origin=document.origin, pipeline=document.pipeline, case=case, problem=problem, rule=rule
    )


def _judged(case: Case, slug: str, read: Documents) -> tuple[str, str]:
    """Return the problem, and the rule that admits the build."""
    try:
        policy, guardrails = read(slug)
        if policy is None:
            return f"there is no policy of a pipeline {slug}", ""
        claims = builds.claims(case.given, slug, policy, guardrails)
        decision = decide(claims, *read(claims.pipeline))
    except WrongConfiguration as mistakes:
        return f"a host ends every job of {slug} with 78: {mistakes.problem}", ""
    except AirlockError as refusal:
        return f"the case does not describe a valid build: {refusal.problem}", ""
    return verdict(case.expect, decision), decision.rule if isinstance(decision, Admitted) else ""


def misspelt(document: Cases, policies: Iterable[str]) -> str:
    """Return what is wrong with the pipeline of the cases, "" if it has a policy."""
    known = sorted(policies)
    if document.pipeline in known:
        return ""
    close = get_close_matches(document.pipeline, known, n=1)
    meant = f'; did you mean "{close[0]}"?' if close else ""
    return f'there is no policy of a pipeline "{document.pipeline}"{meant}'


def verdict(expect: ExpectNode, decision: Decision) -> str:
    """Return how the decision differs from what a case expects, "" if it does not."""
    match decision:
        case Denied(problem=problem):
            if expect.refused is None:
                return f"expected {_wanted(expect)}, got a refusal: {problem}"
            met = expect.refused in problem
            return "" if met else f"expected {expect.refused!r}, got {problem}"
        case Admitted(rule=rule, grant=grant):
            if expect.refused is not None:
                return f"expected a refusal, got rule {rule!r}"
            return next(_differences(expect, rule, grant), "")


def _differences(expect: ExpectNode, rule: str, grant: Grant) -> Iterator[str]:
    got: dict[str, Any] = {
        "rule": rule,
        "role": grant.role or NONE,
        "roles": {name: arn for name, arn in grant.roles.items() if name != DEFAULT},
        "secrets": sorted(grant.secrets) or [NONE],
        "agent_api": "gateway" if grant.agent_api else "direct",
        "oidc_audiences": sorted(grant.audiences) or [NONE if grant.agent_api else ANY],
        "builds": str(grant.builds or NONE),
        "egress": _egress(grant),
        "image": grant.image or NONE,
        "services": sorted(grant.services) or [NONE],
    }
    wanted = expect.model_dump(include=set(got), exclude_none=True)
    for key, stated in wanted.items():
        value = sorted(set(stated)) if isinstance(stated, list) else stated
        if value != got[key]:
            yield f"expected {_key(key)} {_shown(value)}, got {_shown(got[key])}"
    limits = expect.limits.model_dump(exclude_none=True) if expect.limits else {}
    for name, limit in limits.items():
        granted = getattr(grant.limits, name)
        if granted != limit:
            yield f"expected limits.{name} {limit}, got {granted or 'the default of the host'}"


def _egress(grant: Grant) -> str:
    if grant.egress is None or grant.egress.observe:
        return "internet" if grant.egress is None else "observe"
    return NONE if grant.egress == EgressGrant() else "list"


def _key(name: str) -> str:
    return name.replace("_", "-")


def _shown(value: object) -> str:
    match value:
        case list():
            return printable(", ".join(map(str, value)), limit=500)
        case dict():
            listed = ", ".join(f"{name}: {arn}" for name, arn in value.items())
            return printable(listed or NONE, limit=500)
        case _:
            return repr(value)


def _wanted(expect: ExpectNode) -> str:
    stated = expect.model_dump(include={"rule", "role"}, exclude_none=True)
    return " with ".join(f"{key} {value!r}" for key, value in stated.items()) or "a matching rule"


def coverage(found: Iterable[Outcome], policies: Mapping[str, Policy]) -> Coverage:
    """Return which rules the passed cases were admitted by."""
    used = Counter((o.pipeline, o.rule) for o in found if not o.problem)
    rules = [(policy, rule) for policy in policies.values() for rule in policy.rules]
    return Coverage(
        rules=len(rules),
        missing=tuple((policy, r) for policy, r in rules if not used[policy.pipeline, r.name]),
    )
