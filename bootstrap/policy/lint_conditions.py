"""The checks of one rule's conditions: those that no build can fulfil, or that mislead a reader."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from difflib import get_close_matches

from bootstrap.job.facts import PLAIN
from bootstrap.job.repository import same
from bootstrap.policy.findings import Finding, error, warning
from bootstrap.policy.glob import any_matches, matches
from bootstrap.policy.model import ABSENT, NO_TAG, Condition, Policy, Rule
from bootstrap.policy.overlap import both, possible
from bootstrap.policy.wording import in_words

# Buildkite's sources, and those of them whose creators it vouches for (job.facts).
SOURCES = ("ui", "api", "webhook", "schedule", "trigger_job")
_VOUCHED = ("ui", "api")
_WITH_AUTHORS = (*_VOUCHED, "webhook")
_CREATORS = frozenset({"creator", "creator-email", "creator-team"})

# Conditions whose patterns are globs over one name.
_NAMES = frozenset(
    {"branch", "tag", "source", "step", "queue", "creator", "creator-email", "creator-team",
     "author-team", "organization", "commit", "agent-tag"}
)  # fmt: skip
_TEXTS = frozenset({"command", "env"})  # may have several lines
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # as in bootstrap/text.py
_REGULAR = re.compile(r"\A\^|\$\Z|\A\.\*|/\.\*\Z|\\[a-zA-Z.*+?/-]|\[[^\]]+\]|\([^)]*\||\.\+")
_NO_REF = re.compile(r"[ ?~^:\\\[]|\.\.|@\{|\A/|//|/\Z|\.lock\Z")  # git check-ref-format
_REFS = {"branch": "refs/heads/", "tag": "refs/tags/"}


def _hidden_characters(policy: Policy, rule: Rule) -> Iterator[Finding]:
    for condition in rule.when:
        for text in (condition.name or "", *condition.patterns):
            found = _hidden(text, lines=condition.subject in _TEXTS)
            if found:
                yield error(
                    "hidden-characters", policy, condition.line,
                    f"{condition.subject} in rule {rule.name!r} has {found} in {text!a}",
                    "Remove it: it cannot be seen, and what is matched is not what is read.",
                )  # fmt: skip


def _hidden(text: str, *, lines: bool) -> str:
    """Return which character of a pattern cannot be seen; a command may have several lines."""
    if text != text.strip(" \t"):
        return "a space at its beginning or end"
    if text.isprintable():
        return ""
    hidden = next(
        (c for c in text
         if unicodedata.category(c) in _HIDDEN and not (lines and c in "\n\r\t")), ""
    )  # fmt: skip
    if not hidden:
        return ""
    return f"U+{ord(hidden):04X} ({unicodedata.name(hidden, 'a control character').lower()})"


def _unknown_source(policy: Policy, rule: Rule) -> Iterator[Finding]:
    for condition in rule.when:
        for pattern in condition.patterns if condition.subject == "source" else ():
            named = pattern.removeprefix("!")
            if not any(matches(named, source) for source in SOURCES):
                close = get_close_matches(named, SOURCES, n=1)
                meant = f'; did you mean "{close[0]}"?' if close else ""
                yield error(
                    "unknown-source", policy, condition.line,
                    f"Buildkite has no source {named!r}{meant}",
                    f"Expected {', '.join(SOURCES[:-1])} or {SOURCES[-1]}.",
                )  # fmt: skip


def _ref_prefix(policy: Policy, rule: Rule) -> Iterator[Finding]:
    for condition in rule.when:
        for pattern in condition.patterns:
            named = pattern.removeprefix("!")
            if condition.subject in _REFS and named.startswith(("refs/", "origin/")):
                name = named.removeprefix(_REFS[condition.subject]).removeprefix("origin/")
                yield error(
                    "ref-prefix", policy, condition.line,
                    f"{condition.subject} {named!r} in rule {rule.name!r} matches no build: "
                    "Buildkite sends the name alone",
                    f"Write {name!r}.",
                )  # fmt: skip


def _regular_expression(policy: Policy, rule: Rule) -> Iterator[Finding]:
    for condition in rule.when:
        for pattern in condition.patterns if condition.subject in _NAMES else ():
            if _REGULAR.search(pattern.removeprefix("!")):
                yield error(
                    "regular-expression", policy, condition.line,
                    f"{condition.subject} {pattern!r} in rule {rule.name!r} reads as a regular "
                    "expression; patterns are globs, in which only * is special",
                    "List the names, or write * for any run of characters.",
                )  # fmt: skip
            elif condition.subject in _REFS and (found := _NO_REF.search(pattern)):
                yield error(
                    "not-a-ref", policy, condition.line,
                    f"no {condition.subject} can match {pattern!r}: git allows no {found[0]!r} "
                    "in that place of a name",
                    "Correct the name. Patterns are globs, in which only * is special.",
                )  # fmt: skip


def _contradiction(policy: Policy, rule: Rule) -> Iterator[Finding]:
    for condition in rule.when:
        if condition.subject in _NAMES and not possible(condition.patterns):
            yield _never(policy, rule, condition, "its own negations exclude every pattern")
    found = {(condition.subject, condition.name): condition for condition in rule.when}
    for condition in rule.when:
        other = found.get((_fact_of(condition), None))
        if other and other is not condition and not both(condition.patterns, other.patterns):
            what = f"{other.subject} {in_words(other.patterns)}"
            yield _never(policy, rule, condition, f"the rule also requires {what}")
    tag, branch = found.get(("tag", None)), found.get(("branch", None))
    if tag and branch and NO_TAG not in tag.patterns and not both(tag.patterns, branch.patterns):
        what = f"a tag's build has the tag as its branch, and the rule requires tag {_listed(tag)}"
        yield _never(policy, rule, branch, what)


def _fact_of(condition: Condition) -> str:
    """Return the fact that a condition on a variable, or on the agent's tag `queue`, is about."""
    variables = {variable: fact for fact, variable in PLAIN.items()}
    if condition.subject == "env" and ABSENT not in condition.patterns:
        return variables.get(condition.name or "", "")
    return "queue" if (condition.subject, condition.name) == ("agent-tag", "queue") else ""


def _listed(condition: Condition) -> str:
    return in_words(condition.patterns)


def _never(policy: Policy, rule: Rule, condition: Condition, why: str) -> Finding:
    name = f" {condition.name}" if condition.name else ""
    return error(
        "contradiction", policy, condition.line,
        f"rule {rule.name!r} never matches: {condition.subject}{name} {_listed(condition)} cannot "
        f"hold, because {why}",
        "Remove one of the two.",
    )  # fmt: skip


def _repository(policy: Policy, rule: Rule) -> Iterator[Finding]:
    for condition in rule.when:
        listed = condition.patterns if condition.subject == "repository" else ()
        plain = [p for p in listed if "*" not in p and not p.startswith("!")]
        if plain == list(listed) and not _any_same(plain, policy.repositories) and plain:
            yield error(
                "absent-from-repository", policy, condition.line,
                f"rule {rule.name!r} never matches: {_listed(condition)} is not among the "
                "policy's repositories, and jobs of others are refused",
                "Add it to `repository` at the top of the document, or remove the condition.",
            )  # fmt: skip


def _any_same(ones: list[str], others: tuple[str, ...]) -> bool:
    return any(same(one, other) for one in ones for other in others)


def _creator_without_source(policy: Policy, rule: Rule) -> Iterator[Finding]:
    asked = [condition for condition in rule.when if condition.subject in _CREATORS]
    sources = [source for source in SOURCES if allows(rule, "source", source)]
    if asked and not set(sources) & set(_VOUCHED):
        yield error(
            "creator-never-holds", policy, asked[0].line,
            f"rule {rule.name!r} never matches: Buildkite vouches for the creator only if the "
            f"source is ui or api, and the rule allows {' and '.join(sources) or 'no source'}",
            "Allow source ui or api, or use author-team, which is a weaker claim.",
        )  # fmt: skip
    asked = [condition for condition in rule.when if condition.subject == "author-team"]
    if asked and not set(sources) & set(_WITH_AUTHORS):
        yield error(
            "author-never-holds", policy, asked[0].line,
            f"rule {rule.name!r} never matches: Buildkite names no author of a build whose source "
            f"is {' or '.join(sources) or 'none of those it has'}",
            "Allow source webhook, ui or api, or remove author-team.",
        )  # fmt: skip


def _unblocker(policy: Policy, rule: Rule) -> Iterator[Finding]:
    for condition in rule.when:
        if condition.subject == "unblocker-team":
            yield error(
                "unblocker-never-holds", policy, condition.line,
                f"rule {rule.name!r} never matches: nothing proves who unblocked a build, since a "
                "step can set BUILDKITE_UNBLOCKER_TEAMS itself",
                "Restrict who may unblock in the pipeline's block step, and remove this condition.",
            )  # fmt: skip


def _commit_of_a_tag(policy: Policy, rule: Rule) -> Iterator[Finding]:
    """No branch has the name that the build of a tag has as its branch."""
    found = {condition.subject: condition for condition in rule.when}
    tag, commit = found.get("tag"), found.get("commit-on-branch")
    if tag and commit and NO_TAG not in tag.patterns:
        yield warning(
            "tag-beside-commit-check", policy, commit.line,
            f"rule {rule.name!r} asks whether the commit is on a branch that has the tag's name",
            "Remove commit-on-branch, which is about builds of branches.",
        )  # fmt: skip


CHECKS: tuple[Callable[[Policy, Rule], Iterator[Finding]], ...] = (
    _hidden_characters,
    _unknown_source,
    _ref_prefix,
    _regular_expression,
    _contradiction,
    _repository,
    _creator_without_source,
    _unblocker,
    _commit_of_a_tag,
)


def allows(rule: Rule, subject: str, value: str) -> bool:
    """Return whether the rule's conditions on the subject admit the value."""
    return all(any_matches(c.patterns, (value,)) for c in rule.when if c.subject == subject)
