"""The hook's verdict counts for exactly what it was about, once, and for a minute."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap import admission
from bootstrap.caller import Decided
from bootstrap.errors import Refused
from bootstrap.host.config import Host
from bootstrap.job.assemble import agent_of, claims_of
from bootstrap.job.digest import digest
from bootstrap.job.model import Agent, Claims
from bootstrap.log import JobLog
from bootstrap.record import Record
from bootstrap.secret import Secret
from bootstrap.service.verdict import LIFETIME, Verdict, admit_by, unpacked, verdict
from bootstrap.service.verdicts import Verdicts
from tests.job.given import job_env, process_env
from tests.test_admission import host


def read(**env: str) -> tuple[Claims, Agent]:
    sent = job_env(**env)
    return claims_of(sent, process_env()), agent_of(sent, process_env())


def decided(settings: Host, claims: Claims, agent: Agent) -> Verdict:
    """Decide as the hook's worker does, and return the verdict as another process gets it."""
    record = Record(settings.paths.records, "now")
    confirmed, admitted = admission.admit(claims, agent, settings, record, JobLog(lambda _: None))
    found = Decided(
        claims=claims, confirmed=confirmed, admitted=admitted, agent=agent, record=record
    )
    return unpacked(verdict(found, 3).packed())


def used(
    found: Verdict, settings: Host, claims: Claims, agent: Agent, *, generation: int = 3
) -> list[dict[str, Any]]:
    """Admit the job by this verdict, and return the events of both workers."""
    record = Record(settings.paths.records, "now")
    admit_by(found, generation)(claims, agent, settings, record, JobLog(lambda _: None))
    return [json.loads(line) for line in settings.paths.records.read_text().splitlines()]


def test_verdict_about_the_same_claims_counts(tmp_path: Path) -> None:
    settings, (claims, agent) = host(tmp_path), read()
    found = decided(settings, claims, agent)
    admitted, event = used(found, settings, *read())
    assert (admitted["event"], event["event"]) == ("admitted", "verdict")
    assert event["used"]
    assert event["why"] == ""
    assert event["claims"] == admitted["claims"] == digest(claims, agent.values)


def test_job_s_own_record_has_what_the_hook_decided(tmp_path: Path) -> None:
    settings, (claims, agent) = host(tmp_path), read()
    found = decided(settings, claims, agent)
    record = Record(settings.paths.records, "now")
    admit_by(found, 3)(claims, agent, settings, record, JobLog(lambda _: None))
    record.save(tmp_path / "jobs", 0)
    (path,) = (tmp_path / "jobs").iterdir()
    assert [one["event"] for one in json.loads(path.read_text())["events"]] == [
        "admitted",
        "verdict",
    ]


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"BUILDKITE_COMMAND": "rm -rf /"}, "facts, BUILDKITE_COMMAND"),
        ({"BUILDKITE_MESSAGE": "another"}, "BUILDKITE_MESSAGE"),
        ({"API_TOKEN": "a secret"}, "API_TOKEN"),
        ({"BUILDKITE_REPO": "git@github.com:acme/other.git"}, "repository, facts, BUILDKITE_REPO"),
    ],
)
def test_verdict_about_other_claims_is_decided_anew(
    tmp_path: Path, env: dict[str, str], why: str
) -> None:
    settings = host(tmp_path, "  - {name: main, when: {branch: main}, allow: {}}\n")
    found = decided(settings, *read())
    try:
        events = used(found, settings, *read(**env))
    except Refused:
        events = [json.loads(line) for line in settings.paths.records.read_text().splitlines()]
    assert [event["event"] for event in events][:2] == ["admitted", "verdict"]
    assert not events[1]["used"]
    assert why in events[1]["why"]
    assert events[2]["event"] in {"admitted", "denied"}


def test_job_that_differs_is_refused_if_no_rule_admits_it(tmp_path: Path) -> None:
    settings = host(tmp_path)
    found = decided(settings, *read())
    with pytest.raises(Refused, match="no rule"):
        used(found, settings, *read(BUILDKITE_BRANCH="other"))


def test_another_token_or_configuration_or_time_is_decided_anew(tmp_path: Path) -> None:
    settings, (claims, agent) = host(tmp_path), read()
    found = decided(settings, claims, agent)
    other = replace(agent, token=Secret("bkaj_another"))
    late = replace(found, decided=time.monotonic() - LIFETIME - 1)
    for events in (
        used(found, settings, claims, other),
        used(found, settings, claims, agent, generation=4),
        used(late, settings, claims, agent),
    ):
        assert events[-2]["event"] == "verdict"
        assert not events[-2]["used"]
        assert events[-1]["event"] == "admitted"


def test_digest_of_claims_has_no_secret_in_it() -> None:
    claims, agent = read(API_TOKEN="one")
    other, _ = read(API_TOKEN="two")
    assert claims != other
    assert digest(claims, agent.values) == digest(other, agent.values)
    assert digest(claims, agent.values) != digest(read(CI="no")[0], agent.values)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened() -> int:
    return os.memfd_create("verdict")


def test_verdict_is_given_once_and_to_its_user_alone() -> None:
    kept, descriptor = Verdicts(), opened()
    kept.keep(2000, "job", descriptor, limit=4)
    assert kept.take(2001, "job") is None
    assert kept.take(2000, "other") is None
    assert kept.take(2000, "job") == descriptor
    assert kept.take(2000, "job") is None
    os.close(descriptor)


def test_verdict_expires_and_its_descriptor_is_closed() -> None:
    clock, descriptor = Clock(), opened()
    kept = Verdicts(clock)
    kept.keep(2000, "job", descriptor, limit=4)
    clock.now = LIFETIME + 1
    kept.expire()
    assert len(kept) == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_user_s_oldest_verdict_makes_way_and_no_other_user_s() -> None:
    kept = Verdicts()
    kept.keep(2001, "other", opened(), limit=2)
    for number in range(5):
        kept.keep(2000, f"job-{number}", opened(), limit=2)
    assert len(kept) == 3
    assert kept.take(2000, "job-0") is None
    for uid, job in ((2000, "job-3"), (2000, "job-4"), (2001, "other")):
        found = kept.take(uid, job)
        assert found is not None
        os.close(found)
