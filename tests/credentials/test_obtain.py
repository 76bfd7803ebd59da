"""Sessions are recorded as they are issued, and served although they cannot be."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from bootstrap.aws.model import Session, SessionRequest
from bootstrap.credentials.obtain import obtaining
from bootstrap.credentials.plan import plans
from bootstrap.credentials.renewal import Assume
from bootstrap.errors import AirlockError, CannotStart, WrongConfiguration
from bootstrap.grants.kind import DEFAULT, Obtained, Sessions
from bootstrap.log import JobLog
from bootstrap.policy.decide import decide
from bootstrap.policy.model import Admitted
from bootstrap.record import Record
from bootstrap.sandbox.supervision.signals import CancelledEarly
from tests.credentials.given import ROLE, eventually, host, session
from tests.policy.given import claims, policy
from tests.test_appended import space
from tests.test_record import events

RULE = f"  - {{name: all, allow: {{role: '{ROLE}'}}}}\n"


class Sts:
    """Issues sessions of four seconds, numbered."""

    def __init__(self) -> None:
        self.issued = 0

    def __call__(self, _: SessionRequest) -> Session:
        self.issued += 1
        return session(seconds=4, key=f"ASIA{self.issued}")


@contextmanager
def serving(directory: Path, sts: Sts, record: Record) -> Iterator[Sessions]:
    aws = host(directory, None)
    admitted = decide(claims(), policy(RULE))
    assert isinstance(admitted, Admitted)
    log = JobLog(lambda _: None)
    requests = plans(claims(), admitted.grant, rule=admitted.rule)
    with obtaining(requests, admitted.grant, aws, sts, log=log, record=record) as obtained:
        yield obtained().sessions[DEFAULT]


def test_a_renewed_session_is_served_although_the_disk_is_full(tmp_path: Path) -> None:
    path, sts = tmp_path / "records.jsonl", Sts()
    record, alerts = Record(path, "now"), list[str]()
    with serving(tmp_path, sts, record) as sessions:
        record.began(alerts.append)
        with space(path, 0):
            eventually(lambda: (now := sessions.current()) and now.access_key_id == "ASIA2")
            assert sts.issued == 2, "it is not asked for again and again"
            assert sessions.current()
            assert record.unwritten() == 1
        assert len(alerts) == 1
        assert record.unwritten() == 0
    assert [event["event"] for event in events(path)] == ["session", "session"]


def test_a_job_does_not_begin_with_a_session_that_cannot_be_recorded(tmp_path: Path) -> None:
    sts = Sts()
    with (
        pytest.raises(CannotStart, match="the audit record cannot be written"),
        serving(tmp_path, sts, Record(Path("/dev/full"), "now")),
    ):
        pytest.fail("nothing may be served")
    assert sts.issued == 1


def obtaining_of(
    directory: Path, rules: str, assume: Assume, record: Record, log: JobLog | None = None
) -> AbstractContextManager[Callable[[], Obtained]]:
    admitted = decide(claims(), policy(rules))
    assert isinstance(admitted, Admitted)
    requests = plans(claims(), admitted.grant, rule=admitted.rule)
    log = log or JobLog(lambda _: None)
    return obtaining(
        requests, admitted.grant, host(directory, None), assume, log=log, record=record
    )


def names(path: Path) -> list[str]:
    return [event["event"] for event in events(path)]


def test_all_roles_are_requested_at_once(tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=10)

    def assume(_: SessionRequest) -> Session:
        together.wait()
        return session()

    roles = ", ".join(f"{name}: '{ROLE}-{name}'" for name in ("audit", "logs"))
    rules = f"  - {{name: all, allow: {{role: '{ROLE}', roles: {{{roles}}}}}}}\n"
    path = tmp_path / "records.jsonl"
    with obtaining_of(tmp_path, rules, assume, Record(path, "now")) as obtained:
        assert set(obtained().sessions) == {DEFAULT, "audit", "logs"}
        assert obtained() is obtained()
    assert names(path) == ["session"] * 3, "each is recorded once"


def test_nothing_is_waited_for_when_the_agent_cancels(tmp_path: Path) -> None:
    never = threading.Event()

    def assume(_: SessionRequest) -> Session:
        never.wait(60)
        return session()

    path = tmp_path / "records.jsonl"
    began = time.monotonic()
    with (
        pytest.raises(CancelledEarly),
        obtaining_of(tmp_path, RULE, assume, Record(path, "now")),
    ):
        raise CancelledEarly(Signals.SIGTERM)
    cancelled = CannotStart("cleaning up failed", hint="")
    cancelled.__context__ = CancelledEarly(Signals.SIGTERM)  # as where a `with` cleans up
    with (
        pytest.raises(CannotStart, match="cleaning up"),
        obtaining_of(tmp_path, RULE, assume, Record(path, "now")),
    ):
        raise cancelled
    assert time.monotonic() - began < 10
    never.set()
    assert names(path) == []


def test_a_session_is_recorded_although_the_container_did_not_start(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with (
        pytest.raises(CannotStart, match="no engine"),
        obtaining_of(tmp_path, RULE, Sts(), Record(path, "now")),
    ):
        raise CannotStart("no engine", hint="start it")
    assert names(path) == ["session"]


@pytest.mark.parametrize(
    ("container", "grant", "raised"),
    [
        (CannotStart, CannotStart, "grant"),
        (CannotStart, WrongConfiguration, "grant"),
        (WrongConfiguration, CannotStart, "container"),
        (WrongConfiguration, WrongConfiguration, "grant"),
        (KeyError, CannotStart, "grant"),
    ],
)
@pytest.mark.parametrize("first", ["container", "grant"])
def test_which_of_two_failures_is_raised_does_not_depend_on_time(
    tmp_path: Path, container: Any, grant: type[AirlockError], raised: str, first: str
) -> None:
    gate = threading.Event()

    def assume(_: SessionRequest) -> Session:
        gate.wait(10)
        raise grant("grant", hint="x")

    failure = KeyError("container") if container is KeyError else container("container", hint="x")

    def opening(obtained: Callable[[], Obtained]) -> None:
        if first == "grant":
            gate.set()
            with pytest.raises(AirlockError, match="grant"):
                obtained()
        else:
            threading.Timer(0.2, gate.set).start()
        raise failure

    record = Record(tmp_path / "records.jsonl", "now")
    with (
        pytest.raises((AirlockError, KeyError), match=raised),
        obtaining_of(tmp_path, RULE, assume, record) as obtained,
    ):
        opening(obtained)
