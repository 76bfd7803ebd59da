"""The checks of policies: of documents, of each rule, and of rules together."""

from collections import Counter
from collections.abc import Iterator

from bootstrap.policy.catalogue import Catalogue, slug_of
from bootstrap.policy.findings import Finding, Severity, error
from bootstrap.policy.guardrails import exceeds
from bootstrap.policy.lint_rules import CHECKS
from bootstrap.policy.model import Guardrails, Policy, Rule
from bootstrap.policy.shadow import shadows


def lint(catalogue: Catalogue) -> tuple[Finding, ...]:
    """Return all findings, by document and line."""
    found = [*_unreadable(catalogue), *_twice(catalogue)]
    for policy in catalogue.policies:
        found += _policy(policy, catalogue.guardrails)
    return tuple(sorted(found, key=lambda finding: (finding.origin, finding.line, finding.id)))


def _unreadable(catalogue: Catalogue) -> Iterator[Finding]:
    for document in catalogue.unreadable:
        for detail in document.details:
            where, _, text = detail.partition(": ")
            line = where.rpartition(":")[2]
            yield Finding(
                id="mistake",
                severity=Severity.ERROR,
                origin=document.origin,
                line=int(line) if line.isdecimal() else 0,
                text=text or detail,
                fix="See the grammar in docs/policy.md.",
            )


def _twice(catalogue: Catalogue) -> Iterator[Finding]:
    counted = Counter(policy.pipeline for policy in catalogue.policies)
    for policy in catalogue.policies:
        if counted[policy.pipeline] > 1:
            yield error(
                "pipeline-twice", policy, 1,
                f"{counted[policy.pipeline]} documents describe pipeline {policy.pipeline}",
                f"Airlock reads only {policy.pipeline}.yaml: remove the others.",
            )  # fmt: skip


def _misnamed(policy: Policy) -> Iterator[Finding]:
    slug = slug_of(policy.origin)
    if slug and slug != policy.pipeline:
        yield error(
            "misnamed", policy, 1,
            f"{slug}.yaml describes pipeline {policy.pipeline}, whose policy Airlock reads from "
            f"{policy.pipeline}.yaml only",
            f"Rename it to {policy.pipeline}.yaml.",
        )  # fmt: skip


def _policy(policy: Policy, guardrails: Guardrails | None) -> Iterator[Finding]:
    yield from _misnamed(policy)
    for index, rule in enumerate(policy.rules):
        for check in CHECKS:
            yield from check(policy, rule)
        for earlier in policy.rules[:index]:
            if shadows(earlier, rule):
                yield _shadowed(policy, rule, earlier)
                break
        for excess in exceeds(rule.allow, guardrails, policy.pipeline) if guardrails else ():
            yield error(
                "beyond-guardrail", policy, rule.line,
                f"rule {rule.name!r} exceeds the guardrail {excess.guardrail!r}: got {excess.got}, "
                f"allowed: {excess.allowed}",
                "Reduce what it grants: every job that this rule admits would be refused.",
            )  # fmt: skip


def _shadowed(policy: Policy, rule: Rule, earlier: Rule) -> Finding:
    return error(
        "unreachable", policy, rule.line,
        f"rule {rule.name!r} is never reached: {earlier.name!r} above it admits all of its jobs",
        f"Move it above line {earlier.line}, narrow {earlier.name!r}, or remove it.",
    )  # fmt: skip
