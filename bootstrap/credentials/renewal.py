"""Keeping a session fresh for as long as its job runs."""

import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bootstrap.aws.model import Session, SessionRequest
from bootstrap.errors import AirlockError

SHORTEST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = 30.0  # seconds; a host that was suspended soon notices how late it is

Assume = Callable[[SessionRequest], Session]
Now = Callable[[], datetime]
Warn = Callable[[str], None]


def utc_now() -> datetime:
    """Return the current time in UTC, as sessions state their expiry."""
    return datetime.now(UTC)


def next_renewal(session: Session, issued: datetime) -> datetime:
    """Return when to renew: at half of the lifetime, but a second after `issued` at the earliest.

    With an hour, the limit for a chained role, 30 minutes always remain: SDKs ask again on every
    call once less than 15 do (docs/aws.md#when-sdks-come-back). The second keeps a host
    whose clock is far ahead from asking continuously.
    """
    return issued + max((session.expires - issued) / 2, SHORTEST_WAIT)


def pause(failures: int, lifetime: timedelta) -> float:
    """Return how many seconds to wait after that many failures in a row, before jitter.

    Doubles from one second to a minute, or to a twentieth of a lifetime that is shorter than 20
    minutes: half of it is left when the first try fails, so ten tries fit in.
    """
    longest = min(60.0, max(lifetime.total_seconds() / 20, 0.1))
    return min(2.0 ** min(failures - 1, 10), longest)


class Sessions:
    """One job's current session, for any thread; None once it has expired or after `close`."""

    def __init__(self, first: Session, *, now: Now = utc_now) -> None:
        self._current: Session | None = first
        self.now = now
        self._closed = False
        self._publish: Callable[[Session], object] = lambda _: None
        self._lock = threading.Lock()

    def current(self) -> Session | None:
        """Return the session to serve, or None once it has expired or the job has ended."""
        session = self._current
        return session if session and session.expires > self.now() else None

    def publish(self, to: Callable[[Session], object]) -> None:
        """Call `to` with the current session and with every later one."""
        with self._lock:
            self._publish = to
            if self._current:
                to(self._current)

    def replace(self, fresh: Session) -> bool:
        """Serve `fresh` from now on. After `close`, discard it and return False."""
        with self._lock:
            if not self._closed:
                self._publish(fresh)
                self._current = fresh
            return not self._closed

    def close(self) -> None:
        """Discard the session, and serve none from now on."""
        with self._lock:
            self._closed, self._current = True, None


class Renewal:
    """The thread that renews `sessions` until `close`."""

    def __init__(
        self,
        sessions: Sessions,
        first: Session,
        request: SessionRequest,
        assume: Assume,
        *,
        warn: Warn,
    ) -> None:
        self._sessions = sessions
        self._request = request
        self._assume = assume
        self._warn = warn
        self._now = sessions.now
        self._issued = self._now()
        self._expires = first.expires
        self._due = next_renewal(first, self._issued)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop at once. What STS answers to a call that is under way is discarded."""
        self._closing.set()
        self._sessions.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            left = (self._due - self._now()).total_seconds()
            if left > 0:
                self._closing.wait(min(left, LONGEST_WAIT))
            else:
                self._renew()

    def _renew(self) -> None:
        """Renew, however long it takes, with one warning per outage and one when it is over."""
        failures = 0
        while not self._closing.is_set():
            try:
                self._replace(self._assume(self._request), after_outage=failures > 0)
            except Exception as problem:  # noqa: BLE001 - a dead thread would renew and report nothing
                failures += 1
                self._back_off(failures, problem)
            else:
                return

    def _back_off(self, failures: int, problem: Exception) -> None:
        if self._closing.is_set():
            return
        if failures == 1:
            why = problem.problem if isinstance(problem, AirlockError) else type(problem).__name__
            self._warn(
                f"credentials cannot be renewed and expire at {self._expires:%H:%M:%S} UTC: {why}"
            )
        jitter = random.uniform(0.5, 1)  # noqa: S311 - spreads a fleet's tries, guards nothing
        self._closing.wait(jitter * pause(failures, self._expires - self._issued))

    def _replace(self, fresh: Session, *, after_outage: bool) -> None:
        if not self._sessions.replace(fresh):
            return
        self._issued, self._expires = self._now(), fresh.expires
        self._due = next_renewal(fresh, self._issued)
        if after_outage:
            self._warn(
                f"credentials were renewed after an outage, until {fresh.expires:%H:%M:%S} UTC"
            )
