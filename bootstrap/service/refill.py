"""When networks are prepared in place of those that jobs have taken.

Preparing one takes the processors for as long as a start without one. So it waits until no job
starts: while many do, those that find none would be later for the sake of jobs that may never come.
"""

PAUSE = 1.0  # seconds after the last start: the next job in a row gets the processors first
LONGEST = 30.0  # seconds after which networks are prepared all the same


class Refill:
    """Follows the starts of jobs. All times are monotonic."""

    def __init__(self) -> None:
        self._last = 0.0  # the last start of a job of which this knows
        self._since: float | None = None  # the first one after the last time

    def due(self, now: float, *, starting: bool, last: float) -> float | None:
        """Return when to prepare, and not before; None if that is as it was.

        `starting` is whether a job waits for its start or is being started, `last` when one was.
        """
        latest = now if starting else last
        if latest <= self._last:
            return None
        self._last = latest
        if self._since is None:
            self._since = latest
        return min(latest + PAUSE, self._since + LONGEST)

    def began(self) -> None:
        """Networks are being prepared."""
        self._since = None
