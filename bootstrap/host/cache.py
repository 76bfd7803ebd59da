"""Answers of remote services, cached per host, so that a fleet stays below their limits.

For each key one process fetches at a time, and the others wait for its answer. The directory is
root's and in memory.
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bootstrap import files
from bootstrap.errors import CannotStart
from bootstrap.host.lock import locked

Now = Callable[[], float]


class Cache:
    """JSON values by key. `fresh` and `stale` are seconds; `now` is the time since the epoch."""

    def __init__(
        self, directory: Path, *, fresh: float, stale: float, now: Now = time.time
    ) -> None:
        self._directory = directory
        self._fresh = fresh
        self._stale = stale
        self._now = now

    def get(self, key: str, fetch: Callable[[], Any]) -> Any:  # noqa: ANN401 - is JSON
        """Return the value cached within the last `fresh` seconds, or else that of `fetch`.

        If `fetch` raises CannotStart, a value up to `fresh` + `stale` seconds old is returned; if
        there is none, CannotStart is raised.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / hashlib.sha256(key.encode()).hexdigest()[:32]
        if (known := self._read(path, self._fresh)) is not None:
            return known["value"]
        with locked(path.with_suffix(".lock")):
            if (known := self._read(path, self._fresh)) is not None:
                return known["value"]
            return self._fetched(path, key, fetch)

    def _fetched(self, path: Path, key: str, fetch: Callable[[], Any]) -> Any:  # noqa: ANN401
        try:
            value = fetch()
        except CannotStart:
            known = self._read(path, self._fresh + self._stale)
            if known is None:
                raise
            return known["value"]
        known = {"key": key, "at": self._now(), "value": value}
        files.write(path, json.dumps(known).encode())
        return value

    def _read(self, path: Path, age: float) -> dict[str, Any] | None:
        """Return an entry younger than `age`, and none from the future: the clock was set back."""
        try:
            known: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            return None
        return known if 0 <= self._now() - known["at"] < age else None
