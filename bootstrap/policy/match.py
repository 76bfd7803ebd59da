"""One condition against one job: does it hold, and why."""

from collections.abc import Callable, Collection, Mapping
from typing import TypeGuard, assert_never

from bootstrap.job.facts import tag_fact
from bootstrap.job.grades import grade
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
from bootstrap.policy import plugins, repositories, spelling
from bootstrap.policy.glob import any_matches
from bootstrap.policy.model import ABSENT, NO_TAG, Condition, Reason
from bootstrap.policy.wording import in_words
from bootstrap.text import printable

# What the host finds about a commit and the branch that its build claims (sandbox.ancestry).
COMMIT_ON_BRANCH = "commit-on-branch"
VERIFIED, ELSEWHERE, UNKNOWN = "verified", "elsewhere", "unknown"
_COMMITS: Mapping[str, frozenset[str]] = {
    "verified": frozenset({VERIFIED}),
    "verified-or-unknown": frozenset({VERIFIED, UNKNOWN}),
}

# What a build may be. `same-repository` is also for builds that are no pull request at all.
PULL_REQUESTS: Mapping[str, frozenset[str]] = {
    "no": frozenset({PullRequest.NO}),
    "same-repository": frozenset({PullRequest.NO, PullRequest.SAME_REPOSITORY}),
    "any": frozenset(PullRequest),
}
_VALUES = {"pull-request": PULL_REQUESTS, "commit-on-branch": _COMMITS}


def verdict(rule: str, condition: Condition, claims: Claims) -> Reason:
    """Check one condition. An absent or unvouched fact never holds, negated or not."""
    fact = fact_of(condition, claims)
    holds, got = _check(condition, fact, claims)
    known = isinstance(fact, Known | KnownSet)
    expected = in_words(condition.patterns)
    return Reason(
        rule=rule,
        subject=subject_of(condition),
        expected=printable(expected),
        got=printable(got),
        holds=holds,
        provenance=fact.provenance if isinstance(fact, Known | KnownSet) else None,
        grade=grade(condition.subject, fact) if known else None,
    )


def subject_of(condition: Condition) -> str:
    """Return what the condition is about, as messages name it."""
    return f"{condition.subject} {condition.name}" if condition.name else condition.subject


def fact_of(condition: Condition, claims: Claims) -> Fact:
    """Return the fact that the condition is about."""
    if condition.subject == "env":
        value = claims.env.get(condition.name or "")
        if value is None:
            return Absent(why="not set")
        return Known(value=value, provenance=Provenance.JOB)
    key = tag_fact(condition.name) if condition.name else condition.subject
    return claims.facts.get(key, Absent(why=f"the job has no {key}"))


def _check(condition: Condition, fact: Fact, claims: Claims) -> tuple[bool, str]:
    if condition.subject == "env":
        return _variable(condition, fact)
    if condition.subject == "tag" and isinstance(fact, Absent) and NO_TAG in condition.patterns:
        return True, NO_TAG
    if _could_be_another_ref(fact, condition, claims):
        return False, f"{fact.value} (git could take it for another branch or tag)"
    return _fact(fact, lambda values: _holds(condition, values))


def _could_be_another_ref(fact: Fact, condition: Condition, claims: Claims) -> TypeGuard[Known]:
    """Buildkite calls a fork's branch `mallory:main`, and fetches it by the request's number."""
    if condition.subject not in {"branch", "tag"} or not isinstance(fact, Known):
        return False
    request, name = claims.facts.get("pull-request"), fact.value
    if isinstance(request, Known) and request.value != PullRequest.NO:
        name = spelling.without_owner(name)
    return not spelling.is_ref_name(name)


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
    patterns = condition.patterns
    match condition.subject:
        case "pull-request" | "commit-on-branch" as subject:
            known = _VALUES[subject]
            allowed = frozenset[str]().union(*(known[pattern] for pattern in patterns))
            return bool(values) and allowed.issuperset(values)
        case "plugin":  # an allow-list: every plugin of the job must be on it
            return all(plugins.admits(patterns, plugin) for plugin in values)
        case "branch" | "tag" as subject:  # a tag may itself be called "none"
            names = [p for p in patterns if subject == "branch" or p != NO_TAG]
            refs = [value.partition(":")[0] for value in values]  # `main:x` would fetch main
            return any_matches(names, values, also=refs, fold=spelling.folded_ref)
        case "commit":
            return any(_is_commit(patterns, commit) for commit in values)
        case "repository":
            return any(repositories.admits(patterns, url) for url in values)
        case _:
            return any_matches(patterns, values)


def _is_commit(patterns: tuple[str, ...], commit: str) -> bool:
    """`HEAD` and a shortened commit may be any, among them one that a negation excludes."""
    if any(pattern.startswith("!") for pattern in patterns) and not spelling.is_full_commit(commit):
        return False
    return any_matches(map(spelling.commit, patterns), (spelling.commit(commit),))


def _variable(condition: Condition, fact: Fact) -> tuple[bool, str]:
    """An empty variable is set: the shell, and most programs, can see the difference."""
    if not isinstance(fact, Known):
        return ABSENT in condition.patterns, "not set"
    values = [pattern for pattern in condition.patterns if pattern != ABSENT]
    if not values:
        return False, "set"
    # Only the agent knows which variables are secret, so no value is shown.
    holds = any_matches(values, (fact.value,))
    return holds, "a value that matches" if holds else "another value"
