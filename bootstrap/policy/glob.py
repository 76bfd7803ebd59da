"""Buildkite's branch-filter globs, and nothing more: `*` is any run of characters.

No regular expression is applied to a job's values: the search below is linear in the value for
every part of the pattern, however hostile either is.
"""

from collections.abc import Collection, Iterable


def matches(pattern: str, value: str) -> bool:
    """Return whether the whole of `value` matches. `*` also matches `/`; case matters."""
    first, *rest = pattern.split("*")
    if not rest:
        return value == pattern
    *middle, last = rest
    position, end = len(first), len(value) - len(last)
    if position > end or not (value.startswith(first) and value.endswith(last)):
        return False
    for part in middle:
        found = value.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


def beginnings(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return what a value has to begin with to match one of them: str.startswith asks for all.

    Thousands of names are compared with long tables before each job, and few match.
    """
    return tuple({pattern.partition("*")[0] for pattern in patterns})


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
