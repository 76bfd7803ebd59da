"""What the service does beside jobs: none of it may block the service, or fail it."""

from collections.abc import Mapping
from typing import Any, Protocol


class Chores(Protocol):
    """Called by the service's loop, in its one thread."""

    def ready(self) -> None:
        """The service accepts requests from now on."""

    def patience(self) -> float | None:
        """Return the seconds until there is something to do; None for never."""

    def run(self) -> None:
        """Do what is due, in a process of its own if it takes more than a moment."""

    def reported(self, facts: Mapping[str, Any]) -> None:
        """A worker reports what happened."""

    def ended(self, pid: int, status: int) -> None:
        """A child of the service that is no worker has ended, with this status of `waitpid`."""

    def stopping(self) -> None:
        """The service ends, or is replaced."""


class NoChores:
    """Does nothing."""

    def ready(self) -> None:
        """Do nothing."""

    def patience(self) -> float | None:
        """Return None."""
        return None

    def run(self) -> None:
        """Do nothing."""

    def reported(self, facts: Mapping[str, Any]) -> None:
        """Do nothing."""

    def ended(self, pid: int, status: int) -> None:
        """Do nothing."""

    def stopping(self) -> None:
        """Do nothing."""
