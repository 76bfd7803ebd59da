"""What guardrails require of a job, and of its rule, before it gets a sensitive role or secret."""

from collections.abc import Iterator

from bootstrap.job.grades import Grade, grade, grade_of, suffices
from bootstrap.job.model import Absent, Claims, Known, KnownSet
from bootstrap.policy.guardrails import bounds_for, granted_roles
from bootstrap.policy.match import COMMIT_ON_BRANCH, UNKNOWN, fact_of, subject_of, verdict
from bootstrap.policy.model import (
    NO_TAG,
    Condition,
    Excess,
    Grant,
    Guardrails,
    Requirement,
    Rule,
)
from bootstrap.policy.names import filled, roles_name, secrets_name
from bootstrap.policy.steering import let_through
from bootstrap.text import printable


def demanded(grant: Grant, guardrails: Guardrails, pipeline: str) -> tuple[Requirement, ...]:
    """Return the requirements for what is granted; all of them have to be met."""
    return tuple(r for r in guardrails.requires if _concerns(r, grant, pipeline))


def unmet(claims: Claims, rule: Rule, guardrails: Guardrails) -> Iterator[Excess]:
    """Yield what the job, or the conditions by which the rule admits it, lack."""
    for requirement in demanded(rule.allow, guardrails, claims.pipeline):
        place = f"requires.{requirement.name}"
        yield from _conditions(claims, requirement, place)
        yield from _grades(claims, requirement, rule, guardrails, place)


def refused_by_grade(
    rule: Rule, requirement: Requirement, *, signed: bool
) -> Iterator[tuple[Condition, str]]:
    """Yield each condition because of which every job of the rule lacks the grade, and why.

    `signed` is whether the host has signed identity.
    """
    for c in dict.fromkeys((*requirement.when, *rule.when)):
        why = _why_changed(rule, c)
        found = Grade.CLAIMED if why else grade_of(c.subject, signed=signed)
        without_tag = c.subject == "tag" and NO_TAG in c.patterns
        if not without_tag and not suffices(c.subject, found, requirement.grade):
            yield c, _worth(c, found, why)


def _concerns(requirement: Requirement, grant: Grant, pipeline: str) -> bool:
    roles, secrets = filled(requirement.roles, pipeline), filled(requirement.secrets, pipeline)
    return any(roles and roles_name(roles, role) for role in granted_roles(grant)) or any(
        secrets and secrets_name(secrets, reference) for reference in grant.secrets
    )


def _conditions(claims: Claims, requirement: Requirement, place: str) -> Iterator[Excess]:
    for condition in requirement.when:
        reason = verdict(requirement.name, condition, claims)
        if not reason.holds:
            yield Excess(
                guardrail=place,
                got=f"{reason.subject} {reason.got}",
                allowed=f"{reason.subject} {reason.expected}",
            )


def _grades(
    claims: Claims, requirement: Requirement, rule: Rule, guardrails: Guardrails, place: str
) -> Iterator[Excess]:
    if requirement.grade is Grade.SIGNED and not _is_signed(claims):
        yield Excess(
            guardrail=place,
            got="a job whose claims Buildkite has not signed",
            allowed='jobs on hosts with identity = "signed"',
        )
    for condition in dict.fromkeys((*requirement.when, *rule.when)):
        why, hint = _why_changed(rule, condition), _LET_THROUGH
        if (
            not why
            and condition.subject == "command"
            and _any_plugin(claims, requirement, rule, guardrails)
        ):
            why, hint = ", as any plugin may run in its place", _ANY_PLUGIN
        found = Grade.CLAIMED if why else _grade(condition, claims)
        if not suffices(condition.subject, found, requirement.grade):
            yield Excess(
                guardrail=place,
                got=_worth(condition, found, why),
                allowed=f"conditions on what is {_WORDS[requirement.grade]}",
                hint=hint if why else "",
            )


def _worth(condition: Condition, found: Grade, why: str) -> str:
    return f"a condition on {printable(subject_of(condition))}, which is {_WORDS[found]}{why}"


def _why_changed(rule: Rule, condition: Condition) -> str:
    """What was compared is what runs only without the variables that the rule lets through."""
    names = let_through(rule.allow) if grade_of(condition.subject) is Grade.VERIFIED else ()
    return f", as the rule lets {printable(', '.join(names))} change what runs" if names else ""


def _any_plugin(
    claims: Claims, requirement: Requirement, rule: Rule, guardrails: Guardrails
) -> bool:
    """Return whether the job has plugins, and neither guardrails nor a condition list them.

    Where the requirement names the command, the rule's list does not count: its team writes it.
    """
    plugins = claims.facts.get("plugin")
    if isinstance(plugins, KnownSet) and not plugins.values:
        return False
    by_requirement = any(c.subject == "command" for c in requirement.when)
    asked = requirement.when if by_requirement else (*requirement.when, *rule.when)
    listed = (bounds.plugins is not None for _, bounds in bounds_for(guardrails, claims.pipeline))
    return not (any(c.subject == "plugin" for c in asked) or any(listed))


_LET_THROUGH = (
    "Leave such variables out of the rule's `allow.env` and `secrets`, or grant another role or "
    "secret."
)
_ANY_PLUGIN = (
    'List the plugins that may run, in the requirement (`plugin: "!*"` for none) or as `plugins` '
    "of the guardrails."
)
_WORDS = {
    Grade.CLAIMED: "only the job's word",
    Grade.VOUCHED: "vouched for by Buildkite",
    Grade.SIGNED: "signed by Buildkite",
    Grade.VERIFIED: "verified by this host",
}


def _is_signed(claims: Claims) -> bool:
    fact = claims.facts.get("pipeline", Absent(why="unknown"))
    return grade("pipeline", fact) is Grade.SIGNED


def _grade(condition: Condition, claims: Claims) -> Grade:
    """That a build has no tag cannot be forged: Buildkite sends the tag of every build of one."""
    fact = fact_of(condition, claims)
    if condition.subject == "tag" and isinstance(fact, Absent):
        return Grade.VERIFIED
    if isinstance(fact, Known) and (condition.subject, fact.value) == (COMMIT_ON_BRANCH, UNKNOWN):
        return Grade.CLAIMED
    return grade(condition.subject, fact)
