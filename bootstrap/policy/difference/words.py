"""Conditions and values in the words of whoever approves a change."""

import shlex
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from bootstrap.policy.match import PULL_REQUESTS
from bootstrap.policy.model import NO_TAG, Condition
from bootstrap.policy.wording import EMPTY, length, size
from bootstrap.text import printable

LONGEST = 4000  # characters of one value: longer than a session's policy, which is shown whole
_BYTES = frozenset({"memory"})

_SUBJECTS = {
    "creator": "started by",
    "creator-team": "started by a member of",
    "author-team": "claims an author in",
    "unblocker-team": "claims to be unblocked by",
    "plugin": "with no plugins but",
    "env": "variable",
}
_COMMITS = {
    "verified": "commit found on its branch",
    "verified-or-unknown": "commit not known to be off its branch",
}
_PULL_REQUESTS = {
    frozenset({"no"}): "no pull request",
    frozenset({"same-repository"}): "a pull request from the repository itself",
    frozenset({"fork"}): "a fork's pull request",
    frozenset({"no", "same-repository"}): "a pull request from the repository itself or none",
    frozenset({"no", "fork"}): "a fork's pull request or none",
    frozenset({"same-repository", "fork"}): "any pull request, a fork's too",
    frozenset({"no", "same-repository", "fork"}): "any pull request or none, a fork's too",
}


def pull_requests_in_words(kinds: frozenset[str]) -> str:
    """Return which pull requests are meant."""
    return _PULL_REQUESTS.get(kinds, " or ".join(sorted(kinds)))


def in_words(condition: Condition) -> str:
    """Return what a condition asks of a job."""
    if condition.subject == "tag":
        return _tag(condition.patterns)
    if condition.subject == "pull-request":
        kinds = frozenset[str]().union(*(PULL_REQUESTS[p] for p in condition.patterns))
        return pull_requests_in_words(kinds)
    if condition.subject == "commit-on-branch":
        return " or ".join(_COMMITS.get(p, p) for p in condition.patterns)
    subject = _SUBJECTS.get(condition.subject, condition.subject)
    named = f"{subject} {condition.name}" if condition.name else subject
    return printable(f"{named} {_patterns(condition.patterns)}", limit=LONGEST)


def _tag(patterns: tuple[str, ...]) -> str:
    tags = tuple(pattern for pattern in patterns if pattern != NO_TAG)
    none = ("no tag",) if NO_TAG in patterns else ()
    some = (printable(f"tag {_patterns(tags)}", limit=LONGEST),) if tags else ()
    return " or ".join((*none, *some))


def _patterns(patterns: tuple[str, ...]) -> str:
    """A leading `!` negates: say so."""
    wanted = [pattern or EMPTY for pattern in patterns if not pattern.startswith("!")]
    refused = " or ".join(pattern[1:] or EMPTY for pattern in patterns if pattern.startswith("!"))
    if not wanted:
        return f"other than {refused}"
    return " or ".join(wanted) + (f" but not {refused}" if refused else "")


def shown(value: object, name: str = "") -> str:
    """Return a value of a document on one line. `name` is that of its field, for its unit."""
    match value:
        case tuple() if value and all(isinstance(one, Condition) for one in value):
            return " and ".join(map(in_words, value))
        case tuple() | list():
            return _several(value, name)
        case set() | frozenset():
            return shown(sorted(map(shown, value)))
        case dict():
            return ", ".join(f"{key}: {shown(one)}" for key, one in value.items()) or "nothing"
        case _ if is_dataclass(value) and not isinstance(value, type):
            return _fields(value)
        case _:
            return printable(_scalar(value, name), limit=LONGEST)


def _several(values: Sequence[Any], name: str) -> str:
    """Of a list any entry counts, but the arguments of a command are one thing."""
    if name == "command":
        return printable(shlex.join(values), limit=LONGEST)
    return " or ".join(map(shown, values)) or "nothing"


def _scalar(value: object, name: str) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case timedelta():
            return length(value)
        case Enum():
            return str(value.value)
        case int() if name in _BYTES:
            return size(value)
        case _:
            return str(value)


def _fields(value: Any) -> str:  # noqa: ANN401 - any dataclass
    """Leave out what is empty or at its default: a person reads it."""
    named = ((field, getattr(value, field.name)) for field in fields(value))
    listed = (
        f"{label(field.name)}: {shown(one, field.name)}"
        for field, one in named
        if field.name != "line" and one not in (None, "", {}) and one != _default(field)
    )
    return ", ".join(listed) or "nothing"


def _default(field: Field[Any]) -> object:
    made = field.default_factory
    return field.default if made is MISSING else made()


def label(name: str) -> str:
    """Return a field's name as documents spell it."""
    return name.replace("_", "-")
