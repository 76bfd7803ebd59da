"""One condition against one job: does it hold, and why."""

from collections.abc import Callable, Collection, Mapping
from typing import assert_never

from bootstrap.job.facts import tag_fact
from bootstrap.job.model import (
    Absent,
    Claims,
    Fact,
    Known,
    KnownSet,
    Provenance,
    PullRequest,
    Unvouched,
)
from bootstrap.job.repository import same
from bootstrap.policy.glob import any_matches
from bootstrap.policy.model import NO_TAG, Condition, Reason
from bootstrap.policy.plugins import admits
from bootstrap.policy.wording import in_words
from bootstrap.text import printable

# What the host finds about a commit and the branch that its build claims (sandbox.ancestry).
VERIFIED, ELSEWHERE, UNKNOWN = "verified", "elsewhere", "unknown"
_COMMITS: Mapping[str, frozenset[str]] = {
    "verified": frozenset({VERIFIED}),
    "verified-or-unknown": frozenset({VERIFIED, UNKNOWN}),
}

PULL_REQUESTS: Mapping[str, frozenset[str]] = {
    "no": frozenset({PullRequest.NO}),
    "same-repository": frozenset({PullRequest.NO, PullRequest.SAME_REPOSITORY}),
    "any": frozenset(PullRequest),
}


def verdict(rule: str, condition: Condition, claims: Claims) -> Reason:
    """Check one condition. An absent or unvouched fact never holds, negated or not."""
    fact = _fact_of(condition, claims)
    holds, got = _check(condition, fact)
    expected = in_words(condition.patterns)
    return Reason(
        rule=rule,
        subject=_subject(condition),
        expected=printable(expected),
        got=printable(got),
        holds=holds,
        provenance=fact.provenance if isinstance(fact, Known | KnownSet) else None,
    )


def _subject(condition: Condition) -> str:
    return f"{condition.subject} {condition.name}" if condition.name else condition.subject


def _fact_of(condition: Condition, claims: Claims) -> Fact:
    if condition.subject == "env":
        value = claims.env.get(condition.name or "")
        if value is None:
            return Absent(why="not set")
        return Known(value=value, provenance=Provenance.JOB)
    key = tag_fact(condition.name) if condition.name else condition.subject
    return claims.facts.get(key, Absent(why=f"the job has no {key}"))


def _check(condition: Condition, fact: Fact) -> tuple[bool, str]:
    if condition.subject == "env":
        return _variable(condition, fact)
    if condition.subject == "tag" and isinstance(fact, Absent) and NO_TAG in condition.patterns:
        return True, NO_TAG
    return _fact(fact, lambda values: _holds(condition, values))


def _fact(fact: Fact, holds: Callable[[Collection[str]], bool]) -> tuple[bool, str]:
    match fact:
        case Known(value=value):
            return holds((value,)), value
        case KnownSet(values=values):
            return holds(values), ", ".join(sorted(values)) or "none"
        case Unvouched(value=value, why=why):
            return False, f"{value} ({why})"
        case Absent(why=why):
            return False, f"nothing: {why}"
        case _:
            assert_never(fact)


def _holds(condition: Condition, values: Collection[str]) -> bool:
    match condition.subject:
        case "pull-request":
            allowed = frozenset[str]().union(*(PULL_REQUESTS[p] for p in condition.patterns))
            return bool(values) and allowed.issuperset(values)
        case "commit-on-branch":
            known = frozenset[str]().union(*(_COMMITS[p] for p in condition.patterns))
            return bool(values) and known.issuperset(values)
        case "plugin":  # an allow-list: every plugin of the job must be on it
            return all(admits(condition.patterns, plugin) for plugin in values)
        case "tag":  # a tag may itself be called "none"
            return any_matches([p for p in condition.patterns if p != NO_TAG], values)
        case "repository":
            return any(same(listed, url) for listed in condition.patterns for url in values)
        case _:
            return any_matches(condition.patterns, values)


def _variable(condition: Condition, fact: Fact) -> tuple[bool, str]:
    if condition.patterns == ("absent",):
        return isinstance(fact, Absent), "not set" if isinstance(fact, Absent) else "set"
    if not isinstance(fact, Known):
        return False, "not set"
    # Only the agent knows which variables are secret, so no value is shown.
    holds = any_matches(condition.patterns, (fact.value,))
    return holds, "a value that matches" if holds else "another value"
