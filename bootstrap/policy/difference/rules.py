"""How what one pipeline's jobs get changes: by every pair of an old and a new rule.

Of two lists of rules, a job is admitted by one old rule or none, and by one new rule or none. So
every job whose decision changes belongs to one pair of rules whose grants differ, or of which one
is missing; the earlier rules of both lists, which would have admitted it instead, say which jobs
are left of the pair. This finds what another order of rules changes, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from bootstrap.job.model import PullRequest
from bootstrap.policy.difference.jobs import Comparison, Jobs, jobs_of
from bootstrap.policy.difference.model import Change, Kind, Place, Way
from bootstrap.policy.difference.parts import Difference, differences, things
from bootstrap.policy.difference.words import label, shown
from bootstrap.policy.model import Grant, Rule

SANDBOX = "a sandbox"  # what every admitted job gets
REFUSED = "refused"
# Pairs of rules of one pipeline. Of more, what earlier rules take is left out: it takes minutes,
# and nobody reads so many lines to the end.
MANY = 2500
NO_RULE = "refused: no rule admits them"
_ALL, _FORKS = frozenset(PullRequest), frozenset({PullRequest.FORK})
_EVERYTHING = Jobs(conditions=(), pull_requests=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A rule in its list, and what a job gets that it is the first to admit.

    `grant` None: the job is refused, because of `refusal`. `forks` is the same for pull requests of
    forks, where the guardrails treat those otherwise.
    """

    name: str
    jobs: Jobs
    grant: Grant | None
    refusal: str = ""
    more: Mapping[str, str] = field(default_factory=dict)  # what else the rule has, in words
    line: int
    forks: "Outcome | None" = None

    @property
    def words(self) -> str:
        """How it is called in a change."""
        return f"rule {self.name!r}" if self.grant is not None else self.refusal

    @property
    def of_forks(self) -> "Outcome":
        """What pull requests of forks get."""
        return self.forks or self


# Of a rule; `line` decides nothing. Any other field that rules may get is compared as it is.
_COMPARED = frozenset({"name", "when", "allow", "line"})


def further(value: Any, known: frozenset[str]) -> dict[str, str]:  # noqa: ANN401 - a dataclass
    """Return every field that is not among those whose meaning is known here, in words."""
    named = ((one.name, getattr(value, one.name)) for one in fields(value))
    return {label(name): shown(what, name) for name, what in named if name not in known}


_NONE = Outcome(name="", jobs=_EVERYTHING, grant=None, refusal=NO_RULE, line=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """The rules of one pipeline's document in their order, and why all other jobs are refused."""

    origin: str
    outcomes: tuple[Outcome, ...]
    refusal: str = NO_RULE

    @property
    def complete(self) -> tuple[Outcome, ...]:
        """The outcomes, and last that of all other jobs."""
        return (*self.outcomes, replace(_NONE, refusal=self.refusal))


def outcome(
    rule: Rule,
    beyond: Sequence[str],
    beyond_of_forks: Sequence[str],
    required: Mapping[str, str],
) -> Outcome:
    """Return what the rule leads to.

    `beyond` are the guardrails that it exceeds for every job, `beyond_of_forks` those that it
    exceeds for pull requests of forks. `required` is what the guardrails ask of jobs with its
    grant, in words.
    """
    own = _limited(rule, beyond, required)
    if tuple(beyond) == tuple(beyond_of_forks):
        return own
    return replace(own, forks=_limited(rule, beyond_of_forks, required))


def _limited(rule: Rule, beyond: Sequence[str], required: Mapping[str, str]) -> Outcome:
    refusal = f"{REFUSED}: rule {rule.name!r} exceeds the guardrail {' and '.join(beyond)}"
    return Outcome(
        name=rule.name, jobs=jobs_of(rule), grant=None if beyond else rule.allow,
        refusal=refusal if beyond else "", more={**further(rule, _COMPARED), **required},
        line=rule.line,
    )  # fmt: skip


def changes(pipeline: str, old: Side, new: Side) -> Iterator[Change]:
    """Yield every change, some of them several times, for different jobs."""
    comparison = Comparison()
    pairs = list(_pairs(old, new))
    for i, j, had, has in pairs:
        before = [*old.outcomes[:i], *new.outcomes[:j]] if len(pairs) <= MANY else []
        left = comparison.both(had.jobs, has.jobs, [one.jobs for one in before])
        place = _place(old, new, had, has)
        for some, was, now in _classes(left, had, has):
            jobs = comparison.in_words(some, ((one.name, one.jobs) for one in before))
            for one in _between(was, now):
                yield Change(
                    kind=one.kind, pipeline=pipeline, what=one.what, name=one.name, place=place,
                    ways=(Way(jobs=jobs, before=one.before, after=one.after),),
                )  # fmt: skip


def _classes(
    left: Jobs | None, had: Outcome, has: Outcome
) -> Iterator[tuple[Jobs, Outcome, Outcome]]:
    """Divide jobs by whether a fork's pull request is treated otherwise, on either side."""
    if left is None:
        return
    if had.forks is None and has.forks is None:
        yield left, had, has
        return
    kinds = _ALL if left.pull_requests is None else left.pull_requests
    for some, was, now in (
        (kinds - _FORKS, had, has),
        (kinds & _FORKS, had.of_forks, has.of_forks),
    ):
        if some and _differ(was, now):
            yield replace(left, pull_requests=some), was, now


def _place(old: Side, new: Side, had: Outcome, has: Outcome) -> Place:
    """Return where the new rule is, or the old one if there is no new one."""
    if had.name and not has.name:
        return Place(origin=old.origin, line=had.line)
    return Place(origin=new.origin, line=has.line)


def _pairs(old: Side, new: Side) -> Iterator[tuple[int, int, Outcome, Outcome]]:
    """Yield old and new outcomes that differ, with how many rules are before each of them."""
    earlier: list[set[Jobs]] = []  # the jobs of the rules before each new one
    seen: set[Jobs] = set()
    for has in new.complete:
        earlier.append(set(seen))
        seen.add(has.jobs)
    passed: set[Jobs] = set()
    for i, had in enumerate(old.complete):
        for j, has in enumerate(new.complete):
            taken = had.jobs in earlier[j] or has.jobs in passed
            differ = _differ(had, has) or _differ(had.of_forks, has.of_forks)
            if differ and not taken:
                yield i, j, had, has
        passed.add(had.jobs)


def _differ(had: Outcome, has: Outcome) -> bool:
    if had.grant is None or has.grant is None:
        return (had.grant is None) != (has.grant is None)
    return (had.name, had.grant, had.more) != (has.name, has.grant, has.more)


def _between(had: Outcome, has: Outcome) -> Iterator[Difference]:
    """Yield what the jobs of a pair gain, lose or get changed."""
    match had.grant, has.grant:
        case None, Grant() as grant:
            yield from _all(Kind.GAINS, grant, had.words, has.words)
        case Grant() as grant, None:
            yield from _all(Kind.LOSES, grant, had.words, has.words)
        case Grant() as old, Grant() as new:
            yield from _of_grants(had, has, old, new)


def _all(kind: Kind, grant: Grant, before: str, after: str) -> Iterator[Difference]:
    """Yield the sandbox and everything granted; of what is gained, also how."""
    for what, name in ((SANDBOX, ""), *things(grant)):
        yield Difference(kind=kind, what=what, name=name, before=before, after=after)
    if kind is Kind.GAINS:
        for one in differences(Grant(kinds=grant.kinds), grant):
            yield Difference(
                kind=kind, what=one.what, name=one.name, before=before,
                after=f"{one.after} ({after})",
            )  # fmt: skip


def _of_grants(had: Outcome, has: Outcome, old: Grant, new: Grant) -> Iterator[Difference]:
    renamed = had.name != has.name
    for one in differences(old, new):
        before, after = (
            f"{text} ({outcome.words})" if renamed else text
            for text, outcome in ((one.before, had), (one.after, has))
        )
        yield Difference(kind=one.kind, what=one.what, name=one.name, before=before, after=after)
    for what in dict.fromkeys((*had.more, *has.more)):
        before, after = (one.more.get(what, "nothing") for one in (had, has))
        if before != after:
            yield Difference(kind=Kind.CHANGES, what=what, before=before, after=after)
    if renamed and old == new:
        yield Difference(
            kind=Kind.CHANGES, what="name of the rule", before=had.words, after=has.words
        )
