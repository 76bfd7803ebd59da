"""Whose turn it is to start a container.

Starting one takes processor time and little else, so that fifty at once would all be late: each
gets a fiftieth of the processors until the last one is done. Few at a time, the jobs start one
after another, the first ones at once and the last one no later. Users have turns in proportion: one
whose starts never end delays another's by LONGEST, not by as much for each of them.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator

AT_ONCE = 2 * (os.cpu_count() or 1)
# Seconds after which a start no longer counts: it waits for AWS or an image, not for processors.
LONGEST = 3.0


class Turns:
    """Workers by pid, of each user in the order in which they have asked."""

    def __init__(self, limit: int = AT_ONCE, now: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._now = now
        self._waiting: deque[int] = deque()
        self._starting: dict[int, float] = {}  # since when
        self._users: dict[int, int] = {}

    def ask(self, pid: int, uid: int = 0) -> None:
        """A worker waits for its turn."""
        self._waiting.append(pid)
        self._users[pid] = uid

    def over(self, pid: int) -> None:
        """A worker's job has begun, or it needs no turn any more."""
        self._starting.pop(pid, None)
        self._users.pop(pid, None)
        if pid in self._waiting:
            self._waiting.remove(pid)

    def next(self) -> Iterator[int]:
        """Yield the workers whose turn it is now; they count as starting."""
        oldest = self._now() - LONGEST
        late = [pid for pid, since in self._starting.items() if since <= oldest]
        for pid in late:
            del self._starting[pid], self._users[pid]
        while self._waiting and len(self._starting) < self._limit:
            pid = min(self._waiting, key=self._starting_of_its_user)
            self._waiting.remove(pid)
            self._starting[pid] = self._now()
            yield pid

    def _starting_of_its_user(self, pid: int) -> int:
        uid = self._users[pid]
        return sum(self._users[other] == uid for other in self._starting)

    @property
    def waiting(self) -> bool:
        """Whether a worker waits for its turn."""
        return bool(self._waiting)

    def patience(self) -> float | None:
        """Return the seconds until a start no longer counts; None if nobody waits for that."""
        if not self._waiting or not self._starting:
            return None
        return max(0.0, min(self._starting.values()) + LONGEST - self._now())
