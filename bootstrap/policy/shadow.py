"""Whether one rule admits every job that a later one does: then the later is never reached."""

from bootstrap.policy.glob import matches
from bootstrap.policy.match import PULL_REQUESTS
from bootstrap.policy.model import NO_TAG, Condition, Rule


def shadows(earlier: Rule, later: Rule) -> bool:
    """Return whether `earlier` admits every job that `later` admits; in doubt, False.

    Each condition of `earlier` must be implied by one of `later`.
    """
    return all(
        any(implies(narrow, wide) for narrow in later.when) or _is_everything(wide)
        for wide in earlier.when
    )


def implies(narrow: Condition, wide: Condition) -> bool:
    """Return whether everything that satisfies `narrow` also satisfies `wide`."""
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
