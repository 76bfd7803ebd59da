"""How access, not text, changes between two versions of all policies."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from bootstrap.policy.catalogue import accesses, in_words
from bootstrap.policy.model import Policy


class Kind(StrEnum):
    """How an access changed."""

    GAINS = "gains"
    LOSES = "loses"
    CHANGES = "changes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One pipeline and one thing: the conditions of access before and after."""

    kind: Kind
    pipeline: str
    what: str  # role, secret, ssh-key, image, or "a sandbox"
    name: str
    before: tuple[str, ...]  # each in words; one of them must hold
    after: tuple[str, ...]


Key = tuple[str, str, str]


def difference(old: Iterable[Policy], new: Iterable[Policy]) -> tuple[Change, ...]:
    """Return every change of access, by pipeline and thing. The same text twice changes nothing."""
    before, after = _reach(old), _reach(new)
    return tuple(
        _change(key, before.get(key, ()), after.get(key, ()))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    )


def _reach(policies: Iterable[Policy]) -> Mapping[Key, tuple[str, ...]]:
    """Map pipeline and thing to the ways to it, in the order in which rules are tried."""
    listed = tuple(policies)
    ways: dict[Key, list[str]] = {}
    for access in accesses(listed):
        ways.setdefault((access.pipeline, access.kind, access.name), []).append(_way(access.to))
    for policy in listed:
        for repository in policy.repositories:
            key = (policy.pipeline, "a sandbox", repository)
            ways[key] = [_way(tuple(map(in_words, rule.when))) for rule in policy.rules]
    return {key: tuple(dict.fromkeys(found)) for key, found in ways.items()}


def _way(conditions: tuple[str, ...]) -> str:
    return ", ".join(conditions) or "always"


def _change(key: Key, before: tuple[str, ...], after: tuple[str, ...]) -> Change:
    kind = Kind.CHANGES if before and after else (Kind.GAINS if after else Kind.LOSES)
    pipeline, what, name = key
    return Change(kind=kind, pipeline=pipeline, what=what, name=name, before=before, after=after)
