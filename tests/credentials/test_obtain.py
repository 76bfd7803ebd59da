"""Sessions are recorded as they are issued, and served although they cannot be."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootstrap.aws.model import Session, SessionRequest
from bootstrap.credentials.obtain import obtaining
from bootstrap.credentials.plan import plans
from bootstrap.errors import CannotStart
from bootstrap.grants.kind import DEFAULT, Sessions
from bootstrap.log import JobLog
from bootstrap.policy.decide import decide
from bootstrap.policy.model import Admitted
from bootstrap.record import Record
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
