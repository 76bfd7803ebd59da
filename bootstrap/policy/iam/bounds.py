"""What guardrails leave of policies: a rule that exceeds them admits no job."""

from collections.abc import Iterable
from dataclasses import replace

from bootstrap.policy.guardrails import exceeds
from bootstrap.policy.model import Grant, Guardrails, Policy


def within(
    policies: Iterable[Policy], guardrails: Guardrails | None
) -> tuple[tuple[Policy, ...], tuple[str, ...]]:
    """Return the policies without the grants that exceed guardrails, and a sentence for each.

    The rules stay: what they match still gets nothing from a later rule.
    """
    listed = tuple(policies)
    if guardrails is None:
        return listed, ()
    notes: list[str] = []
    found = tuple(_bounded(policy, guardrails, notes) for policy in listed)
    return found, tuple(notes)


def _bounded(policy: Policy, guardrails: Guardrails, notes: list[str]) -> Policy:
    rules = list(policy.rules)
    for position, rule in enumerate(rules):
        for excess in exceeds(rule.allow, guardrails, policy.pipeline)[:1]:
            notes.append(
                f"Rule {rule.name!r} of {policy.pipeline} exceeds the guardrail "
                f"{excess.guardrail!r}, so its jobs are refused and its grant is not here."
            )
            rules[position] = replace(rule, allow=Grant())
    return replace(policy, rules=tuple(rules))
