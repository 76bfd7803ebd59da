"""What is wrong with policies although they can be read: each finding with place and remedy."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from bootstrap.policy.catalogue import Catalogue, granted, pull_requests_of
from bootstrap.policy.glob import any_matches, matches
from bootstrap.policy.guardrails import exceeds, is_empty
from bootstrap.policy.match import PULL_REQUESTS
from bootstrap.policy.model import NO_TAG, Condition, Guardrails, Policy, Rule
from bootstrap.policy.steering import left_out

# Buildkite's sources, and those of them whose creators it vouches for (job.facts).
SOURCES = ("ui", "api", "webhook", "schedule", "trigger_job")
_VOUCHED = ("ui", "api")
_CREATORS = frozenset({"creator", "creator-email", "creator-team"})
_PRODUCTION = re.compile(r"prod|deploy|release|admin", re.IGNORECASE)


class Severity(StrEnum):
    """Errors make `airlock policy lint` fail and `push` refuse; warnings are for a person."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing to mend. `id` is stable, for `--ignore`."""

    id: str
    severity: Severity
    origin: str
    line: int
    text: str
    fix: str


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
                fix="docs/policy.md has the grammar.",
            )


def _twice(catalogue: Catalogue) -> Iterator[Finding]:
    counted = Counter(policy.pipeline for policy in catalogue.policies)
    for policy in catalogue.policies:
        if counted[policy.pipeline] > 1:
            yield _error(
                "pipeline-twice", policy, 1,
                f"there are {counted[policy.pipeline]} documents of pipeline {policy.pipeline}",
                "Only the one that is named after the pipeline is ever read; remove the others.",
            )  # fmt: skip


def _misnamed(policy: Policy) -> Iterator[Finding]:
    file = policy.origin.rpartition("/")[2]
    if file.endswith(".yaml") and file != f"{policy.pipeline}.yaml":
        yield _error(
            "misnamed", policy, 1,
            f"{file} is the policy of pipeline {policy.pipeline}, which nobody will look for there",
            f"Name it {policy.pipeline}.yaml.",
        )  # fmt: skip


def _policy(policy: Policy, guardrails: Guardrails | None) -> Iterator[Finding]:
    yield from _misnamed(policy)
    for index, rule in enumerate(policy.rules):
        for check in _CHECKS:
            yield from check(policy, rule)
        for earlier in policy.rules[:index]:
            if shadows(earlier, rule):
                yield _shadowed(policy, rule, earlier)
                break
        for excess in exceeds(rule.allow, guardrails) if guardrails else ():
            yield _error(
                "beyond-guardrail", policy, rule.line,
                f"rule {rule.name!r} goes beyond the guardrail {excess.guardrail!r}: got "
                f"{excess.got}, allowed is {excess.allowed}",
                "Every job that this rule admits is refused: make the grant smaller.",
            )  # fmt: skip


def shadows(earlier: Rule, later: Rule) -> bool:
    """Say whether every job that `later` admits is admitted by `earlier` already.

    In doubt it is not. Each condition of `earlier` has to be implied by one of `later`.
    """
    return all(
        any(implies(narrow, wide) for narrow in later.when) or _is_everything(wide)
        for wide in earlier.when
    )


def implies(narrow: Condition, wide: Condition) -> bool:
    """Say whether whatever satisfies `narrow` satisfies `wide`."""
    if (narrow.subject, narrow.name) != (wide.subject, wide.name):
        return False
    if set(narrow.patterns) == set(wide.patterns):
        return True
    if narrow.subject == "pull-request":
        return _pull_requests(narrow) <= _pull_requests(wide)
    if narrow.subject in {"plugin", "repository", "commit-on-branch"}:
        return False
    if narrow.subject == "tag":
        return _tags_imply(narrow.patterns, wide.patterns)
    return _patterns_imply(narrow.patterns, wide.patterns)


def _tags_imply(narrow: tuple[str, ...], wide: tuple[str, ...]) -> bool:
    """`none` admits builds without a tag, and no pattern of tags admits those."""
    if NO_TAG in narrow and NO_TAG not in wide:
        return False
    tags, admitted = (tuple(p for p in listed if p != NO_TAG) for listed in (narrow, wide))
    return not tags or (bool(admitted) and _patterns_imply(tags, admitted))


def _patterns_imply(narrow: tuple[str, ...], wide: tuple[str, ...]) -> bool:
    """A glob that matches another's text admits all that the other does: only `*` matches `*`."""
    refused = {pattern for pattern in wide if pattern.startswith("!")}
    if not refused <= set(narrow) or "absent" in (*narrow, *wide):
        return False
    wanted = [pattern for pattern in wide if not pattern.startswith("!")] or ["*"]
    named = [pattern for pattern in narrow if not pattern.startswith("!")] or ["*"]
    return all(any(matches(pattern, text) for pattern in wanted) for text in named)


def _pull_requests(condition: Condition) -> frozenset[str]:
    return frozenset[str]().union(*(PULL_REQUESTS[pattern] for pattern in condition.patterns))


def _is_everything(condition: Condition) -> bool:
    return condition.subject == "pull-request" and "any" in condition.patterns


def _shadowed(policy: Policy, rule: Rule, earlier: Rule) -> Finding:
    return _error(
        "unreachable", policy, rule.line,
        f"rule {rule.name!r} is never reached: {earlier.name!r} admits all its jobs before",
        f"Move it above line {earlier.line}, narrow {earlier.name!r}, or remove it.",
    )  # fmt: skip


def _open_to_pull_requests(policy: Policy, rule: Rule) -> Iterator[Finding]:
    kind = pull_requests_of(rule)
    if is_empty(rule.allow) or kind == "no":
        return
    if kind == "any":
        yield _error(
            "fork-reaches-grant", policy, rule.line,
            f"anybody who opens a pull request reaches {_names(rule)} through rule {rule.name!r}",
            "Say `pull-request: same-repository`, or grant nothing.",
        )  # fmt: skip
    else:
        yield _warning(
            "pull-request-reaches-grant", policy, rule.line,
            f"whoever may push a branch reaches {_names(rule)} through rule {rule.name!r}",
            "Grant here what a reviewer need not have seen; say --ignore if that is so.",
        )  # fmt: skip


def _unvouched_creator(policy: Policy, rule: Rule) -> Iterator[Finding]:
    asked = [condition for condition in rule.when if condition.subject in _CREATORS]
    sources = [source for source in SOURCES if _allows(rule, "source", source)]
    if asked and not set(sources) & set(_VOUCHED):
        yield _error(
            "creator-never-holds", policy, asked[0].line,
            f"rule {rule.name!r} can never hold: Buildkite vouches for no creator of builds from "
            f"{' or '.join(sources) or 'no source'}",
            "Allow source ui or api, or ask for author-team, which is a weaker claim.",
        )  # fmt: skip


def _unvouched_unblocker(policy: Policy, rule: Rule) -> Iterator[Finding]:
    for condition in rule.when:
        if condition.subject == "unblocker-team":
            yield _error(
                "unblocker-never-holds", policy, condition.line,
                f"rule {rule.name!r} can never hold: nothing shows who unblocked a build, because "
                "a step may set BUILDKITE_UNBLOCKER_TEAMS itself",
                "Restrict who may unblock in the pipeline's block step, and leave this out.",
            )  # fmt: skip


def _tag_beside_branch(policy: Policy, rule: Rule) -> Iterator[Finding]:
    """Buildkite gives the build of a tag the tag's name as its branch."""
    found = {condition.subject: condition for condition in rule.when}
    tag, branch = found.get("tag"), found.get("branch")
    if tag and branch and NO_TAG not in tag.patterns and "*" not in branch.patterns:
        yield _warning(
            "tag-beside-branch", policy, branch.line,
            f"rule {rule.name!r} wants a tag and a branch, but the branch of a tag's build is the "
            "tag's own name",
            "Leave `branch` out; `commit-on-branch` does not apply to tags either.",
        )  # fmt: skip


def _unknown_commit(policy: Policy, rule: Rule) -> Iterator[Finding]:
    """A repository that cannot be asked just now would let everything pass."""
    for condition in rule.when:
        if "verified-or-unknown" in condition.patterns and not is_empty(rule.allow):
            yield _warning(
                "unknown-commit-reaches-grant", policy, condition.line,
                f"a commit that could not be looked for reaches {_names(rule)}",
                "Say `commit-on-branch: verified`.",
            )  # fmt: skip


def _broad_production(policy: Policy, rule: Rule) -> Iterator[Finding]:
    where = [c for c in rule.when if c.subject in {"branch", "tag", "commit"}]
    if any("*" not in c.patterns for c in where if c.patterns != (NO_TAG,)):
        return
    for kind, name in granted(rule):
        if kind == "role" and _PRODUCTION.search(name.rsplit("/", 1)[-1]):
            yield _warning(
                "any-branch-reaches-production", policy, rule.line,
                f"every branch reaches {name} through rule {rule.name!r}",
                "Name the branches or tags that may.",
            )  # fmt: skip


def _unbound_plugins(policy: Policy, rule: Rule) -> Iterator[Finding]:
    """Plugins' hooks run beside the command, with all that the rule grants."""
    subjects = {condition.subject for condition in rule.when}
    if "command" in subjects and "plugin" not in subjects and not is_empty(rule.allow):
        yield _error(
            "plugins-beside-the-command", policy, rule.line,
            f"rule {rule.name!r} names a command, and lets the step bring any plugin, which runs "
            f"with {_names(rule)} too",
            'Add `plugin` with those it may bring, or `plugin: "!*"` for none.',
        )  # fmt: skip


_BINDING = ("command", "plugin", "commit", "commit-on-branch")


def _steering(policy: Policy, rule: Rule) -> Iterator[Finding]:
    """What a rule says of a command or a commit binds only without variables that change it."""
    binding = [c.subject for c in rule.when if c.subject in _BINDING]
    if rule.allow.env and binding and not is_empty(rule.allow):
        yield _warning(
            "variables-change-what-runs", policy, rule.line,
            f"rule {rule.name!r} names a {binding[0]}, and lets whoever starts a build set "
            f"{' and '.join(rule.allow.env)}, which change what that runs",
            "List in allow.env only what the job cannot do without, or set it in the image.",
        )  # fmt: skip
    asked = {c.name: "" for c in rule.when if c.subject == "env" and c.name}
    dropped = left_out(asked, rule.allow)
    for name, reason in dropped.items():
        yield _warning(
            "condition-on-left-out-variable", policy, rule.line,
            f"rule {rule.name!r} asks for {name}, but its job does not get it: {reason}",
            "Add it to allow.env, if the job needs it.",
        )  # fmt: skip


# What Buildkite's backend, or this host, says in every job: no step and no build can set it.
_VOUCHED_CONDITIONS = frozenset(
    {"branch", "commit", "source", "queue", "creator", "creator-email", "creator-team",
     "commit-on-branch"}
)  # fmt: skip
_FORGEABLE = frozenset({"tag", "step", "author-team", "agent-tag", "env"})


def _only_the_jobs_word(policy: Policy, rule: Rule) -> Iterator[Finding]:
    asked = [c for c in rule.when if c.subject in _FORGEABLE and c.patterns != (NO_TAG,)]
    vouched = any(c.subject in _VOUCHED_CONDITIONS and "*" not in c.patterns for c in rule.when)
    if asked and not vouched and not is_empty(rule.allow):
        yield _warning(
            "only-the-jobs-word", policy, asked[0].line,
            f"rule {rule.name!r} gives {_names(rule)} to whoever writes a step: it can set "
            f"{asked[0].subject} itself",
            "Add a condition that Buildkite vouches for (branch, creator-team, source), or set "
            'policy.identity = "signed" on the hosts '
            "(docs/policy.md#what-a-condition-is-worth).",
        )  # fmt: skip


def _loose_image(policy: Policy, rule: Rule) -> Iterator[Finding]:
    image = rule.allow.image
    if image and "@sha256:" not in image:
        yield _warning(
            "image-without-digest", policy, rule.line,
            f"whoever can push {image} decides what runs with rule {rule.name!r}",
            "Name it by digest, as repository@sha256:….",
        )  # fmt: skip


def _loose_plugins(policy: Policy, rule: Rule) -> Iterator[Finding]:
    for condition in rule.when:
        loose = [p for p in condition.patterns if "#" not in p and not p.startswith(("!", "*"))]
        if condition.subject == "plugin" and loose:
            yield _warning(
                "plugin-without-version", policy, condition.line,
                f"{' and '.join(loose)} in rule {rule.name!r} means plugins without any version",
                "Say which versions, as in docker#v5.*.",
            )  # fmt: skip


_CHECKS: tuple[Callable[[Policy, Rule], Iterator[Finding]], ...] = (
    _open_to_pull_requests,
    _unvouched_creator,
    _unvouched_unblocker,
    _tag_beside_branch,
    _unknown_commit,
    _broad_production,
    _steering,
    _only_the_jobs_word,
    _unbound_plugins,
    _loose_image,
    _loose_plugins,
)


def _allows(rule: Rule, subject: str, value: str) -> bool:
    return all(any_matches(c.patterns, (value,)) for c in rule.when if c.subject == subject)


def _names(rule: Rule) -> str:
    return ", ".join(name for kind, name in granted(rule) if kind != "image")


def _error(identifier: str, policy: Policy, line: int, text: str, fix: str) -> Finding:
    error, origin = Severity.ERROR, policy.origin
    return Finding(id=identifier, severity=error, origin=origin, line=line, text=text, fix=fix)


def _warning(identifier: str, policy: Policy, line: int, text: str, fix: str) -> Finding:
    return replace(_error(identifier, policy, line, text, fix), severity=Severity.WARNING)
