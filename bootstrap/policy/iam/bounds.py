"""What guardrails leave of policies, and what they allow new ones."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from bootstrap.policy.guardrails import exceeds
from bootstrap.policy.model import Bounds, Grant, Guardrails, Policy
from bootstrap.policy.names import filled


def within(
    policies: Iterable[Policy], guardrails: Guardrails | None
) -> tuple[tuple[Policy, ...], tuple[str, ...]]:
    """Return the policies without the grants that exceed guardrails, and a sentence for each.

    A rule that exceeds them admits no job. The rules stay: what they match still gets nothing from
    a later rule.
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


def allowed(
    guardrails: Guardrails | None, of: Callable[[Bounds], tuple[str, ...] | None]
) -> tuple[str, ...]:
    """Return globs over what the guardrails allow any pipeline; none: they state no limit.

    Wider than the guardrails: without negations, and `{pipeline}` is any. A glob that begins with
    `*` is left out, because no ARN can be made of it.
    """
    if guardrails is None:
        return ()
    listed = of(guardrails)
    if listed == ():
        return ()
    scoped = [glob for scope in guardrails.scopes for glob in of(scope) or ()]
    return _positive(listed or ()) or _positive(scoped)


def _positive(globs: Iterable[str]) -> tuple[str, ...]:
    positive = (glob for glob in globs if not glob.startswith(("!", "*")))
    return tuple(dict.fromkeys(filled(positive, "*")))
