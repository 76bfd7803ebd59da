"""Lists of patterns in words."""

from collections.abc import Iterable

EMPTY = "an empty value"  # as conditions on variables may have


def in_words(patterns: Iterable[str]) -> str:
    """Return what a list admits: `main or release/*`, `not main`, `release/*, but not release/1`.

    A branch may be called `!main`; in words a negation cannot be taken for that name.
    """
    listed = tuple(patterns)
    wanted = " or ".join(pattern or EMPTY for pattern in listed if not pattern.startswith("!"))
    excluded = [pattern.removeprefix("!") or EMPTY for pattern in listed if pattern.startswith("!")]
    if "*" in excluded:
        return "none at all"
    refused = f"not {' or '.join(excluded)}" if excluded else ""
    return ", but ".join(filter(None, (wanted, refused))) or "nothing"
