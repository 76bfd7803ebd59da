"""What IAM would refuse when the documents are deployed, or would give to the wrong pipeline."""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.iam.calls import Call
from bootstrap.policy.iam.model import Trust, account_of, parts
from bootstrap.policy.iam.quotas import NAME
from bootstrap.policy.iam.trust import owner_of


def check(calls: Sequence[Call], trust: Trust) -> None:
    """Raise WrongConfiguration with every mistake in the names of roles."""
    found = [*_names(calls), *_twice(calls), *_circular(calls)]
    if trust is Trust.TAGS:
        found += _of_others(calls)
    if found:
        raise WrongConfiguration(
            f"{len(found)} roles cannot be deployed" if len(found) > 1 else found[0],
            hint="Correct the roles that rules name, or the accounts in them.",
            details=tuple(found) if len(found) > 1 else (),
        )


def _names(calls: Sequence[Call]) -> list[str]:
    roles = {call.role: call for call in calls}
    return [
        f"{role}, which rule {call.rule!r} of {call.pipeline} names, has a name of "
        f"{len(parts(role)[1])} characters; IAM allows 1 to {NAME}"
        for role, call in sorted(roles.items())
        if not 1 <= len(parts(role)[1]) <= NAME
    ]


def _twice(calls: Sequence[Call]) -> list[str]:
    """A role's name is unique in its account, whatever its path and its capitals."""
    seen: dict[tuple[str, str], str] = {}
    found = []
    for role in sorted({call.role for call in calls}):
        key = (account_of(role), parts(role)[1].lower())
        if key in seen:
            found.append(f"{seen[key]} and {role} have the same name in one account")
        seen.setdefault(key, role)
    return found


def _circular(calls: Sequence[Call]) -> list[str]:
    """A trust policy can only name roles that exist already."""
    callers: dict[str, set[str]] = {}
    for call in calls:
        callers.setdefault(call.role, set()).update({call.caller} if call.caller else ())
    try:
        TopologicalSorter(callers).prepare()
    except CycleError as circular:
        return [f"by session.via, roles assume each other: {' → '.join(circular.args[1])}"]
    return []


def _of_others(calls: Sequence[Call]) -> list[str]:
    return sorted(
        {
            f"rule {call.rule!r} of {call.pipeline} names {call.role}, which is by its path the "
            f"own role of {owner_of(call.role)}"
            for call in calls
            if call.pipeline and owner_of(call.role) not in {None, call.pipeline}
        }
    )
