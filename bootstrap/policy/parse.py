"""Reads a document's text as a Policy, or reports every mistake in it at once."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from bootstrap.errors import WrongConfiguration
from bootstrap.grammar import Schema
from bootstrap.mistakes import explain
from bootstrap.policy import schema
from bootstrap.policy.document import Document, Mistake, load
from bootstrap.policy.ignored import ignored
from bootstrap.policy.model import (
    Condition,
    Grant,
    Guardrails,
    Limits,
    Policy,
    Requirement,
    Rule,
    Scope,
)
from bootstrap.text import counted, printable

if TYPE_CHECKING:
    from bootstrap.policy.guardrails_schema import BoundsNode, RequirementNode, ScopeNode
    from bootstrap.policy.limits_schema import LimitsNode

N = TypeVar("N", bound=BaseModel)
Line = Callable[[tuple[str | int, ...]], int]


def parse(text: str, origin: str) -> Policy:
    """Read a policy document.

    Raises WrongConfiguration whose details are all mistakes, each as `origin:line: mistake`.
    """
    document = load(text)
    node, mistakes = validated(document, schema.PolicyNode)
    if node:
        mistakes = (*document.mistakes, *_same_names(node, document))
    if mistakes or node is None:
        raise wrong(origin, mistakes)
    made = policy_of(node, line=document.line, origin=origin, digest=digest(text))
    found = ignored(text)
    return replace(made, ignored=found) if found else made


def policy_of(node: schema.PolicyNode, *, line: Line, origin: str, digest: str) -> Policy:
    """Return the Policy of a valid document; `line` returns the line of a part."""
    return Policy(
        pipeline=node.pipeline,
        repositories=tuple(node.repository),
        rules=tuple(_rule(rule, i, line) for i, rule in enumerate(node.rules)),
        origin=origin,
        digest=digest,
    )


def parse_guardrails(text: str, origin: str) -> Guardrails:
    """Read a guardrails document. Raises as `parse`."""
    from bootstrap.policy.guardrails_schema import GuardrailsNode  # noqa: PLC0415 - takes long

    document = load(text)
    node, mistakes = validated(document, GuardrailsNode)
    if mistakes or node is None:
        raise wrong(origin, mistakes)
    return Guardrails(
        **_bounds(node),
        organization=node.guardrails,
        forks=node.forks,
        scopes=tuple(_scope(scope) for scope in node.scopes),
        requires=tuple(_requirement(n, i, document.line) for i, n in enumerate(node.requires)),
        origin=origin,
        digest=digest(text),
    )


def _scope(node: "ScopeNode") -> Scope:
    return Scope(**_bounds(node), name=node.name, pipelines=tuple(node.pipelines), forks=node.forks)


def _bounds(node: "BoundsNode") -> dict[str, Any]:
    return {
        "accounts": _tuple(node.accounts),
        "roles": _tuple(node.roles),
        "images": _tuple(node.images),
        "secrets": _tuple(node.secrets),
        "plugins": _tuple(node.plugins),
        "oidc_audiences": _tuple(node.oidc_audiences),
        "agent_api": node.agent_api,
        "builds": _tuple(node.builds),
        "egress": node.egress.bounds() if node.egress is not None else None,
        "session_tags": _tuple(node.session_tags),
        "session": node.session,
        "limits": _limits(node.limits),
    }


def _requirement(node: "RequirementNode", index: int, line: Line) -> Requirement:
    return Requirement(
        name=node.name or f"[{index}]",
        roles=tuple(node.roles),
        secrets=tuple(node.secrets),
        when=_when(node, ("requires", index), line),
        grade=node.grade,
    )


def digest(text: str) -> str:
    """Return the sha256 by which records name exactly this document."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _tuple(listed: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if listed is None else tuple(listed)


def validated(document: Document, kind: type[N]) -> tuple[N | None, tuple[Mistake, ...]]:
    """Return the document as `kind`, or None, and every mistake of form and of content."""
    if document.content is None:
        return None, document.mistakes
    try:
        return kind.model_validate(document.content), document.mistakes
    except ValidationError as invalid:
        grammar = _grammar(kind)
        found = tuple(
            Mistake(line=document.line(error["loc"]), text=explain(error, grammar))
            for error in invalid.errors()
        )
        return None, (*document.mistakes, *found)


@cache
def _grammar(kind: type[BaseModel]) -> Schema:
    return kind.model_json_schema(by_alias=True)


def _same_names(node: schema.PolicyNode, document: Document) -> Iterable[Mistake]:
    seen: set[str] = set()
    for i, rule in enumerate(node.rules):
        if rule.name in seen:
            line = document.line(("rules", i, "name"))
            yield Mistake(line=line, text=f'duplicate rule name "{rule.name}"')
        seen.add(rule.name)


def _rule(node: schema.RuleNode, index: int, line: Line) -> Rule:
    base = ("rules", index)
    return Rule(
        name=node.name,
        when=_when(node.when, (*base, "when"), line),
        allow=_grant(node.allow),
        line=line(base),
    )


def _when(node: schema.When, place: tuple[str | int, ...], line: Line) -> tuple[Condition, ...]:
    conditions = schema.conditions(node).items()
    return tuple(c for k, value in conditions for c in _conditions(k, value, line((*place, k))))


def _conditions(
    key: str,
    value: Any,  # noqa: ANN401 - a list, a mapping or a string of the document
    line: int,
) -> Iterable[Condition]:
    if isinstance(value, dict):
        for name, patterns in value.items():
            yield Condition(subject=key, name=name, patterns=tuple(patterns), line=line)
    else:
        patterns = tuple(value) if isinstance(value, list) else (value,)
        yield Condition(subject=key, patterns=patterns, line=line)


def _grant(node: schema.Allow) -> Grant:
    return Grant(
        kinds=node.kinds(),
        agent_api=node.agent_api.grant() if node.agent_api is not None else None,
        builds=node.builds,
        egress=node.egress.grant() if node.egress is not None else None,
        duration=node.session.duration,
        tags=node.session.tags,
        transitive_tags=tuple(node.session.transitive),
        external_id=node.session.external_id,
        source_identity=node.session.source_identity == "job",
        session_policy=node.session.policy,
        policy_arns=tuple(node.session.policy_arns),
        via=node.session.via,
        web_identity=node.session.identity == "buildkite",
        delivery=node.delivery,
        secrets_with_role=node.secrets_with == "role",
        known_hosts=tuple(node.known_hosts),
        env=tuple(node.env),
        image=node.image,
        limits=_limits(node.limits),
        workspace=node.workspace,
        services={name: service.made() for name, service in node.services.items()},
    )


def _limits(node: "LimitsNode") -> Limits:
    return Limits(memory=node.memory, cpus=node.cpus, pids=node.pids)


def wrong(origin: str, mistakes: Iterable[Mistake]) -> WrongConfiguration:
    """Return the error for a document, with its mistakes in the order of their lines."""
    ordered = sorted(mistakes, key=lambda mistake: mistake.line)
    return WrongConfiguration(
        f"{origin} has {counted(len(ordered), 'mistake')}",
        hint="See the grammar in docs/policy.md and the examples in agent-config/policies/.",
        details=tuple(f"{origin}:{m.line}: {printable(m.text, limit=500)}" for m in ordered),
    )
