"""A session is renewed while its job runs, through outages, and discarded at its end."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bootstrap.aws.model import Session, SessionRequest
from bootstrap.credentials.renewal import Renewal, Sessions, next_renewal, pause
from bootstrap.errors import CannotStart
from tests.credentials.given import eventually, request, session


class Issuer:
    """Issues numbered sessions of `seconds`; raises `failing` as long as it is set."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked = 0
        self.failing: Exception | None = None

    def __call__(self, _: SessionRequest) -> Session:
        self.asked += 1
        if self.failing:
            raise self.failing
        return session(seconds=self.seconds, key=f"ASIA{self.asked}")


def renewing(issuer: Issuer, warnings: list[str]) -> tuple[Sessions, Renewal]:
    first = session(seconds=issuer.seconds, key="ASIAFIRST")
    sessions = Sessions(first)
    renewal = Renewal(sessions, first, request(), issuer, warn=warnings.append)
    renewal.start()
    return sessions, renewal


@pytest.mark.parametrize(("hours", "minutes"), [(0.25, 7.5), (1, 30), (12, 360)])
def test_next_renewal_leaves_half_of_session(hours: float, minutes: float) -> None:
    issued = datetime.now(UTC)
    one = replace(session(), expires=issued + timedelta(hours=hours))
    assert one.expires - next_renewal(one, issued) == timedelta(minutes=minutes)


def test_a_session_that_expired_at_once_is_renewed_after_a_second() -> None:
    issued = datetime.now(UTC)
    assert next_renewal(session(seconds=-3600), issued) == issued + timedelta(seconds=1)


def test_pauses_double_up_to_a_minute_and_ten_tries_fit_into_15_minutes() -> None:
    hour = timedelta(hours=1)
    assert [pause(n, hour) for n in (1, 2, 3, 10, 1000)] == [1, 2, 4, 60, 60]
    assert sum(pause(n, timedelta(minutes=15)) for n in range(1, 11)) < 15 * 60 / 2


def test_a_renewal_warns_of_nothing() -> None:
    warnings: list[str] = []
    sessions, renewal = renewing(Issuer(3), warnings)
    try:
        eventually(lambda: (now := sessions.current()) and now.access_key_id == "ASIA1")
        assert warnings == []
    finally:
        renewal.close()


def test_an_outage_is_two_warnings() -> None:
    warnings: list[str] = []
    issuer = Issuer(3)
    issuer.failing = CannotStart("STS is away", hint="wait")
    sessions, renewal = renewing(issuer, warnings)
    try:
        eventually(lambda: issuer.asked >= 4)
        assert len(warnings) == 1
        assert "STS is away" in warnings[0]
        issuer.failing = None
        eventually(lambda: len(warnings) == 2)
        assert "renewed after an outage" in warnings[1]
        now = sessions.current()
        assert now
        assert now.access_key_id != "ASIAFIRST"
    finally:
        renewal.close()


def test_an_unexpected_error_does_not_end_the_thread() -> None:
    warnings: list[str] = []
    issuer = Issuer(3)
    issuer.failing = ZeroDivisionError()
    _, renewal = renewing(issuer, warnings)
    try:
        eventually(lambda: issuer.asked >= 2)
        assert "ZeroDivisionError" in warnings[0]
    finally:
        renewal.close()


def test_a_session_that_arrives_after_close_is_discarded() -> None:
    """STS answers a call that was under way when the job ended: that session must not be served."""
    asked, answer = threading.Event(), threading.Event()

    def slow(_: SessionRequest) -> Session:
        asked.set()
        answer.wait(10)
        return session(key="ASIALATE")

    first = session(seconds=1)
    sessions = Sessions(first)
    warnings: list[str] = []
    renewal = Renewal(sessions, first, request(), slow, warn=warnings.append)
    renewal.start()
    assert asked.wait(10)
    renewal.close()
    answer.set()
    assert sessions.current() is None
    assert not sessions.replace(session(key="ASIALATER"))
    assert sessions.current() is None
    assert warnings == []
