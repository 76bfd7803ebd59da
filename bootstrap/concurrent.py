"""Work beside the main thread, which alone handles signals.

A signal ends the main thread's wait in `Begun.result`. A thread that is no longer waited for ends
with the process. So what it does must leave nothing behind that belongs to a job: it asks AWS, or
sets up what all jobs share.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Begun(Generic[T]):
    """A call in a thread of its own, begun at once."""

    def __init__(self, work: Callable[[], T], name: str) -> None:
        self._work = work
        self._done = threading.Event()
        self._results: list[T] = []
        self._failure: BaseException | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def result(self) -> T:
        """Wait for the call's end; return what it returned or raise what it raised."""
        self._done.wait()
        if self._failure is not None:
            raise self._failure
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as failure:  # noqa: BLE001 - raised in the thread that asks
            self._failure = failure
        finally:
            self._done.set()
