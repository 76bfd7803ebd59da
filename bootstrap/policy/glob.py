"""Buildkite's branch-filter globs, and nothing more: `*` is any run of characters of one line.

No regular expression is applied to a job's values: the search below is linear in the value for
every part of the pattern, however hostile either is.
"""

from collections.abc import Callable, Collection, Iterable

from bootstrap.policy.spelling import folded


def matches(pattern: str, value: str) -> bool:
    """Return whether the whole of `value` matches. `*` also matches `/`; case matters.

    `*` alone matches everything. In a longer pattern it stays within a line, so that a pattern of
    one line admits no script of several; a pattern of several lines is compared line by line.
    """
    if "\n" not in value or not pattern.strip("*"):
        return _matches(pattern, value)
    patterns, lines = pattern.split("\n"), value.split("\n")
    return len(patterns) == len(lines) and all(map(_matches, patterns, lines))


def _matches(pattern: str, value: str) -> bool:
    """Return whether `value` matches, with `*` for any run of characters, lines included."""
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


def any_matches(
    patterns: Iterable[str],
    values: Collection[str],
    *,
    also: Collection[str] = (),
    fold: Callable[[str], str] = folded,
) -> bool:
    """Apply a list to a fact: a positive pattern matches a value, and no `!` pattern matches any.

    Only negations: holds if none of them matches. No patterns or no values: never holds. Negations
    compare what `fold` makes of both sides, across lines, and also exclude the spellings in `also`.
    """
    listed = tuple(patterns)
    positive = [pattern for pattern in listed if not pattern.startswith("!")]
    negative = [pattern.removeprefix("!") for pattern in listed if pattern.startswith("!")]
    if not listed or not values or excludes(negative, (*values, *also), fold=fold):
        return False
    return not positive or any(matches(p, value) for p in positive for value in values)


def excludes(
    patterns: Iterable[str], values: Iterable[str], *, fold: Callable[[str], str] = folded
) -> bool:
    """Return whether a pattern, here without `!`, matches any spelling of a value."""
    listed = [fold(pattern) for pattern in patterns]
    spelled = [fold(value) for value in values] if listed else []
    return any(_matches(pattern, value) for pattern in listed for value in spelled)
