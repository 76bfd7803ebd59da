"""What the guardrails leave of a rule: which pull requests get its grant, and why no job does."""

from collections.abc import Iterator
from dataclasses import dataclass

from bootstrap.job.grades import Grade
from bootstrap.policy import wording
from bootstrap.policy.guardrails import WITHOUT_DOCUMENT, exceeds, forks_for, gives_access
from bootstrap.policy.match import PULL_REQUESTS
from bootstrap.policy.model import Condition, ForkAccess, Guardrails, Requirement, Rule
from bootstrap.policy.requirements import demanded, refused_by_grade
from bootstrap.text import printable


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """Who gets what a rule grants. `refused` has every reason why no job does, in words."""

    pull_requests: str  # the widest kind that gets it: no, same-repository or any
    refused: tuple[str, ...]
    required: tuple[Requirement, ...]  # what each of its jobs has to fulfil as well


def reach(rule: Rule, guardrails: Guardrails | None, pipeline: str) -> Reach:
    """Return what the guardrails leave of a rule of the pipeline; None: a host without any."""
    rails = guardrails or WITHOUT_DOCUMENT
    required = demanded(rule.allow, rails, pipeline)
    return Reach(
        pull_requests=_pull_requests(rule, rails, pipeline),
        refused=tuple(_refused(rule, rails, pipeline, required)),
        required=required,
    )


def _refused(
    rule: Rule, rails: Guardrails, pipeline: str, required: tuple[Requirement, ...]
) -> Iterator[str]:
    for excess in exceeds(rule.allow, rails, pipeline):
        yield f"{excess.guardrail}: got {excess.got}, allowed {excess.allowed}"
    for one in required:
        for _, why in refused_by_grade(rule, one, signed=True):
            yield f"requires.{one.name}: got {why}"


def _pull_requests(rule: Rule, rails: Guardrails, pipeline: str) -> str:
    widest, forks = pull_requests_of(rule), forks_for(rails, pipeline)
    gets = gives_access(rule.allow)
    excluded = forks is ForkAccess.REFUSE or (forks is ForkAccess.NOTHING and gets)
    return "same-repository" if widest == "any" and excluded else widest


def pull_requests_of(rule: Rule) -> str:
    """Return the widest kind of pull request that the rule admits."""
    for condition in rule.when:
        if condition.subject == "pull-request":
            admitted = frozenset[str]().union(*(PULL_REQUESTS[p] for p in condition.patterns))
            return next(k for k in ("any", "same-repository", "no") if PULL_REQUESTS[k] <= admitted)
    return "any"


def asked(requirement: Requirement) -> str:
    """Return what a requirement asks of a job, in words."""
    grade = requirement.grade
    facts = () if grade is Grade.CLAIMED else (f"only {grade} facts",)
    return "; ".join((*map(in_words, requirement.when), *facts)) or "nothing"


def in_words(condition: Condition) -> str:
    """Return a condition in words: `branch main or release/*`, `branch not main`."""
    subject = f"{condition.subject} {condition.name}" if condition.name else condition.subject
    return printable(f"{subject} {wording.in_words(condition.patterns)}", limit=300)
