"""The findings as text for people, and as JSON for programs."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from textwrap import wrap

from bootstrap import __version__
from bootstrap.doctor.model import Finding, Stage, Status
from bootstrap.text import counted, printable

_SHOWN = {Status.OK: "ok", Status.WARN: "warn", Status.FAIL: "FAIL", Status.UNKNOWN: "unknown"}
_LINE = 2000  # characters
NOTHING, FAILED, NOT_KNOWN = 0, 1, 3  # exit statuses


def status(findings: Sequence[Finding], *, strict: bool) -> int:
    """Return FAILED if a check failed, NOT_KNOWN if one could not be made, else 0.

    With `strict` a warning counts as a failure.
    """
    found = {one.status for one in findings}
    if Status.FAIL in found or (strict and Status.WARN in found):
        return FAILED
    return NOT_KNOWN if Status.UNKNOWN in found else NOTHING


def text(findings: Sequence[Finding], changes: Sequence[str]) -> Iterator[str]:
    """Yield the lines: one for each check, and what to do where it is not ok.

    Checks that are unknown for one reason have one line together.
    """
    yield from (f"fixed    {_line(change)}" for change in changes)
    width = max((len(one.check) for one in findings), default=0)
    for alike in _together(findings):
        first = alike[0]
        name = first.check if len(alike) == 1 else counted(len(alike), "check")
        yield f"{_SHOWN[first.status]:<8} {name:<{width}}  {_line(first.seen)}"
        yield from _below(first) if len(alike) == 1 else _below_several(alike)
    yield summary(findings)


def _together(findings: Sequence[Finding]) -> Iterator[list[Finding]]:
    """Yield the findings in their order, those for one reason at the place of the first."""
    alike: dict[object, list[Finding]] = {}
    for one in findings:
        reason = (one.seen, one.fix) if one.status is Status.UNKNOWN else one.check
        alike.setdefault(reason, []).append(one)
    yield from alike.values()


def _below(one: Finding) -> Iterator[str]:
    if one.fix or one.status in {Status.WARN, Status.FAIL}:
        yield from (f"{'':9}{_line(detail)}" for detail in one.details)
        yield f"{'':9}why: {_line(one.why)}"
        if one.fix:
            yield f"{'':9}fix: {_line(one.fix)}"


def _below_several(alike: Sequence[Finding]) -> Iterator[str]:
    """Yield their names; why each matters is of interest once it is known."""
    names = ", ".join(one.check for one in alike)
    yield from (f"{'':9}{line}" for line in wrap(names, width=91, break_on_hyphens=False))
    if alike[0].fix:
        yield f"{'':9}fix: {_line(alike[0].fix)}"


def _line(text: str) -> str:
    return printable(text, limit=_LINE)


def summary(findings: Sequence[Finding]) -> str:
    """Return how many checks there were of each status."""
    number = Counter(one.status for one in findings)
    others = (
        (number[Status.FAIL], counted(number[Status.FAIL], "failure")),
        (number[Status.WARN], counted(number[Status.WARN], "warning")),
        (number[Status.UNKNOWN], f"{number[Status.UNKNOWN]} unknown"),
    )
    parts = [f"{number[Status.OK]} ok", *(shown for count, shown in others if count)]
    return f"{counted(len(findings), 'check')}: {', '.join(parts)}"


def as_json(
    findings: Sequence[Finding], changes: Sequence[str], *, stage: Stage, exit_code: int
) -> str:
    """Return one document: version, stage, exit status, changes, counts and findings."""
    number = Counter(one.status for one in findings)
    return json.dumps(
        {
            "version": __version__,
            "at": stage,
            "exit": exit_code,
            "changes": list(changes),
            "counts": {status: number[status] for status in Status},
            "findings": [asdict(one) for one in findings],
        },
        indent=2,
    )
