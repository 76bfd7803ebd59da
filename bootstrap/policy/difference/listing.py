"""Changes of access as plain text, and how many there are."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from bootstrap.policy.difference.model import EVERY, Change, Kind
from bootstrap.text import counted

NO_CHANGE = "No access changes."
EVERY_PIPELINE = "every pipeline"
_MARKS = {Kind.GAINS: "+", Kind.LOSES: "-", Kind.CHANGES: "~"}


def summary(changes: Sequence[Change]) -> str:
    """Return one sentence: how many pipelines gain, lose and otherwise change."""
    if not changes:
        return NO_CHANGE
    of_all = sorted({change.kind for change in changes if change.pipeline == EVERY})
    parts = [f"the guardrails change: every pipeline {' and '.join(of_all)}"] if of_all else []
    kinds: dict[str, set[Kind]] = {}
    for change in changes:
        if change.pipeline != EVERY:
            kinds.setdefault(change.pipeline, set()).add(change.kind)
    gain, lose = (
        sum(kind in found for found in kinds.values()) for kind in (Kind.GAINS, Kind.LOSES)
    )
    other = sum(found == {Kind.CHANGES} for found in kinds.values())
    for number, does, do in ((gain, "gains access", "gain access"),
                             (lose, "loses access", "lose access"),
                             (other, "changes otherwise", "change otherwise")):  # fmt: skip
        if number:
            parts.append(f"{counted(number, 'pipeline')} {does if number == 1 else do}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def lines(changes: Sequence[Change]) -> Iterator[str]:
    """Yield the changes by pipeline, and the summary as the last line."""
    for pipeline, group in groupby(changes, key=lambda change: change.pipeline):
        yield pipeline if pipeline != EVERY else EVERY_PIPELINE
        for change in group:
            yield f"  {_MARKS[change.kind]} {change.kind}  {thing(change)}"
            for way in change.ways:
                if way.jobs:
                    yield f"      for: {way.jobs}"
                yield f"      before: {way.before}"
                yield f"      after: {way.after}"
    yield summary(changes)


def thing(change: Change) -> str:
    """Return what changes, with its noun."""
    return f"{change.what} {change.name}".rstrip()
