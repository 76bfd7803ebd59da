"""How access, not text, changes between two versions of all documents."""

from collections.abc import Iterator
from dataclasses import dataclass

from bootstrap.job.grades import Grade, grade_of, suffices
from bootstrap.job.model import Claims, Known, KnownSet, Provenance, PullRequest
from bootstrap.job.repository import Repository, parse
from bootstrap.policy.catalogue import Catalogue, by_slug
from bootstrap.policy.difference.model import Change, Kind, Place, Way, merged
from bootstrap.policy.difference.rails import guardrail_changes
from bootstrap.policy.difference.rules import Outcome, Side, changes, further, outcome
from bootstrap.policy.difference.words import shown
from bootstrap.policy.guardrails import WITHOUT_DOCUMENT, exceeds_for
from bootstrap.policy.match import COMMIT_ON_BRANCH, subject_of
from bootstrap.policy.model import NO_TAG, Condition, Guardrails, Policy, Requirement, Rule
from bootstrap.policy.requirements import demanded, refused_by_grade
from bootstrap.text import printable

REPOSITORY = "builds of the repository"
# Of a policy; its text and its place decide nothing.
_COMPARED = frozenset({"pipeline", "repositories", "rules", "origin", "digest"})
NO_REPOSITORY, BY_RULES = "refused", "as the rules say"

__all__ = ["Change", "Kind", "Place", "Way", "difference"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Version:
    """One pipeline's document, if it has one, and the guardrails of its time."""

    policy: Policy | None
    guardrails: Guardrails


def difference(old: Catalogue, new: Catalogue) -> tuple[Change, ...]:
    """Return every change of access: of the guardrails, then by pipeline.

    Nothing only if every job is decided about alike. Both catalogues must be complete: a document
    that is missing counts as removed.
    """
    before, after = by_slug(old.policies), by_slug(new.policies)
    found = list(guardrail_changes(old.guardrails, new.guardrails))
    rails = [side.guardrails or WITHOUT_DOCUMENT for side in (old, new)]
    for slug in sorted(before.keys() | after.keys()):
        had = _Version(policy=before.get(slug), guardrails=rails[0])
        has = _Version(policy=after.get(slug), guardrails=rails[1])
        if not _same(had, has):
            found += _repositories(slug, had, has)
            found += _further(slug, had.policy, has.policy)
            found += changes(slug, _side(slug, had), _side(slug, has))
    return merged(found)


def _same(one: _Version, other: _Version) -> bool:
    """Return whether both are the same text under equal guardrails: most pipelines are."""
    if one.policy is None or other.policy is None or one.policy.digest != other.policy.digest:
        return False
    return one.guardrails.digest == other.guardrails.digest


def _side(slug: str, version: _Version) -> Side:
    policy = version.policy
    if policy is None:
        return Side(origin="", outcomes=(), refusal="refused: the pipeline has no policy")
    if policy.pipeline != slug:
        other = f"refused: {slug}.yaml is the policy of pipeline {policy.pipeline}"
        return Side(origin=policy.origin, outcomes=(), refusal=other)
    return Side(
        origin=policy.origin,
        outcomes=tuple(_outcome(slug, rule, version.guardrails) for rule in policy.rules),
    )


def _outcome(slug: str, rule: Rule, guardrails: Guardrails) -> Outcome:
    required = demanded(rule.allow, guardrails, slug)
    never = [f"requires.{r.name}" for r in required if any(refused_by_grade(rule, r, signed=True))]
    beyond, of_forks = (
        tuple(dict.fromkeys((*(excess.guardrail for excess in found), *never)))
        for found in (
            exceeds_for(_job(slug, kind, guardrails.organization), rule.allow, guardrails)
            for kind in (PullRequest.NO, PullRequest.FORK)
        )
    )
    return outcome(
        rule, beyond, of_forks, {f"requirement {r.name}": _asks(rule, r) for r in required}
    )


def _asks(rule: Rule, requirement: Requirement) -> str:
    """Return what jobs of the rule have to fulfil beside its conditions."""
    weak = [subject_of(c) for c in rule.when if _may_be_claimed(c, requirement)]
    grade = "" if requirement.grade is Grade.CLAIMED else f", all of it {requirement.grade}"
    unsigned = f", and signed identity for the condition on {' and '.join(weak)}" if weak else ""
    return f"{shown(requirement.when)}{grade}{unsigned}"


def _may_be_claimed(condition: Condition, requirement: Requirement) -> bool:
    """Return whether the fact of some job of the rule may be graded less than is required."""
    grade = grade_of(condition.subject)
    if condition.subject == "tag":
        is_claimed = condition.patterns != (NO_TAG,)
    elif condition.subject == COMMIT_ON_BRANCH and "verified-or-unknown" in condition.patterns:
        is_claimed, grade = True, Grade.CLAIMED
    else:
        is_claimed = True
    return is_claimed and not suffices(condition.subject, grade, requirement.grade)


def _job(slug: str, kind: PullRequest, organization: str) -> Claims:
    """Return a job of the pipeline that uses no plugins: as guardrails see one."""
    return Claims(
        organization=organization, pipeline=slug, job_id="", build_number="", agent_name="",
        repository="", env={},
        facts={
            "pull-request": Known(value=kind.value, provenance=Provenance.JOB),
            "plugin": KnownSet(values=frozenset(), provenance=Provenance.JOB),
        },
    )  # fmt: skip


def _repositories(slug: str, old: _Version, new: _Version) -> Iterator[Change]:
    """Yield the repositories whose builds the rules are for, or no longer."""
    before, after = (_by_repository(slug, version.policy) for version in (old, new))
    for repository in dict.fromkeys((*before, *after)):
        if (repository in before) != (repository in after):
            gained = repository in after
            policy = (new if gained else old).policy
            words = (NO_REPOSITORY, BY_RULES) if gained else (BY_RULES, NO_REPOSITORY)
            yield Change(
                kind=Kind.GAINS if gained else Kind.LOSES, pipeline=slug, what=REPOSITORY,
                name=printable((after if gained else before)[repository], limit=2000),
                ways=(Way(jobs="", before=words[0], after=words[1]),),
                place=Place(origin=policy.origin if policy else "", line=1),
            )  # fmt: skip


def _further(slug: str, old: Policy | None, new: Policy | None) -> Iterator[Change]:
    """Yield what else differs of the documents: any field that policies may get."""
    if old is None or new is None:
        return
    before, after = further(old, _COMPARED), further(new, _COMPARED)
    for what in before:
        if before[what] != after[what]:
            way = Way(jobs="", before=before[what], after=after[what])
            place = Place(origin=new.origin, line=1)
            yield Change(kind=Kind.CHANGES, pipeline=slug, what=what, ways=(way,), place=place)


def _by_repository(slug: str, policy: Policy | None) -> dict[Repository | str, str]:
    """Map what git reaches to a URL of it: another spelling changes nothing."""
    if policy is None or policy.pipeline != slug:
        return {}
    return {parse(url) or url: url for url in policy.repositories}
