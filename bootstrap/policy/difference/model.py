"""What `airlock policy diff` finds."""

from dataclasses import dataclass, replace
from enum import StrEnum

EVERY = ""  # in place of a pipeline: a change of the guardrails concerns all of them


class Kind(StrEnum):
    """How an access changed."""

    GAINS = "gains"
    CHANGES = "changes"  # neither, or in part each
    LOSES = "loses"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the change is written: a document and its line."""

    origin: str
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """Some jobs, in words, and what they had before and have after. `jobs` "": all jobs."""

    jobs: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing of which some jobs of one pipeline have more, less or something else.

    `what` is a noun of grants.KINDS, or the name of a setting in words; `name` which one of them it
    is, "" where there is only one.
    """

    kind: Kind
    pipeline: str  # or EVERY
    what: str
    name: str = ""
    ways: tuple[Way, ...]
    place: Place


def merged(changes: list[Change]) -> tuple[Change, ...]:
    """Return the changes by pipeline, gains first, with one entry for each thing.

    Its ways are those of all its entries.
    """
    found: dict[tuple[str, str, str, Kind], Change] = {}
    for change in changes:
        key = (change.pipeline, change.what, change.name, change.kind)
        known = found.get(key)
        ways = (*known.ways, *change.ways) if known else change.ways
        found[key] = replace(known or change, ways=tuple(dict.fromkeys(ways)))
    order = list(Kind)
    return tuple(sorted(found.values(), key=lambda one: (one.pipeline, order.index(one.kind))))
