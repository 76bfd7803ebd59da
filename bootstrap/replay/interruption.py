"""A developer who ends a replay: the first Ctrl-C cancels the job, the next one kills it."""

import os
import time
from contextlib import suppress
from types import FrameType

from bootstrap.sandbox.supervision.signals import Cancellation

# Seconds: a program that passes on what the terminal sent to all of them sends it twice.
SAME = 0.3
HINT = "the job is cancelled as the agent does it; Ctrl-C once more kills it at once"


class Interruption(Cancellation):
    """A cancellation that counts a later signal, too. `descriptor` has one more byte then."""

    insisted = False  # a second signal has come: end it without the hooks of the job

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal."""
        if self.received is not None and time.monotonic() - self.received >= SAME:
            self.insisted = True
            with suppress(BlockingIOError):  # the descriptor is readable anyway
                os.write(self._writer, b"!")
        super().note(number, frame)
