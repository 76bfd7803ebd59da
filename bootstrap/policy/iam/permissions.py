"""How the permissions that Airlock's documents give a role differ from those that it has."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from bootstrap.policy.glob import matches
from bootstrap.policy.iam.dump import allowing, condition_of, listed, mappings
from bootstrap.policy.iam.model import Document
from bootstrap.text import printable

OURS = "Airlock"  # each of our statements' Sid begins with it


class _Allowed(NamedTuple):
    """One action on one resource, and under which condition (JSON)."""

    resource: str
    condition: str
    action: str


def permissions_drift(
    wanted: Sequence[Document], role: Mapping[str, Any], dump: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what the role may not do though the documents say so, and what only old ones gave it.

    Policies of others count for the former: one of them may be wider.
    """
    ours = {each for document in wanted for each in _allowed(allowing(document))}
    documents, unknown = _documents(role, dump)
    real = [statement for document in documents for statement in allowing(document)]
    theirs = set(_allowed(real))
    missing = [each for each in ours - theirs if not _covered(each, theirs)]
    old = set(_allowed(s for s in real if str(s.get("Sid", "")).startswith(OURS))) - ours
    yield from (f"may not {what}" for what in _in_words(missing))
    yield from (f"may still {what}" for what in _in_words(old))
    if missing and unknown:
        yield (
            "has policies that are not in the dump; create it with `--filter Role "
            f"LocalManagedPolicy`: {', '.join(unknown)}"
        )


def _documents(role: Mapping[str, Any], dump: Mapping[str, Any]) -> tuple[list[Any], list[str]]:
    """Return the documents of the role's policies, and the names of those that are not there."""
    known = {str(policy.get("Arn")): policy for policy in mappings(dump.get("Policies", []))}
    found = [inline.get("PolicyDocument") for inline in mappings(role.get("RolePolicyList", []))]
    attached = [str(p.get("PolicyArn")) for p in mappings(role.get("AttachedManagedPolicies", []))]
    found += [
        version.get("Document")
        for arn in attached
        for version in mappings(known.get(arn, {}).get("PolicyVersionList", []))
        if version.get("IsDefaultVersion") is True
    ]
    return found, [printable(arn, limit=2000) for arn in attached if arn not in known]


def _allowed(statements: Iterable[Mapping[str, Any]]) -> Iterator[_Allowed]:
    for statement in statements:
        condition = condition_of(statement)
        for action in listed(statement.get("Action", [])):
            for resource in listed(statement.get("Resource", [])):
                yield _Allowed(str(resource), condition, str(action).lower())


def _covered(wanted: _Allowed, real: Iterable[_Allowed]) -> bool:
    """Return whether a wider permission includes the one that is wanted."""
    return any(
        each.condition in {"{}", wanted.condition}
        and matches(each.action, wanted.action)
        and matches(each.resource, wanted.resource)
        for each in real
        if "*" in f"{each.action}{each.resource}" or each.condition == "{}"
    )


def _in_words(listed_: Iterable[_Allowed]) -> Iterator[str]:
    ordered = sorted(listed_)
    for (resource, condition), group in groupby(ordered, key=lambda each: each[:2]):
        under = f" under the condition {condition}" if condition != "{}" else ""
        actions = ", ".join(each.action for each in group)
        yield printable(f"{actions} on {resource}{under}", limit=2000)
