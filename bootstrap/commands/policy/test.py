"""`airlock policy test`: run the test cases that are kept beside the policies."""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree as ET

from bootstrap.commands.policy.source import Output, require_policies, save
from bootstrap.policy.cases import Cases, Outcome, outcomes
from bootstrap.policy.catalogue import by_slug
from bootstrap.policy.model import Guardrails, Policy
from bootstrap.policy.stores import whole
from bootstrap.text import counted

PARALLEL = 2000  # cases from which more processes are faster than one


def test(*, directory: Path, junit: Path | None, output: Output) -> int:
    """Run all cases. Return 1 if one of them fails or a document has mistakes.

    Raises WrongConfiguration if the directory holds no policies.
    """
    read = whole.folder(directory)
    require_policies(read.catalogue, directory)
    for document in read.catalogue.unreadable:
        for detail in document.details:
            output(detail)
    policies = by_slug(read.catalogue.policies)
    found = _outcomes(read.cases, policies, read.catalogue.guardrails)
    for outcome in found:
        if outcome.problem:
            output(f"{outcome.origin}:{outcome.case.line}: FAILED {outcome.case.name}")
            output(f"    {outcome.problem}")
    if junit:
        save(junit, _junit(found))
    failed = sum(bool(outcome.problem) for outcome in found)
    untested = sorted(set(policies) - {document.pipeline for document in read.cases})
    output(
        f"{counted(len(found), 'case')}, {failed} failed; "
        f"{len(untested)} of {counted(len(policies), 'policy', 'policies')} without cases"
    )
    return int(bool(failed or read.catalogue.unreadable))


def _outcomes(
    documents: tuple[Cases, ...], policies: dict[str, Policy], rails: Guardrails | None
) -> tuple[Outcome, ...]:
    if sum(len(document.cases) for document in documents) < PARALLEL:
        return outcomes(documents, policies, rails)
    with ProcessPoolExecutor() as pool:
        parts = [pool.submit(outcomes, (document,), _only(policies, document), rails)
                 for document in documents]  # fmt: skip
        return tuple(outcome for part in parts for outcome in part.result())


def _only(policies: dict[str, Policy], document: Cases) -> dict[str, Policy]:
    policy = policies.get(document.pipeline)
    return {document.pipeline: policy} if policy else {}


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
                suite, "testcase", name=outcome.case.name, classname=pipeline,
                file=outcome.origin, line=str(outcome.case.line),
            )  # fmt: skip
            if outcome.problem:
                ET.SubElement(case, "failure", message=outcome.problem)
    return bytes(ET.tostring(suites, encoding="utf-8", xml_declaration=True))
