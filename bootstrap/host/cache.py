"""Answers of remote services, cached per host, so that a fleet stays below their limits.

For each key one process fetches at a time. The others wait for its answer, and share its failure:
each of them fetching in turn would multiply both the calls and the wait. Only CannotStart is
shared; any other exception, a cancellation among them, is its own process's, and the next waiter
fetches. If the fetching process is killed, so is its lock, and the next waiter fetches at once.

The directory is root's and in memory.
"""

import hashlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap import files
from bootstrap.errors import CannotStart, NoAnswer
from bootstrap.host.lock import locked_now
from bootstrap.metrics import catalogue
from bootstrap.metrics.report import report

# Seconds for which a failure also counts for those who come after it; half as much again at most.
HOLD = 4.0
# Seconds for which a process that has an old value waits for the one that asks for a new value. A
# service that works answers sooner, so an old value is used only if it does not.
SHORT = 1.0
POLL = 0.05  # seconds between two looks at what another process fetches

# What a file has to have, of a value and of a failure.
_VALUE = frozenset({"asked", "at", "value"})
_FAILURE = frozenset({"patience", "at", "until", "no_answer", "problem", "hint", "details"})

Now = Callable[[], float]
Fetch = Callable[[float], Any]  # takes the seconds that it may take, 0.0 for a single try


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A value, and its age in seconds if it is served because a newer one could not be had."""

    value: Any
    stale: float | None


class Cache:
    """JSON values by key. `fresh` and `stale` are seconds; `now` is the time since the epoch."""

    def __init__(
        self,
        directory: Path,
        *,
        fresh: float,
        stale: float,
        now: Now = time.time,
        clock: Now = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._directory = directory
        self._fresh = fresh
        self._stale = stale
        self._now = now
        self._clock = clock
        self._sleep = sleep

    def get(self, key: str, fetch: Fetch, *, patience: float) -> Answer:
        """Return the value cached within the last `fresh` seconds, or else that of `fetch`.

        If there is one up to `fresh` + `stale` seconds old, one process makes a single try. It gets
        the old value if the try ends in NoAnswer; the others get it if the try takes over SHORT
        seconds, and at once for a few seconds after such a failure. Without an old value, the call
        takes up to `patience` seconds, waiting for others included. Raises what `fetch` raises,
        here or in a process that was waited for and had at least half as much patience, and
        NoAnswer if nothing was known in time.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        entry = _Entry(self._directory, key, self._now)
        if (known := entry.value(self._fresh)) is not None:
            report(catalogue.CACHE_ANSWERS, result="cached")
            return Answer(value=known["value"], stale=None)
        try:
            if entry.value(self._fresh + self._stale) is not None:
                answer = self._stale_first(entry, fetch, patience)
            else:
                answer = self._waited(entry, fetch, patience)
        except CannotStart:
            report(catalogue.CACHE_ANSWERS, result="failed")
            raise
        _report(answer)
        return answer

    def _stale_first(self, entry: "_Entry", fetch: Fetch, patience: float) -> Answer:
        began, deadline = self._now(), self._clock() + SHORT
        while not entry.is_held():
            with locked_now(entry.lock) as ours:
                if ours:
                    try:
                        return self._current(entry, fetch, _Wait(began=began))
                    except NoAnswer:
                        break
            if self._clock() >= deadline:
                break
            self._pause()
        known = entry.value(self._fresh + self._stale)
        if known is None:  # it has become too old meanwhile
            return self._waited(entry, fetch, patience)
        return Answer(value=known["value"], stale=self._now() - known["at"])

    def _waited(self, entry: "_Entry", fetch: Fetch, patience: float) -> Answer:
        began, deadline = self._now(), self._clock() + patience
        while True:
            with locked_now(entry.lock) as ours:
                if ours:
                    left = max(0.0, deadline - self._clock())
                    wait = _Wait(began=began, patience=patience, left=left)
                    return self._current(entry, fetch, wait)
            if self._clock() >= deadline:
                raise NoAnswer(
                    f"another process of this host has been fetching {entry.key} for "
                    f"{patience:.0f} s",
                    hint="Other jobs of this host wait too: see their logs for what it waits for.",
                )
            self._pause()

    def _pause(self) -> None:
        self._sleep(POLL * random.uniform(0.5, 1.5))  # noqa: S311 - no secret

    def _current(self, entry: "_Entry", fetch: Fetch, wait: "_Wait") -> Answer:
        """Return what another process has fetched meanwhile, or fetch; the lock is held."""
        if (known := entry.value(self._fresh, since=wait.began)) is not None:
            return Answer(value=known["value"], stale=None)
        if (shared := entry.failure(wait.began, wait.patience)) is not None:
            raise shared
        asked = self._now()
        try:
            value = fetch(wait.left)
        except CannotStart as failed:
            entry.remember_failure(failed, wait.patience)
            raise
        entry.remember(value, asked)
        return Answer(value=value, stale=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wait:
    """When a process began to wait, and for how many seconds it would; by default it would not."""

    began: float
    patience: float = 0.0
    left: float = 0.0


class _Entry:
    """What this host knows about one key: its last value, and the failure since then."""

    def __init__(self, directory: Path, key: str, now: Now) -> None:
        self.key = key
        self._now = now
        self._value = directory / hashlib.sha256(key.encode()).hexdigest()[:32]
        self._failure = self._value.with_suffix(".failed")
        self.lock = self._value.with_suffix(".lock")

    def value(self, age: float, *, since: float | None = None) -> dict[str, Any] | None:
        """Return the value if it is younger than `age`, or asked for after `since`.

        None from the future counts: the clock was set back.
        """
        known, now = _read(self._value, _VALUE), self._now()
        if known is None or known["at"] > now:
            return None
        asked_since = since is not None and known["asked"] >= since
        return known if asked_since or now - known["at"] < age else None

    def failure(self, since: float, patience: float = 0.0) -> CannotStart | None:
        """Return the failure if it happened after `since`, or a few seconds ago.

        One after less than half of `patience` does not count.
        """
        known, now = _read(self._failure, _FAILURE), self._now()
        if known is None or known["at"] > now or known["patience"] < patience / 2:
            return None
        if known["at"] < since and known["until"] <= now:
            return None
        kind = NoAnswer if known["no_answer"] else CannotStart
        return kind(known["problem"], hint=known["hint"], details=tuple(known["details"]))

    def is_held(self) -> bool:
        """Say whether the last try got no answer a few seconds ago. Raises any other failure."""
        failed = self.failure(self._now())
        if failed is not None and not isinstance(failed, NoAnswer):
            raise failed
        return failed is not None

    def remember(self, value: Any, asked: float) -> None:  # noqa: ANN401 - is JSON
        known = {"key": self.key, "asked": asked, "at": self._now(), "value": value}
        files.write(self._value, json.dumps(known).encode())
        self._failure.unlink(missing_ok=True)

    def remember_failure(self, failed: CannotStart, patience: float) -> None:
        now = self._now()
        known = {
            "key": self.key,
            "patience": patience,
            "at": now,
            "until": now + HOLD * random.uniform(0.5, 1.5),  # noqa: S311 - hosts should differ
            "no_answer": isinstance(failed, NoAnswer),
            "problem": failed.problem,
            "hint": failed.hint,
            "details": failed.details,
        }
        files.write(self._failure, json.dumps(known).encode())


def _report(answer: Answer) -> None:
    """What another process fetched while this one waited counts as fetched too."""
    report(catalogue.CACHE_ANSWERS, result="fetched" if answer.stale is None else "stale")
    if answer.stale is not None:
        report(catalogue.STALE_SECONDS, answer.stale)


def _read(path: Path, members: frozenset[str]) -> dict[str, Any] | None:
    """Return what is known; None also for a file of another version of Airlock."""
    try:
        known: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return known if members <= known.keys() else None
