"""All policies of an organisation at once, and the questions that can be asked of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bootstrap.policy import wording
from bootstrap.policy.glob import matches
from bootstrap.policy.match import PULL_REQUESTS
from bootstrap.policy.model import Condition, Guardrails, Policy, Rule
from bootstrap.text import printable


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreadable:
    """A document that is not a valid policy, with every mistake in it, and what to do if known."""

    origin: str
    details: tuple[str, ...]
    hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """Every document of a store."""

    policies: tuple[Policy, ...]
    unreadable: tuple[Unreadable, ...] = ()
    guardrails: Guardrails | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """One thing that one rule grants, and to which jobs.

    `kind` is a noun of grants.KINDS, OIDC audience, or image.
    """

    pipeline: str
    rule: str
    kind: str
    name: str
    to: tuple[str, ...]  # the rule's conditions in words; all of them must hold
    pull_requests: str  # no, same-repository or any


def by_slug(policies: Iterable[Policy]) -> dict[str, Policy]:
    """Return the policies as a host finds them: of a file, its name says which pipeline it is."""
    return {slug_of(policy.origin) or policy.pipeline: policy for policy in policies}


def slug_of(origin: str) -> str:
    """Return the slug in the name of a policy's file, "" for what is in no such file."""
    file = origin.rpartition("/")[2]
    return file.removesuffix(".yaml") if file.endswith(".yaml") else ""


def accesses(policies: Iterable[Policy]) -> Iterator[Access]:
    """Yield everything that any rule of any policy grants."""
    for policy in policies:
        for rule in policy.rules:
            for kind, name in granted(rule):
                yield Access(
                    pipeline=policy.pipeline,
                    rule=rule.name,
                    kind=kind,
                    name=name,
                    to=tuple(in_words(condition) for condition in rule.when),
                    pull_requests=pull_requests_of(rule),
                )


def granted(rule: Rule) -> tuple[tuple[str, str], ...]:
    """Return kind and name of each thing that the rule grants."""
    named = [
        (kind.noun, name)
        for kind in rule.allow.kinds
        for name in (*kind.needs().roles.values(), *kind.needs().references.values())
    ]
    named += [("secret", name) for name in rule.allow.buildkite_secrets]
    named += [("OIDC audience", name) for name in rule.allow.audiences]
    image = rule.allow.image
    return (*dict.fromkeys(named), *((("image", image),) if image else ()))


def who_can(policies: Iterable[Policy], wanted: str) -> tuple[Access, ...]:
    """Return every access to what matches `wanted`: a name, or a glob over names.

    A role that is assumed first, to reach another one, is of kind `via`: jobs do not get it.
    """
    listed = tuple(policies)
    found = (*accesses(listed), *_assumed_first(listed))
    return tuple(access for access in found if matches(wanted, access.name))


def _assumed_first(policies: Iterable[Policy]) -> Iterator[Access]:
    for policy in policies:
        for rule in policy.rules:
            if rule.allow.via:
                yield Access(
                    pipeline=policy.pipeline,
                    rule=rule.name,
                    kind="via",
                    name=rule.allow.via,
                    to=tuple(in_words(condition) for condition in rule.when),
                    pull_requests=pull_requests_of(rule),
                )


def in_words(condition: Condition) -> str:
    """Return a condition in words: `branch main or release/*`, `branch not main`."""
    subject = f"{condition.subject} {condition.name}" if condition.name else condition.subject
    return printable(f"{subject} {wording.in_words(condition.patterns)}", limit=300)


def pull_requests_of(rule: Rule) -> str:
    """Return the widest kind of pull request that the rule admits."""
    for condition in rule.when:
        if condition.subject == "pull-request":
            admitted = frozenset[str]().union(*(PULL_REQUESTS[p] for p in condition.patterns))
            return next(k for k in ("any", "same-repository", "no") if PULL_REQUESTS[k] <= admitted)
    return "any"
