"""The checks of policies: of documents, of each rule, and of rules together."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from bootstrap.policy import (
    lint_beside,
    lint_conditions,
    lint_egress,
    lint_grants,
    lint_guardrails,
    lint_rules,
)
from bootstrap.policy.catalogue import Catalogue, slug_of
from bootstrap.policy.findings import ALWAYS, MEANINGS, Finding, Severity, error, warning
from bootstrap.policy.model import Guardrails, Ignored, Policy, Rule
from bootstrap.policy.shadow import shadows
from bootstrap.policy.spelling import folded

CHECKS = (
    *lint_conditions.CHECKS,
    *lint_grants.CHECKS,
    *lint_egress.CHECKS,
    *lint_beside.CHECKS,
    *lint_rules.CHECKS,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Linted:
    """The findings, by document and line, and how many more there are that a comment answers."""

    findings: tuple[Finding, ...]
    answered: int


def lint(catalogue: Catalogue, *, signed: bool = False) -> tuple[Finding, ...]:
    """Return all findings, by document and line, without those that a comment answers.

    `signed` is whether the hosts require signed identity.
    """
    return linted(catalogue, signed=signed).findings


def linted(catalogue: Catalogue, *, signed: bool = False) -> Linted:
    """Return the same, and count what comments answer."""
    number = 0
    found = [*_unreadable(catalogue), *lint_guardrails.shared_names(catalogue)]
    twice = _twice(catalogue)
    rules = [rule for policy in catalogue.policies for rule in policy.rules]
    hops = frozenset(folded(rule.allow.via) for rule in rules if rule.allow.via)
    for policy in catalogue.policies:
        listed = [*twice.get(policy.origin, ()), *_policy(policy, catalogue.guardrails, signed)]
        listed += [
            f for rule in policy.rules for f in lint_grants.assumes_others(policy, rule, hops)
        ]
        answers = _answers(policy, listed)
        silent = [finding for answered in answers.values() for finding in answered]
        left = [finding for finding in listed if finding not in silent]
        number += len(listed) - len(left)
        found += [*left, *_about_comments(policy, answers)]
    found.sort(key=lambda finding: (finding.origin, finding.line, finding.id))
    return Linted(findings=tuple(found), answered=number)


def _unreadable(catalogue: Catalogue) -> Iterator[Finding]:
    for document in catalogue.unreadable:
        for detail in document.details:
            where, _, text = detail.removeprefix(document.origin).partition(": ")
            line = where.rpartition(":")[2]
            yield Finding(
                id="mistake",
                severity=Severity.ERROR,
                origin=document.origin,
                line=int(line) if line.isdecimal() else 0,
                text=text or detail,
                fix=document.hint or "See the grammar in docs/policy.md.",
            )


def _twice(catalogue: Catalogue) -> dict[str, list[Finding]]:
    counted = Counter(policy.pipeline for policy in catalogue.policies)
    return {
        policy.origin: [
            error(
                "pipeline-twice", policy, 1,
                f"{counted[policy.pipeline]} documents describe pipeline {policy.pipeline}",
                f"Airlock reads only {policy.pipeline}.yaml: remove the others.",
            )
        ]
        for policy in catalogue.policies if counted[policy.pipeline] > 1
    }  # fmt: skip


def _misnamed(policy: Policy) -> Iterator[Finding]:
    slug = slug_of(policy.origin)
    if slug and slug != policy.pipeline:
        yield error(
            "misnamed", policy, 1,
            f"{slug}.yaml describes pipeline {policy.pipeline}, whose policy Airlock reads from "
            f"{policy.pipeline}.yaml only",
            f"Rename it to {policy.pipeline}.yaml.",
        )  # fmt: skip


def _policy(policy: Policy, guardrails: Guardrails | None, signed: bool) -> Iterator[Finding]:  # noqa: FBT001
    yield from _misnamed(policy)
    for index, rule in enumerate(policy.rules):
        for check in CHECKS:
            yield from check(policy, rule)
        yield from lint_rules.forgeable(policy, rule, signed=signed)
        for earlier in policy.rules[:index]:
            if shadows(earlier, rule):
                yield _shadowed(policy, rule, earlier)
                break
        if guardrails:
            yield from lint_guardrails.beyond(policy, rule, guardrails, signed=signed)


def _shadowed(policy: Policy, rule: Rule, earlier: Rule) -> Finding:
    return error(
        "unreachable", policy, rule.line,
        f"rule {rule.name!r} is never reached: {earlier.name!r} above it admits all of its jobs",
        f"Move it above line {earlier.line}, narrow {earlier.name!r}, or remove it.",
    )  # fmt: skip


def _answers(policy: Policy, listed: Sequence[Finding]) -> dict[Ignored, list[Finding]]:
    """Return what each comment answers that has nothing wrong."""
    valid = [comment for comment in policy.ignored if not _wrong_comment(comment)]
    return {comment: [f for f in listed if _is_about(comment, f, policy)] for comment in valid}


def _about_comments(
    policy: Policy, answers: Mapping[Ignored, Sequence[Finding]]
) -> Iterator[Finding]:
    """Yield what is wrong with comments."""
    for comment in policy.ignored:
        if problem := _wrong_comment(comment):
            yield error("wrong-ignore", policy, comment.line, problem, _FORM)
        elif not answers[comment]:
            yield warning(
                "unused-ignore", policy, comment.line,
                f"there is no finding {comment.id!r} here", "Remove the comment.",
            )  # fmt: skip


_FORM = "Write `# airlock: ignore <id>: reason`, behind the line or on one above it."


def _wrong_comment(comment: Ignored) -> str:
    if problem := unknown(comment.id):
        return problem
    return "" if comment.reason else f"the comment gives no reason to ignore {comment.id!r}"


def unknown(identifier: str) -> str:
    """Return why a finding of this id cannot be ignored, "" if it can."""
    if identifier in ALWAYS:
        return f"{identifier!r} cannot be ignored: {MEANINGS[identifier]}"
    if identifier in MEANINGS:
        return ""
    close = get_close_matches(identifier, MEANINGS, n=1)
    meant = f'; did you mean "{close[0]}"?' if close else ""
    return f"there is no finding {identifier!r}{meant}"


def _is_about(comment: Ignored, finding: Finding, policy: Policy) -> bool:
    """A comment at the first line of a rule is about the whole rule."""
    if comment.id != finding.id:
        return False
    starts = [rule.line for rule in policy.rules if rule.line <= finding.line]
    return comment.of == finding.line or (bool(starts) and comment.of == starts[-1])
