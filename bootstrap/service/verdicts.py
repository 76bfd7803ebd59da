"""The verdicts that the service keeps between a job's hook and its start, each for one use."""

import os
import time
from collections.abc import Callable

from bootstrap.service.verdict import LIFETIME

_Key = tuple[int, str]  # the uid of the agent, and the job


class Verdicts:
    """Descriptors of verdicts. The service never reads what is in them."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._kept: dict[_Key, tuple[float, int]] = {}  # when it came, and its descriptor

    def keep(self, uid: int, job: str, descriptor: int, *, limit: int) -> None:
        """Keep a verdict in place of an older one; beyond `limit` the user's oldest goes."""
        self._drop((uid, job))
        own = [key for key in self._kept if key[0] == uid]
        for key in own[: max(0, len(own) + 1 - limit)]:
            self._drop(key)
        self._kept[uid, job] = (self._now(), descriptor)

    def take(self, uid: int, job: str) -> int | None:
        """Return the descriptor of this user's verdict about the job, which is not kept longer."""
        self.expire()
        found = self._kept.pop((uid, job), None)
        return None if found is None else found[1]

    def expire(self) -> None:
        """Forget the verdicts that are too old."""
        oldest = self._now() - LIFETIME
        for key in [key for key, (came, _) in self._kept.items() if came < oldest]:
            self._drop(key)

    def clear(self) -> None:
        """Forget all."""
        for key in list(self._kept):
            self._drop(key)

    def __len__(self) -> int:
        return len(self._kept)

    def _drop(self, key: _Key) -> None:
        if found := self._kept.pop(key, None):
            os.close(found[1])
