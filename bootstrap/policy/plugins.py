"""Whether a list of plugins in a policy or in guardrails admits a plugin."""

import re
from collections.abc import Iterable

from bootstrap.job.plugins import canonical_pattern
from bootstrap.policy.glob import matches

_TRANSPORT = re.compile(r"\A[a-z]+://(?:[^@/]+@)?|(?<=[^/:]):[0-9]+(?=/)|\.git(?=/|\Z)")


def admits(patterns: Iterable[str], plugin: str) -> bool:
    """Return whether the list admits `plugin`, a name of job.plugins, and no `!` excludes it.

    A list of negations alone admits every plugin that none of them names. A `*` does not match `/`
    in a location. In doubt a plugin is excluded: a negation without a version excludes all of them,
    and it also excludes whatever lies below its location, by any transport.
    """
    listed = tuple(patterns)
    positive = [pattern for pattern in listed if not pattern.startswith("!")]
    negative = [pattern.removeprefix("!") for pattern in listed if pattern.startswith("!")]
    if not listed or any(_excludes(pattern, plugin) for pattern in negative):
        return False
    return not positive or any(_names(pattern, plugin) for pattern in positive)


def _names(pattern: str, plugin: str) -> bool:
    form = canonical_pattern(pattern)
    if form in {None, "*"}:
        return form == "*"
    location, mark, version = str(form).partition("#")
    got, got_mark, got_version = plugin.partition("#")
    if mark != got_mark or not matches(version, got_version):
        return False
    return location == "*" or _segments(location.split("/"), got.split("/"))


def _excludes(pattern: str, plugin: str) -> bool:
    form = canonical_pattern(pattern)
    if form is None:
        return True
    location, mark, version = form.partition("#")
    got, _, got_version = plugin.partition("#")
    if mark and not matches(version, got_version):
        return False
    listed, parts = _loose(location), _loose(got)
    return location == "*" or _segments(listed, parts[: len(listed)])


def _segments(patterns: list[str], parts: list[str]) -> bool:
    return len(patterns) == len(parts) and all(map(matches, patterns, parts))


def _loose(location: str) -> list[str]:
    return _TRANSPORT.sub("", location).casefold().split("/")
