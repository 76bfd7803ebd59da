"""A bounded number of threads in which calls may wait: for a disk, or for Buildkite."""

import threading
from collections import deque
from collections.abc import Callable

Work = Callable[[], None]


class Workers:
    """Runs each work in a thread, at most `most` at a time, up to `waiting` others in their order.

    What a work raises ends its thread, and no other work. The threads do not keep the process
    alive.
    """

    def __init__(self, most: int, *, waiting: int, name: str) -> None:
        self._most = most
        self._most_waiting = waiting
        self._name = name
        self._waiting: deque[tuple[Work, Work]] = deque()  # each with what is done in its place
        self._running = 0
        self._closed = False
        self._changed = threading.Condition()

    def run(self, work: Work, *, instead: Work = lambda: None) -> None:
        """Run it soon, or `instead` once closed. Raises RuntimeError if there can be no thread.

        And if too many wait: a job makes calls faster than Buildkite answers them.
        """
        with self._changed:
            if self._closed:
                instead()
                return
            if self._running >= self._most:
                if len(self._waiting) >= self._most_waiting:
                    raise RuntimeError("too many wait")
                self._waiting.append((work, instead))
                return
            thread = threading.Thread(
                target=self._serve, args=(work,), name=self._name, daemon=True
            )
            thread.start()
            self._running += 1

    def close(self, patience: float) -> bool:
        """Start no further work; return whether all that runs has ended within `patience` s."""
        with self._changed:
            self._closed = True
            while self._waiting:
                _, instead = self._waiting.popleft()
                instead()
            return self._changed.wait_for(lambda: not self._running, patience)

    def _serve(self, work: Work) -> None:
        following: Work | None = work
        while following:
            try:
                following()
            finally:
                following = self._next()

    def _next(self) -> Work | None:
        with self._changed:
            if self._waiting:
                return self._waiting.popleft()[0]
            self._running -= 1
            self._changed.notify_all()
            return None
