"""When which chore of the service runs: one at a time, and later and later while it fails."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

FIRST_RETRY = 5.0  # seconds after a failure; doubled with each one that follows
_JITTER = 0.1  # so that a fleet does not do all of this at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Chore:
    """One chore: how often it is due, and how long it may take. Both in seconds."""

    name: str
    every: float
    limit: float | None = None  # None: it runs until it is stopped
    first: float = 0.0  # after the start of the service


class Schedule:
    """The chores of which one runs at a time, those that are first in order before the others.

    `now` is monotonic.
    """

    def __init__(
        self, chores: Sequence[Chore], now: float, *, spread: Callable[[], float] = random.random
    ) -> None:
        self._chores = {chore.name: chore for chore in chores}
        self._due = {chore.name: now + chore.first for chore in chores}
        self._asked: dict[str, float] = {}
        self._postponed: dict[str, float] = {}
        self._failures = dict.fromkeys(self._due, 0)
        self._running: tuple[str, float] | None = None
        self._spread = spread

    @property
    def running(self) -> str | None:
        """The name of the chore that runs."""
        return self._running[0] if self._running else None

    def start(self, now: float) -> str | None:
        """Return the chore to start now, which runs from then on; None if there is none."""
        if self._running is None:
            for name in self._due:
                if self._next(name) <= now:
                    self._running = (name, now)
                    self._asked.pop(name, None)
                    return name
        return None

    def ask(self, name: str, due: float) -> None:
        """Have a chore run at `due`, if that is sooner, and unless it fails. The last call counts.

        One that runs runs once more.
        """
        self._asked[name] = due

    def postpone(self, name: str, until: float) -> None:
        """Do not start a chore before that. The last call counts."""
        self._postponed[name] = until

    def _next(self, name: str) -> float:
        due = self._due[name]
        if not self._failures[name]:
            due = min(due, self._asked.get(name, due))
        return max(due, self._postponed.get(name, due))

    def is_overdue(self, now: float) -> bool:
        """Say whether the chore that runs has taken longer than it may."""
        deadline = self._deadline()
        return deadline is not None and now >= deadline

    def ended(self, now: float, *, succeeded: bool) -> None:
        """The chore that ran is over. One that failed is due again sooner, if it is rare."""
        if self._running is None:
            return
        name, _ = self._running
        self._running = None
        chore = self._chores[name]
        failures = self._failures[name] = 0 if succeeded else self._failures[name] + 1
        pause = chore.every
        if failures:
            longest = max(chore.every, 600.0)
            pause = min(longest, FIRST_RETRY * 2.0 ** min(failures - 1, 20))
        self._due[name] = now + pause * (1 + _JITTER * self._spread())

    def wake(self, now: float) -> float:
        """Return in how many seconds there is something to do, at most an hour."""
        deadline = self._deadline()
        if self._running is not None:
            return 3600.0 if deadline is None else min(3600.0, max(0.0, deadline - now))
        return min(3600.0, max(0.0, min(map(self._next, self._due), default=now + 3600.0) - now))

    def _deadline(self) -> float | None:
        if self._running is None:
            return None
        name, since = self._running
        limit = self._chores[name].limit
        return None if limit is None else since + limit
