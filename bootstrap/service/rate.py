"""How many connections in how short a time are taken from one user: each costs a fork."""

import time
from collections.abc import Callable

LEAST = 16  # per second, for users who may have few jobs
BURST = 4.0  # seconds' worth of connections that may come at once


class Rate:
    """Counts connections by user; what was not used in the last seconds may be used at once."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._left: dict[int, tuple[float, float]] = {}  # connections, and when that was

    def allows(self, uid: int, jobs: int) -> bool:
        """Count a connection of a user who may have this many jobs; False if it is too many."""
        per_second = max(jobs, LEAST)
        most, now = BURST * per_second, self._now()
        left, before = self._left.get(uid, (most, now))
        left = min(most, left + (now - before) * per_second)
        allowed = left >= 1
        self._left[uid] = (left - allowed, now)
        return allowed
