"""Keeping a session fresh for as long as its job runs."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from bootstrap.credentials.model import Session, SessionRequest
from bootstrap.errors import AirlockError

RETRY_SHORTEST, RETRY_LONGEST = 1.0, 60.0  # seconds

Assume = Callable[[SessionRequest], Session]
Say = Callable[[str], None]


def utc_now() -> datetime:
    """Return the time, as every session's end is told."""
    return datetime.now(UTC)


def next_renewal(session: Session, issued: datetime) -> datetime:
    """Say when to renew: at half of the lifetime.

    With an hour, which is all that a chained role gets, 30 minutes always remain: SDKs re-ask on
    every call once less than 15 do (reference A3).
    """
    return issued + (session.expires - issued) / 2


class Sessions:
    """One job's current session: renewed in the background, dropped when closed."""

    def __init__(
        self, first: Session, request: SessionRequest, assume: Assume, *, warn: Say
    ) -> None:
        self._current: Session | None = first
        self._request = request
        self._assume = assume
        self._warn = warn
        self._issued = utc_now()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def current(self) -> Session | None:
        """Return the session to hand out, or None once it has expired or the job has ended."""
        session = self._current
        return session if session and session.expires > utc_now() else None

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def close(self) -> None:
        """Hand out nothing any more."""
        self._closing.set()
        self._current = None

    def _run(self) -> None:
        while session := self._current:
            due = next_renewal(session, self._issued) - utc_now()
            if self._closing.wait(max(0.0, due.total_seconds())) or not self._renew(session):
                return

    def _renew(self, old: Session) -> bool:
        """Renew, however long it takes; one line per outage. False if the job ended meanwhile."""
        pause, outage = RETRY_SHORTEST, False
        while not self._closing.is_set():
            try:
                fresh = self._assume(self._request)
            except AirlockError as problem:
                if not outage:
                    self._warn(
                        f"credentials cannot be renewed and end at {old.expires:%H:%M:%S} UTC: "
                        f"{problem.problem}"
                    )
                outage = True
                pause = self._pause(pause, old)
            else:
                return self._replace(fresh, after_outage=outage)
        return False

    def _pause(self, pause: float, old: Session) -> float:
        """Wait before the next try: never longer than a tenth of what the old session has left."""
        left = (old.expires - utc_now()).total_seconds()
        self._closing.wait(min(pause, max(0.2, left / 10)) if left > 0 else pause)
        return min(pause * 2, RETRY_LONGEST)

    def _replace(self, fresh: Session, *, after_outage: bool) -> bool:
        if self._closing.is_set():
            return False
        self._issued, self._current = utc_now(), fresh
        if after_outage:
            self._warn(f"credentials were renewed after all, until {fresh.expires:%H:%M:%S} UTC")
        return True
