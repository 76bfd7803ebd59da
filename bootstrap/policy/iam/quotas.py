"""IAM's limits of length, and statements divided among documents that keep them.

IAM counts the characters of a document without its white space. The numbers are from AWS's "IAM
and AWS STS quotas" and "Quotas for AWS Organizations" (docs/aws.md#limits-of-iam).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bootstrap.aws.iam import Statement
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.iam.model import Document, Size, document
from bootstrap.text import counted

MANAGED, MANAGED_OF_A_ROLE = 6_144, 10  # characters of a managed policy; policies of one role
INLINE = 10_240  # of all inline policies of a role together
TRUST, RAISED_TRUST = 2_048, 8_192  # of a role's trust policy; what AWS raises it to on request
SCP, SCPS_OF_A_TARGET = 5_120, 5
NAME = 64  # of a role, without its path


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """One statement that may be divided: `made` returns it for some of the `names`."""

    names: Sequence[str]
    made: Callable[[list[str]], Statement]


def length(made: Document) -> int:
    """Return the characters that IAM counts."""
    return len(json.dumps(made, separators=(",", ":")))


def divided(needs: Iterable[Need], quota: int) -> tuple[Document, ...]:
    """Return as few documents as filling one after the other needs, none longer than the quota.

    A single name that does not fit is left in a document of its own, which is then too long.
    """
    documents: list[list[Statement]] = []
    for need in needs:
        left = list(need.names)
        while left:
            if not documents:
                documents.append([])
            taken = _fitting(documents[-1], need, left, quota)
            if not taken and documents[-1]:
                documents.append([])
                continue
            taken = taken or 1
            documents[-1].append(need.made(left[:taken]))
            left = left[taken:]
    return tuple(document(*statements) for statements in documents)


def _fitting(begun: list[Statement], need: Need, names: list[str], quota: int) -> int:
    """Return how many of the names fit into the document that has begun."""
    left = quota - length(document(*begun, need.made([])))
    taken = 0
    for name in names:
        left -= len(json.dumps(name)) + (1 if taken else 0)
        if left < 0:
            break
        taken += 1
    return taken


def require(
    what: str, made: Document, quota: int, shares: Callable[[], Mapping[str, int]], *, hint: str
) -> None:
    """Raise WrongConfiguration, with the pipeline that takes most, for a document that is too long.

    `shares` returns the characters that each pipeline would need alone.
    """
    found = length(made)
    if found > quota:
        raise WrongConfiguration(
            f"{what} has {counted(found, 'character')}; expected at most {quota}: "
            f"{largest(shares())}",
            hint=hint,
        )


def require_all(sizes: Iterable[Size]) -> None:
    """Raise WrongConfiguration for a document that could not be divided enough."""
    for size in sizes:
        if size.characters > size.quota:
            raise WrongConfiguration(
                f"{size.what} has {counted(size.characters, 'character')}; expected at most "
                f"{size.quota}",
                hint="Pass fewer --kms-key, or let rules use fewer roles for session.via.",
            )


def largest(shares: Mapping[str, int]) -> str:
    """Return the pipelines that need most, in words."""
    ordered = sorted(shares.items(), key=lambda share: (-share[1], share[0]))
    listed = [f"{pipeline} alone needs {characters}" for pipeline, characters in ordered[:3]]
    rest = f", and {counted(len(ordered) - 3, 'other pipeline')}" if len(ordered) > 3 else ""
    return ", ".join(listed) + rest
