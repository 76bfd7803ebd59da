"""Lists of patterns, lengths of time and sizes in words."""

from collections.abc import Iterable
from datetime import timedelta

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


_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_TIMES = ((3600, "h"), (60, "m"), (1, "s"))


def length(time: timedelta) -> str:
    """Return a length of time as documents have it: 1h, 90m."""
    return _whole(int(time.total_seconds()), _TIMES)


def size(number: int) -> str:
    """Return a number of bytes as documents have it: 8GiB."""
    return _whole(number, _SIZES)


def _whole(number: int, units: tuple[tuple[int, str], ...]) -> str:
    """Return a number in the largest unit of which it is a whole multiple."""
    for one, unit in units:
        if number and number % one == 0:
            return f"{number // one}{unit}"
    return str(number)
