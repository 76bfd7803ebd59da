"""Refused calls on their way to the audit trail, which a job must not be able to fill."""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from bootstrap.agent_api.model import RefusedCall
from bootstrap.errors import AirlockError
from bootstrap.text import printable

MOST = 50  # different calls of one job that are reported
LIMIT = 300  # characters of a text


class Refusals:
    """Reports each different call once, and at the end how many more there were."""

    def __init__(self, report: Callable[[RefusedCall], None]) -> None:
        self._report = report
        self._mutex = threading.Lock()
        self._known: set[RefusedCall] = set()
        self._waiting: deque[RefusedCall] = deque()
        self._more = 0

    def add(self, method: str, path: tuple[str, ...], why: str) -> bool:
        """Return whether `flush` has something to report now. Waits for nothing."""
        call = RefusedCall(
            method=printable(method),
            path=printable("/" + "/".join(path), limit=LIMIT),
            why=printable(why, limit=LIMIT),
        )
        with self._mutex:
            if call in self._known or len(self._known) >= MOST:
                self._more += 1
                return False
            self._known.add(call)
            self._waiting.append(call)
        return True

    def flush(self) -> None:
        """Report the calls that wait for it."""
        while True:
            try:
                call = self._waiting.popleft()
            except IndexError:
                return
            with suppress(AirlockError):  # the call was refused, reported or not
                self._report(call)

    def close(self) -> None:
        """Report the rest, and what was not reported by its number."""
        self.flush()
        if self._more:
            why = f"{self._more} more refused calls are not listed"
            with suppress(AirlockError):
                self._report(RefusedCall(method="", path="", why=why))
