"""How the permissions that Airlock's documents give a role differ from those that it has."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from bootstrap.policy.glob import matches
from bootstrap.policy.iam.dump import allowing, as_list, condition_of, mappings
from bootstrap.policy.iam.model import Document
from bootstrap.text import printable

OURS = "Airlock"  # each of our statements' Sid begins with it
FILTER = "Role LocalManagedPolicy AWSManagedPolicy"  # what a dump has to contain


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class _Allowed:
    """One action on one resource, and under which condition (JSON)."""

    resource: str
    condition: str
    action: str  # in lower case: IAM compares actions without regard to it
    written: str = field(compare=False)  # the action as the document has it


def permissions_drift(
    wanted: Sequence[Document], role: Mapping[str, Any], dump: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what the role may not do though the documents say so, and what only old ones gave it.

    Policies of others count for the former: one of them may be wider. Their `?`, NotAction and
    NotResource allow nothing here, and their Deny denies nothing.
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
            "has policies that are not in the dump; create it with `--filter "
            f"{FILTER}`: {', '.join(unknown)}"
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
        for action in as_list(statement.get("Action", [])):
            for resource in as_list(statement.get("Resource", [])):
                yield _Allowed(
                    resource=str(resource), condition=condition, action=str(action).lower(),
                    written=str(action),
                )  # fmt: skip


def _covered(wanted: _Allowed, real: Iterable[_Allowed]) -> bool:
    """Return whether a wider permission includes the one that is wanted."""
    return any(
        each.condition in {"{}", wanted.condition}
        and matches(each.action, wanted.action)
        and matches(each.resource, wanted.resource)
        for each in real
    )


def _in_words(listed: Iterable[_Allowed]) -> Iterator[str]:
    ordered = sorted(listed)
    for (resource, condition), group in groupby(ordered, lambda e: (e.resource, e.condition)):
        under = f" under the condition {condition}" if condition != "{}" else ""
        actions = ", ".join(each.written for each in group)
        yield printable(f"{actions} on {resource}{under}", limit=2000)
