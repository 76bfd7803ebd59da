"""What the service does beside jobs: none of it may block the service, or fail it."""

from typing import Protocol


class Chores(Protocol):
    """Called by the service's loop, in its one thread."""

    def ready(self) -> None:
        """The service accepts requests from now on."""

    def patience(self) -> float | None:
        """Return the seconds until there is something to do; None for never."""

    def run(self) -> None:
        """Do what is due, in a process of its own if it takes more than a moment."""

    def accepted(self) -> None:
        """A connection has got a worker."""

    def refused(self, kind: str, problem: str) -> None:
        """A connection gets none; `kind` is one of those in the metrics' catalogue."""

    def worker_ended(self, status: int) -> None:
        """A worker has ended, with this status of `waitpid`."""

    def ended(self, pid: int, status: int) -> None:
        """A child of the service that is no worker has ended, with this status of `waitpid`."""

    def stopping(self, *, upgrading: bool) -> None:
        """The service ends, or is replaced in this process."""
