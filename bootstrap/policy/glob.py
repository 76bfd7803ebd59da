"""Buildkite's branch-filter globs, and nothing more: `*` is any run of characters.

No regular expression of a policy's author ever reaches a matcher.
"""

import re
from collections.abc import Collection, Iterable


def matches(pattern: str, value: str) -> bool:
    """Say whether the whole of `value` matches; `*` also crosses `/`. Case counts."""
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(".*?".join(parts), value, re.DOTALL) is not None


def any_matches(patterns: Iterable[str], values: Collection[str]) -> bool:
    """Apply a list to a fact: a positive pattern matches a value, and no `!` pattern matches any.

    Only negations: holds if none of them matches. No patterns or no values: never holds.
    """
    listed = tuple(patterns)
    positive = [pattern for pattern in listed if not pattern.startswith("!")]
    negative = [pattern.removeprefix("!") for pattern in listed if pattern.startswith("!")]
    if not listed or not values or _any(negative, values):
        return False
    return not positive or _any(positive, values)


def _any(patterns: Iterable[str], values: Collection[str]) -> bool:
    return any(matches(pattern, value) for pattern in patterns for value in values)
