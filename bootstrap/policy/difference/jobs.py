"""Which jobs some rules admit together, as far as that can be shown from their conditions.

Only what certainly admits no job is left out. In doubt, jobs are reported that do not exist: an
approver reads a line too much, and none too little. tests/policy/difference compares this with
`decide` on generated documents.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bootstrap.policy.difference.words import in_words, pull_requests_in_words
from bootstrap.policy.glob import matches
from bootstrap.policy.match import PULL_REQUESTS
from bootstrap.policy.model import NO_TAG, Condition, Rule
from bootstrap.policy.shadow import implies

_PULL_REQUEST = "pull-request"
# A job has one value of each of these, so two conditions on it can exclude each other. Of commits,
# texts that differ may be the same one.
_SINGLE = frozenset({"branch", "source", "step", "queue", "creator", "creator-email"})
# A list of these holds if one of its patterns does, so it can be looked at pattern by pattern.
_DIVISIBLE = _SINGLE | {"commit", "tag", "creator-team", "author-team", "organization"}
_ORDER = ("branch", "tag", _PULL_REQUEST, "creator-team", "creator", "source", "queue", "step")

_MOST_EXCEPTIONS = 8  # earlier rules that are named for some jobs

Pair = tuple[Condition, Condition]


@dataclass(frozen=True, kw_only=True, slots=True)
class Jobs:
    """Jobs for which every condition holds, whose pull request is one of these kinds.

    `pull_requests` None: whatever they are.
    """

    conditions: tuple[Condition, ...]
    pull_requests: frozenset[str] | None


def jobs_of(rule: Rule) -> Jobs:
    """Return the jobs that fulfil the rule's conditions."""
    conditions, kinds = [], None
    for condition in rule.when:
        if condition.subject == _PULL_REQUEST:
            allowed = frozenset[str]().union(*(PULL_REQUESTS[p] for p in condition.patterns))
            kinds = allowed if kinds is None else kinds & allowed
        else:
            conditions.append(_with(condition, _once(condition.patterns)))
    return Jobs(conditions=tuple(dict.fromkeys(conditions)), pull_requests=kinds)


def _with(condition: Condition, patterns: tuple[str, ...]) -> Condition:
    """Return the condition with these patterns. Where it is written makes no difference."""
    return replace(condition, patterns=patterns, line=0)


def _once(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns in one order: which order they are written in changes nothing."""
    return tuple(sorted(set(patterns)))


class Comparison:
    """Compares conditions, each two of them once: a document has few, in many rules."""

    def __init__(self) -> None:
        self._implied: dict[Pair, bool] = {}
        self._excluded: dict[Pair, bool] = {}

    def both(self, one: Jobs, other: Jobs, without: Sequence[Jobs]) -> Jobs | None:
        """Return the jobs of both that are not among `without`; None if certainly none is left."""
        conditions = dict.fromkeys((*one.conditions, *other.conditions))
        left: Jobs | None = Jobs(conditions=tuple(conditions), pull_requests=_common(one, other))
        before = None
        if left is None or self._impossible(left):
            return None
        while left is not None and left != before:
            before = left
            for taken in without:
                left = self._less(left, taken) if left else None
        return left if left is None or not self._impossible(left) else None

    def overlap(self, one: Jobs, other: Jobs) -> bool:
        """Return whether there may be a job of both."""
        return self.both(one, other, ()) is not None

    def in_words(self, jobs: Jobs, without: Iterable[tuple[str, Jobs]]) -> str:
        """Return which jobs these are. `without` are rules with their names, and their jobs."""
        wanted = self._shortest(jobs.conditions)
        kinds = jobs.pull_requests
        words = [(condition.subject, in_words(condition)) for condition in wanted]
        if kinds is not None:
            words.append((_PULL_REQUEST, pull_requests_in_words(kinds)))
        ordered = sorted(words, key=lambda word: _place(word[0]))
        others: dict[Jobs, str] = {}
        for name, less in without:
            if len(others) == _MOST_EXCEPTIONS:
                others[less] = "and more of earlier rules"
                break
            if less not in others and self.overlap(jobs, less):
                others[less] = f"except those of rule {name!r} ({self._beyond(jobs, less)})"
        return ", ".join([*(word for _, word in ordered), *others.values()]) or "every job"

    def _beyond(self, jobs: Jobs, less: Jobs) -> str:
        """Return what `less` asks for beyond what all of `jobs` fulfil."""
        asked = [in_words(c) for c in less.conditions if not self._fulfil(jobs, c)]
        if less.pull_requests is not None and jobs.pull_requests != less.pull_requests:
            asked.append(pull_requests_in_words(less.pull_requests))
        return ", ".join(asked)

    def _shortest(self, conditions: Sequence[Condition]) -> list[Condition]:
        """Leave out conditions that follow from another one."""
        kept: list[Condition] = []
        for index, condition in enumerate(conditions):
            others = (*kept, *conditions[index + 1 :])
            if not any(self._implies(other, condition) for other in others):
                kept.append(condition)
        return kept

    def _less(self, jobs: Jobs, taken: Jobs) -> Jobs | None:
        """Return `jobs` without what is certainly among `taken`."""
        missing = [c for c in taken.conditions if not self._fulfil(jobs, c)]
        if missing:
            return self._divided(jobs, taken, missing)
        if taken.pull_requests is None:
            return None
        if jobs.pull_requests is None:
            return jobs
        left = jobs.pull_requests - taken.pull_requests
        return replace(jobs, pull_requests=left) if left else None

    def _divided(self, jobs: Jobs, taken: Jobs, missing: list[Condition]) -> Jobs | None:
        """Leave out the patterns of a list for which a job is certainly among `taken`."""
        if len({(c.subject, c.name) for c in missing}) > 1 or not _covers(taken, jobs):
            return jobs
        for condition in jobs.conditions:
            wanted = [p for p in condition.patterns if not p.startswith("!")]
            if condition.subject != missing[0].subject or condition.subject not in _DIVISIBLE:
                continue
            left = [p for p in wanted if not self._fulfil_all(condition, p, missing)]
            if left == wanted:
                continue
            refused = [p for p in condition.patterns if p.startswith("!")]
            smaller = _with(condition, (*left, *refused))
            others = (c for c in jobs.conditions if c != condition)
            return replace(jobs, conditions=(*others, smaller)) if left else None
        return jobs

    def _fulfil_all(self, condition: Condition, pattern: str, asked: list[Condition]) -> bool:
        refused = (p for p in condition.patterns if p.startswith("!"))
        one = _with(condition, (pattern, *refused))
        return all(self._implies(one, wide) for wide in asked)

    def _fulfil(self, jobs: Jobs, wide: Condition) -> bool:
        return any(self._implies(narrow, wide) for narrow in jobs.conditions)

    def _implies(self, narrow: Condition, wide: Condition) -> bool:
        if narrow.subject != wide.subject:  # most are, and to look them up takes longer
            return False
        pair = (narrow, wide)
        if pair not in self._implied:
            self._implied[pair] = implies(narrow, wide)
        return self._implied[pair]

    def _impossible(self, jobs: Jobs) -> bool:
        if jobs.pull_requests is not None and not jobs.pull_requests:
            return True
        listed = jobs.conditions
        return any(
            self._exclude(one, other) for i, one in enumerate(listed) for other in listed[i + 1 :]
        )

    def _exclude(self, one: Condition, other: Condition) -> bool:
        if one.subject != other.subject:
            return False
        pair = (one, other)
        if pair not in self._excluded:
            self._excluded[pair] = exclude(one, other)
        return self._excluded[pair]


def _common(one: Jobs, other: Jobs) -> frozenset[str] | None:
    if one.pull_requests is None or other.pull_requests is None:
        return one.pull_requests if other.pull_requests is None else other.pull_requests
    return one.pull_requests & other.pull_requests


def _covers(wide: Jobs, narrow: Jobs) -> bool:
    """Return whether no kind of pull request keeps a job of `narrow` from being one of `wide`."""
    if wide.pull_requests is None:
        return True
    return narrow.pull_requests is not None and narrow.pull_requests <= wide.pull_requests


def exclude(one: Condition, other: Condition) -> bool:
    """Return whether certainly no job fulfils both conditions."""
    if (one.subject, one.name) != (other.subject, other.name):
        return False
    if one.subject == "tag":
        if NO_TAG in one.patterns and NO_TAG in other.patterns:
            return False
        listed = [[p for p in c.patterns if p != NO_TAG] for c in (one, other)]
        return not all(listed) or _apart(*listed)
    return one.subject in _SINGLE and _apart(one.patterns, other.patterns)


def _apart(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether no single value matches both lists."""
    left, right = _left(one, other), _left(other, one)
    if left is None or right is None:  # only negations
        return left == [] or right == []
    return not any(_may_meet(a, b) for a in left for b in right)


def _left(patterns: Sequence[str], other: Sequence[str]) -> list[str] | None:
    """Return the patterns that the other list does not refuse; None if all only negate."""
    wanted = [p for p in patterns if not p.startswith("!")]
    if not wanted and patterns:
        return None
    refused = [p[1:] for p in other if p.startswith("!")]
    return [p for p in wanted if not any(matches(no, p) for no in refused)]


def _may_meet(one: str, other: str) -> bool:
    """Return whether a text may match both globs: their fixed beginnings and ends agree."""
    if "*" not in one:
        return matches(other, one)
    if "*" not in other:
        return matches(one, other)
    (begins, _, _), (starts, _, _) = one.partition("*"), other.partition("*")
    (_, _, ends), (_, _, stops) = one.rpartition("*"), other.rpartition("*")
    same_start = begins.startswith(starts) or starts.startswith(begins)
    return same_start and (ends.endswith(stops) or stops.endswith(ends))


def _place(subject: str) -> int:
    return _ORDER.index(subject) if subject in _ORDER else len(_ORDER)
