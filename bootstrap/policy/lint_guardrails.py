"""The checks against the guardrails: what they refuse of a rule, and names that pipelines share."""

from collections.abc import Iterable, Iterator
from functools import cache

from bootstrap.job.grades import Grade
from bootstrap.policy.catalogue import Catalogue
from bootstrap.policy.difference.jobs import exclude
from bootstrap.policy.findings import Finding, Severity, error, warning
from bootstrap.policy.glob import any_matches, matches
from bootstrap.policy.guardrails import bounds_for, exceeds
from bootstrap.policy.match import subject_of
from bootstrap.policy.model import Bounds, Guardrails, Policy, Requirement, Rule
from bootstrap.policy.names import PIPELINE, filled
from bootstrap.policy.requirements import demanded, refused_by_grade
from bootstrap.policy.wording import in_words


def beyond(
    policy: Policy, rule: Rule, guardrails: Guardrails, *, signed: bool
) -> Iterator[Finding]:
    """Yield why jobs of the rule are refused. `signed` is whether hosts have signed identity."""
    for excess in exceeds(rule.allow, guardrails, policy.pipeline):
        yield error(
            "beyond-guardrail", policy, rule.line,
            f"rule {rule.name!r} exceeds the guardrail {excess.guardrail!r}: got {excess.got}, "
            f"allowed: {excess.allowed}",
            "Reduce what it grants: every job that this rule admits would be refused.",
        )  # fmt: skip
    yield from _other_organization(policy, rule, guardrails)
    for requirement in demanded(rule.allow, guardrails, policy.pipeline):
        yield from _requirement(policy, rule, requirement, signed=signed)


def _other_organization(policy: Policy, rule: Rule, guardrails: Guardrails) -> Iterator[Finding]:
    for condition in rule.when:
        ours = (guardrails.organization,)
        if condition.subject == "organization" and not any_matches(condition.patterns, ours):
            yield error(
                "other-organization", policy, condition.line,
                f"rule {rule.name!r} never matches builds of {guardrails.organization}, the "
                "organization of the guardrails",
                "Correct the condition, or remove it.",
            )  # fmt: skip


def _requirement(
    policy: Policy, rule: Rule, requirement: Requirement, *, signed: bool
) -> Iterator[Finding]:
    place = f"the guardrail 'requires.{requirement.name}'"
    why = next(_never(rule, requirement), "")
    if why:
        yield error(
            "requirement-never-met", policy, rule.line,
            f"no job of rule {rule.name!r} meets {place}: {why}",
            "Change its conditions, or grant another role or secret: every job that this rule "
            "admits would be refused.",
        )  # fmt: skip
        return
    weak = next((one for one, _ in refused_by_grade(rule, requirement, signed=False)), None)
    if weak and not signed and requirement.grade is not Grade.SIGNED:
        yield warning(
            "requirement-needs-signed", policy, weak.line,
            f"jobs of rule {rule.name!r} meet {place} only on hosts with signed identity, because "
            f"the rule has a condition on {subject_of(weak)}",
            'Set policy.identity = "signed" on the hosts, or remove the condition.',
        )  # fmt: skip


def _never(rule: Rule, requirement: Requirement) -> Iterator[str]:
    for _, refused in refused_by_grade(rule, requirement, signed=True):
        yield f"got {refused}"
    for asked in requirement.when:
        for condition in rule.when:
            if exclude(asked, condition):
                yield (
                    f"it asks for {subject_of(asked)} {in_words(asked.patterns)}, and the rule "
                    f"for {in_words(condition.patterns)}"
                )


def shared_names(catalogue: Catalogue) -> Iterator[Finding]:
    """Yield each pattern with {pipeline} that gives one pipeline the names of another.

    `web-*` is for the pipeline `web`, and matches what `web-admin-*` is for; `*-web` matches what
    `*-old-web` is for.
    """
    rails = catalogue.guardrails
    if rails is None:
        return

    @cache
    def bounds(slug: str) -> tuple[tuple[str, Bounds], ...]:
        return bounds_for(rails, slug)

    found: dict[tuple[str, str], tuple[str, str]] = {}
    for slug, longer in _within(sorted({policy.pipeline for policy in catalogue.policies})):
        places = dict(bounds(longer))
        for place, one in bounds(slug):
            if place in places:
                for key, pattern in _shared(one, slug, longer):
                    found.setdefault((f"{place}{key}", pattern), (slug, longer))
    for (guardrail, pattern), (slug, longer) in found.items():
        yield Finding(
            id="names-of-another-pipeline",
            severity=Severity.WARNING,
            origin=rails.origin,
            line=1,
            text=f"{pattern!r} in the guardrail {guardrail!r} lets the pipeline {slug} have what "
            f"is named for the pipeline {longer}",
            fix=f"End the slug with what no slug contains, as in {PIPELINE}/*, or give one of "
            "both pipelines a scope of its own.",
        )


def _within(slugs: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each slug with each that contains it."""
    return ((slug, longer) for slug in slugs for longer in slugs if slug in longer != slug)


def _shared(bounds: Bounds, slug: str, longer: str) -> Iterator[tuple[str, str]]:
    """Yield where a name for one pipeline is admitted for the other; a `!` may exclude it."""
    lists: dict[str, Iterable[str] | None] = {
        "roles": bounds.roles, "secrets": bounds.secrets, "images": bounds.images,
        "session-tags": bounds.session_tags,
        "oidc-audiences": bounds.oidc_audiences,
    }  # fmt: skip
    for key, patterns in lists.items():
        for pattern in patterns or ():
            (own,), (other,) = filled([pattern], slug), filled([pattern], longer)
            named = PIPELINE in pattern and not pattern.startswith("!") and matches(own, other)
            if named and any_matches(filled(patterns or (), slug), (other,)):
                yield key, pattern
