"""Answers of remote services, kept for a while so that a fleet stays below their rate limits.

One process at a time asks for each key; the others wait for its answer. The directory is root's
and in memory.
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
        """Return what `fetch` returned within the last `fresh` seconds, or returns now.

        If it raises CannotStart, a value that is up to `stale` seconds older is returned instead.
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
        """Return the value unless it is too old, or from the future: a clock may be set back."""
        try:
            known: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            return None
        return known if 0 <= self._now() - known["at"] < age else None
