"""What the access map shows, as plain data: every text once, everything else by its number.

The script in access_map.js is the only reader, and lays the lists out in the same order.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from bootstrap.grants.kind import DEFAULT
from bootstrap.policy.catalogue import AUDIENCE, Catalogue
from bootstrap.policy.difference.words import shown
from bootstrap.policy.model import (
    Condition,
    CredentialDelivery,
    Grant,
    Guardrails,
    Limits,
    Policy,
    Requirement,
    Rule,
    Workspace,
)
from bootstrap.policy.reach import asked, in_words, reach
from bootstrap.text import printable

_LONGEST = 2500  # characters of one text: a session policy has up to 2048
_REACH = ("no", "same-repository", "any")


class _Used(NamedTuple):
    """One thing that a rule uses: its kind, its name, and what it is called there."""

    kind: str
    name: str
    called: str


class _Texts:
    """Numbers for texts; equal texts get the same number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """Return the number of the text, which is made safe to display."""
        return self._numbers.setdefault(text, len(self._numbers))

    def numbers(self, texts: Iterable[str]) -> list[int]:
        return [self.number(text) for text in texts]

    def listed(self) -> list[str]:
        return [printable(text, limit=_LONGEST) for text in self._numbers]


class _Targets:
    """Numbers for what rules use, by kind and name."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str], int] = {}

    def number(self, kind: str, name: str) -> int:
        return self.numbers.setdefault((kind, name), len(self.numbers))


def data(
    catalogue: Catalogue, *, source: str, made: str, names: Mapping[str, str]
) -> dict[str, Any]:
    """Return the map of a catalogue. `names` are accounts' names by their twelve digits."""
    texts, targets = _Texts(), _Targets()
    policies = sorted(catalogue.policies, key=lambda policy: policy.pipeline)
    rails = catalogue.guardrails
    pipelines = [_pipeline(policy, rails, texts, targets) for policy in policies]
    accounts = sorted({_account(*target) for target in targets.numbers} - {""})
    return {
        "source": printable(source),
        "made": made,
        "pipelines": pipelines,
        "targets": [
            [texts.number(kind), texts.number(name), _account(kind, name)]
            for kind, name in targets.numbers
        ],
        "accounts": {id_: printable(names.get(id_, "")) for id_ in accounts},
        "guardrails": [list(pair) for pair in _guardrails(rails)] if rails else None,
        "broken": [
            [printable(one.origin), [printable(detail, limit=300) for detail in one.details]]
            for one in catalogue.unreadable
        ],
        "texts": texts.listed(),
    }


def _pipeline(
    policy: Policy, rails: Guardrails | None, texts: _Texts, targets: _Targets
) -> list[Any]:
    rules = [_rule(policy.pipeline, rule, rails, texts, targets) for rule in policy.rules]
    return [texts.number(policy.pipeline), texts.numbers(policy.repositories), rules]


def _rule(
    pipeline: str, rule: Rule, rails: Guardrails | None, texts: _Texts, targets: _Targets
) -> list[Any]:
    used = [
        number
        for one in _uses(rule.allow)
        for number in (targets.number(one.kind, one.name), texts.number(one.called))
    ]
    left = reach(rule, rails, pipeline)
    return [
        texts.number(rule.name),
        texts.numbers(in_words(condition) for condition in rule.when),
        _REACH.index(left.pull_requests),
        used,
        [targets.number("role", rule.allow.via)] if rule.allow.via else [],
        [texts.numbers(pair) for pair in (*notes(rule.allow), *_requirements(left.required))],
        texts.numbers(left.refused),
    ]


def _requirements(required: Iterable[Requirement]) -> Iterator[tuple[str, str]]:
    """Yield what the guardrails ask of each job that is to get the rule's grant."""
    for one in required:
        yield f"required by {one.name}", asked(one)


def _uses(grant: Grant) -> Iterator[_Used]:
    for kind in grant.kinds:
        needs = kind.needs()
        for called, name in (*needs.roles.items(), *needs.references.items()):
            yield _Used(kind.noun, name, "" if called in (DEFAULT, name) else called)
    for name in grant.buildkite_secrets:
        yield _Used("secret", name, "")
    for name in grant.audiences:
        yield _Used(AUDIENCE, name, "")
    if grant.image:
        yield _Used("image", grant.image, "")
    for name, service in grant.services.items():
        yield _Used("image", service.image, name)


def _account(kind: str, name: str) -> str:
    """Return the account of a role, "" for anything else."""
    parts = name.split(":")
    return parts[4] if parts[:1] == ["arn"] and len(parts) > 5 and kind != "image" else ""


def notes(grant: Grant) -> Iterator[tuple[str, str]]:
    """Yield what else a reviewer has to know about a grant, each with its key in a policy."""
    if grant.roles:
        yield "duration", _words(grant.duration)
        yield from _of_session(grant)
    if grant.delivery is not CredentialDelivery.ENDPOINT:
        yield "delivery", grant.delivery
    if grant.secrets_with_role:
        yield "secrets-with", "role"
    if grant.agent_api:
        yield "agent-api", _words(grant.agent_api) or "the checkout's calls"
    if grant.env:
        yield "env", _words(grant.env)
    if limits := _words(grant.limits):
        yield "limits", limits
    yield from _of_sandbox(grant)
    if grant.workspace is not Workspace.REUSE:
        yield "workspace", grant.workspace


def _of_sandbox(grant: Grant) -> Iterator[tuple[str, str]]:
    if grant.builds:
        yield "builds", grant.builds
    if grant.egress:
        yield "egress", _words(grant.egress) or "none"
    for name, service in grant.services.items():
        yield f"service {name}", printable(shown(service), limit=_LONGEST)


def _of_session(grant: Grant) -> Iterator[tuple[str, str]]:
    for key, value in grant.tags.items():
        yield "session tag", f"{key}={value}{' (transitive)' * (key in grant.transitive_tags)}"
    for key in sorted(set(grant.transitive_tags) - set(grant.tags)):
        yield "session tag", f"{key} (transitive)"
    if grant.external_id:
        yield "external-id", grant.external_id
    if not grant.source_identity:
        yield "source-identity", "none"
    if grant.web_identity:
        yield "identity", "buildkite"
    if grant.session_policy:
        yield "session policy", grant.session_policy
    if grant.policy_arns:
        yield "policy-arns", _words(grant.policy_arns)


def _guardrails(rails: Guardrails) -> Iterator[tuple[str, str]]:
    """Yield every limit that the document sets, whatever limits there are."""
    yield "organization", printable(rails.organization)
    for field in fields(rails):
        if field.name not in {"organization", "origin", "digest"}:
            value = getattr(rails, field.name)
            if value is not None and (shown := _words(value)):
                yield field.name.replace("_", "-"), printable(shown, limit=_LONGEST)


def _words(value: object) -> str:
    match value:
        case timedelta():
            return _duration(int(value.total_seconds()))
        case Limits():
            named = {field.name: getattr(value, field.name) for field in fields(value)}
            return ", ".join(f"{k} {_limit(k, v)}" for k, v in named.items() if v is not None)
        case Condition():
            return in_words(value)
        case _:
            return _of_parts(value)


def _of_parts(value: object) -> str:
    match value:
        case tuple() | frozenset():
            return ", ".join(map(_words, value)) or "nothing"
        case Mapping():
            return "; ".join(f"{key}: {_words(one)}" for key, one in value.items())
        case _ if is_dataclass(value):
            named = {field.name: getattr(value, field.name) for field in fields(value)}
            return ", ".join(f"{key} {_words(one)}" for key, one in named.items() if one)
        case _:
            return str(value)


def _limit(name: str, value: float) -> str:
    return f"{value / (1 << 30):g}GiB" if name == "memory" else f"{value:g}"


def _duration(seconds: int) -> str:
    """Return the form of a policy: 1h, 90m, 1000s."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
