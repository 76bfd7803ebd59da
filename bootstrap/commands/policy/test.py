"""`airlock policy test`: run the test cases that are kept beside the policies."""

import json
from collections.abc import Collection, Iterable, Sequence, Sized
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from bootstrap.commands.policy.hosted import host_of
from bootstrap.commands.policy.source import Output, require_policies, save
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.cases import Cases, Coverage, Outcome, coverage, misspelt, outcomes
from bootstrap.policy.catalogue import by_slug
from bootstrap.policy.model import Guardrails, Policy
from bootstrap.policy.stores import as_host
from bootstrap.policy.stores.choose import Now
from bootstrap.text import counted, printable

SHOWN = 20  # rules without a case that are printed


def test(
    *, directory: Path, junit: Path | None, min_coverage: float, as_json: bool, output: Output
) -> int:
    """Run all cases. Return 1 if one fails, if a document has mistakes, or for too few cases.

    `min_coverage` is the least share of rules, of 100, by which a passed case has to be admitted.
    Raises WrongConfiguration if the directory holds no policies or no cases.
    """
    now = Now(host_of(directory, directory))
    read = as_host.read(directory, now)
    require_policies(read.catalogue, directory)
    _require_cases(read, directory)
    policies = by_slug(read.catalogue.policies)
    mistakes = [*_unreadable(read), *_misspelt(read.cases, policies)]
    found = outcomes(read.cases, lambda slug: _documents(slug, policies, now))
    if junit:
        save(junit, _junit(found))
    covered = coverage(found, policies)
    without = set(policies) - {document.pipeline for document in read.cases}
    if as_json:
        output(json.dumps(_document(found, mistakes, covered, without), indent=2))
    else:
        for line in (*mistakes, *_failures(found), _summary(found, covered, without, policies)):
            output(line)
        if covered.percent < min_coverage:
            _print_missing(covered, min_coverage, output)
    failed = any(outcome.problem for outcome in found)
    return int(bool(failed or mistakes or covered.percent < min_coverage))


def _summary(
    found: Sequence[Outcome], covered: Coverage, without: Collection[str], policies: Sized
) -> str:
    failed = sum(bool(outcome.problem) for outcome in found)
    return (
        f"{counted(len(found), 'case')}, {failed} failed; "
        f"{len(without)} of {counted(len(policies), 'policy', 'policies')} without cases; "
        f"{covered.rules - len(covered.missing)} of {counted(covered.rules, 'rule')} with a case, "
        f"{covered.percent:.0f} %"
    )


def _document(
    found: Sequence[Outcome], mistakes: Sequence[str], covered: Coverage, without: Collection[str]
) -> dict[str, Any]:
    """Return the result for programs: every case, and the rules that no passed case has."""
    return {
        "mistakes": list(mistakes),
        "cases": [
            {
                "origin": one.origin, "line": one.case.line, "pipeline": one.pipeline,
                "name": one.case.name, "rule": one.rule or None, "problem": one.problem or None,
            }
            for one in found
        ],
        "without-cases": sorted(without),
        "rules": covered.rules,
        "coverage": round(covered.percent, 2),
        "rules-without-case": [
            {"origin": policy.origin, "line": rule.line, "rule": rule.name}
            for policy, rule in covered.missing
        ],
    }  # fmt: skip


def _documents(
    slug: str, policies: dict[str, Policy], now: Now
) -> tuple[Policy | None, Guardrails | None]:
    """Return what decides about the jobs of a pipeline. Raises what a host raises instead."""
    return policies.get(slug) or now.policy(slug), now.guardrails()


def _require_cases(read: as_host.Directory, directory: Path) -> None:
    if not read.cases and not read.catalogue.unreadable:
        raise WrongConfiguration(
            f"{directory} holds no cases, so nothing was tested",
            hint="Cases are in files named <pipeline slug>.test.yaml: "
            "docs/governance.md#test-cases.",
        )


def _unreadable(read: as_host.Directory) -> Iterable[str]:
    for document in read.catalogue.unreadable:
        yield from document.details
        if document.hint:
            yield f"    {document.hint}"


def _misspelt(documents: Iterable[Cases], policies: Iterable[str]) -> Iterable[str]:
    for document in documents:
        if problem := misspelt(document, policies):
            yield f"{document.origin}:1: {problem}"


def _failures(found: Iterable[Outcome]) -> Iterable[str]:
    for outcome in found:
        if outcome.problem:
            yield f"{outcome.origin}:{outcome.case.line}: FAILED {outcome.case.name}"
            yield f"    {outcome.problem}"


def _print_missing(covered: Coverage, wanted: float, output: Output) -> None:
    output(f"expected cases for {wanted:g} % of the rules; these have none that passes:")
    for policy, rule in covered.missing[:SHOWN]:
        output(f"    {policy.origin}:{rule.line}: {rule.name}")
    if len(covered.missing) > SHOWN:
        output(f"    and {counted(len(covered.missing) - SHOWN, 'more', 'more')}")


def _junit(found: Iterable[Outcome]) -> bytes:
    """Return the outcomes as JUnit XML, which every CI system reads."""
    suites = ET.Element("testsuites", name="airlock policy test")
    for pipeline, listed in groupby(found, key=lambda outcome: outcome.pipeline):
        group = list(listed)
        failures = str(sum(bool(outcome.problem) for outcome in group))
        suite = ET.SubElement(
            suites, "testsuite", name=pipeline, tests=str(len(group)), failures=failures
        )
        for outcome in group:
            case = ET.SubElement(
                suite, "testcase", name=_xml(outcome.case.name), classname=pipeline,
                file=_xml(outcome.origin), line=str(outcome.case.line),
            )  # fmt: skip
            if outcome.problem:
                ET.SubElement(case, "failure", message=_xml(outcome.problem))
    return bytes(ET.tostring(suites, encoding="utf-8", xml_declaration=True))


def _xml(text: str) -> str:
    """Return `text` without what XML 1.0 cannot contain, and no reader would accept."""
    return printable(text, limit=1000)
