"""The outcomes of tests: written by each pytest, put together and printed once."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests import summary
from tests.side_by_side.plan import ROOT

OUTCOMES = ("failed", "error", "passed", "skipped", "xfailed", "xpassed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How one test ended; `reason` is that of a skip, with its place, as pytest prints it."""

    test: str
    outcome: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """What one run of pytest, or several together, found."""

    outcomes: Sequence[Outcome]
    seconds: Mapping[str, float]  # by file, fixtures included


def results_of(reporter: pytest.TerminalReporter) -> Results:
    """Return the results of a run that has ended."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for reports in reporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    outcomes = [
        Outcome(test=report.nodeid, outcome=outcome, reason=_reason(report))
        for outcome in OUTCOMES
        for report in reporter.stats.get(outcome, [])
    ]
    return Results(outcomes=outcomes, seconds=seconds)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if report.outcome != "skipped" or not isinstance(report.longrepr, tuple):
        return ""
    file, line, why = report.longrepr
    place = Path(file)
    shown = place.relative_to(ROOT) if place.is_relative_to(ROOT) else place
    return f"{shown}:{line}: {why.removeprefix('Skipped: ')}"


def write(results: Results, path: Path) -> None:
    """Write the results for `read`."""
    document = {"outcomes": [asdict(one) for one in results.outcomes], "seconds": results.seconds}
    path.write_text(json.dumps(document))


def read(path: Path) -> Results:
    """Read what `write` has written. Raises OSError or ValueError where a run did not get there."""
    document = json.loads(path.read_text())
    outcomes = [Outcome(**one) for one in document["outcomes"]]
    return Results(outcomes=outcomes, seconds=document["seconds"])


def together(parts: Sequence[Results]) -> Results:
    """Return the results of all parts as those of one run."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        for file, spent in part.seconds.items():
            seconds[file] += spent
    return Results(outcomes=[one for part in parts for one in part.outcomes], seconds=seconds)


def tables(results: Results) -> Iterator[tuple[str, list[str]]]:
    """Yield the title and the lines of every table that a run ends with."""
    outcomes = [(one.test, one.outcome) for one in results.outcomes]
    for suite in summary.SUITES:
        if lines := list(summary.lines(suite, outcomes, ROOT)):
            yield suite.title, lines


def skips(results: Results) -> Iterator[str]:
    """Yield a line for every skip, in pytest's form, which .ci/run compares with what it allows."""
    reasons = Counter(one.reason for one in results.outcomes if one.outcome == "skipped")
    for reason, number in sorted(reasons.items()):
        yield f"SKIPPED [{number}] {reason}"


def totals(results: Results) -> str:
    """Return how many tests ended how, as in pytest's last line."""
    counted = Counter(one.outcome for one in results.outcomes)
    return ", ".join(f"{counted[outcome]} {outcome}" for outcome in OUTCOMES if counted[outcome])


def seconds(results: Results) -> Iterator[str]:
    """Yield a line for every file that took long enough to matter for the plan, in its form."""
    for file, spent in sorted(results.seconds.items(), key=lambda item: (-item[1], item[0])):
        if spent >= 2:
            yield f"{spent:.0f} {file}"
