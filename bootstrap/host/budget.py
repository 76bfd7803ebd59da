"""One mechanism for everything that is kept for later: number, age and bytes, oldest first."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bootstrap.host.measure import Size, shown
from bootstrap.text import counted


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How much of one kind is kept. 0 is no bound.

    `age` is in seconds after the last use; `size` is the bytes of all together, `largest` of one.
    """

    kind: tuple[str, str]  # one, several
    number: int = 0
    age: float = 0.0
    size: int = 0
    largest: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One thing that is kept: when it was used last, and its size if it has been measured."""

    path: Path
    used: float
    size: Size | None = None


def beyond(
    budget: Budget, entries: Iterable[Entry], now: float, *, in_use: Callable[[Path], bool]
) -> Iterator[tuple[Entry, str]]:
    """Yield what has to go so that the rest is within the budget, with the reason.

    What is too old or too large by itself goes first, then the least recently used. What is in use
    stays, and counts. A size that could not be measured completely counts as too large, but not
    against the others.
    """
    kept = sorted(entries, key=lambda entry: entry.used)
    number = len(kept)
    total = sum(_counted(entry) for entry in kept)
    for reason in (_alone, _together):
        for entry in tuple(kept):
            why = reason(budget, entry, now, number, total)
            if why and not in_use(entry.path):
                yield entry, why
                kept.remove(entry)
                number -= 1
                total -= _counted(entry)


def _counted(entry: Entry) -> int:
    return entry.size.bytes if entry.size and entry.size.complete else 0


def _alone(budget: Budget, entry: Entry, now: float, _number: int, _total: int) -> str:
    if budget.age and entry.used < now - budget.age:
        return f"unused since {moment(entry.used)}, longer than {span(budget.age)}"
    if budget.size and entry.size and not entry.size.complete:
        return "could not be measured in time, so it counts as beyond the budget"
    if budget.largest and entry.size and entry.size.bytes > budget.largest:
        return f"beyond the budget of {shown(budget.largest)} for one"
    return ""


def _together(budget: Budget, _entry: Entry, _now: float, number: int, total: int) -> str:
    if budget.number and number > budget.number:
        return f"beyond the budget of {counted(budget.number, *budget.kind)}"
    if budget.size and total > budget.size:
        return f"beyond the budget of {shown(budget.size)} for all {budget.kind[1]}"
    return ""


def span(seconds: float) -> str:
    """Return a duration in days, or in minutes if it is shorter than one day."""
    if seconds < 86400:
        return counted(round(seconds / 60), "minute")
    return counted(round(seconds / 86400), "day")


def moment(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
