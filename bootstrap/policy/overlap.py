"""Whether one value can match two lists of patterns: if none can, both together never hold."""

from collections.abc import Iterable

from bootstrap.policy.glob import matches


def possible(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the positive patterns that no negation of the list excludes wholly.

    Of a list of negations alone: `*`, unless one of them excludes everything.
    """
    listed = tuple(patterns)
    negative = [pattern.removeprefix("!") for pattern in listed if pattern.startswith("!")]
    positive = [pattern for pattern in listed if not pattern.startswith("!")] or ["*"]
    return tuple(p for p in positive if not any(matches(n, p) for n in negative))


def both(first: Iterable[str], second: Iterable[str]) -> bool:
    """Return whether a value may match both lists; in doubt, True."""
    ones, others = possible(first), possible(second)
    return any(overlap(one, other) for one in ones for other in others)


def overlap(one: str, other: str) -> bool:
    """Return whether some text matches both globs."""
    reached = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        i, j = todo.pop()
        if i == len(one) and j == len(other):
            return True
        for place in _next(one, i, other, j):
            if place not in reached:
                reached.add(place)
                todo.append(place)
    return False


def _next(one: str, i: int, other: str, j: int) -> list[tuple[int, int]]:
    """Return how far two globs can be compared in one step, from these places."""
    steps = []
    if one[i : i + 1] == "*":
        steps.append((i + 1, j))
        if j < len(other):
            steps.append((i, j + 1))
    if other[j : j + 1] == "*":
        steps.append((i, j + 1))
        if i < len(one):
            steps.append((i + 1, j))
    if one[i : i + 1] == other[j : j + 1] != "*" and i < len(one):
        steps.append((i + 1, j + 1))
    return steps
