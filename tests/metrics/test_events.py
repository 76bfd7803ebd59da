"""From the events of the audit trail to metrics: each job counts once, by how it ended."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bootstrap.admission import record_decision
from bootstrap.errors import (
    AirlockError,
    CannotStart,
    InternalError,
    Refused,
    StatusUnknown,
    WrongConfiguration,
)
from bootstrap.metrics import report
from bootstrap.policy.decide import decide
from bootstrap.record import Record
from tests.policy.given import claims, policy

Counted = list[tuple[str, list[str], float]]
RULES = "  - name: deploy\n    when: {branch: main, queue: deploy}\n    allow: {}\n"


@pytest.fixture
def counted(tmp_path: Path) -> Callable[[], Counted]:
    """Samples that were reported since the start of the test, all but histograms'."""
    reader = report.create(tmp_path)

    def read() -> Counted:
        lines = os.read(reader, 1 << 20).splitlines()
        rows = (tuple(row) for line in lines for row in json.loads(line))
        return [row for row in rows if not row[0].endswith("_seconds")]

    return read


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "records.jsonl", "2026-11-23T12:00:00Z")


def ended(record: Record, kind: str, **how: object) -> None:
    record.ended(status={"kind": "exit", "code": 0}, ended={"kind": kind, **how})


@pytest.mark.parametrize(
    ("kind", "how", "outcome"),
    [
        ("exited", {"code": 0}, "passed"),
        ("exited", {"code": 77}, "failed"),
        ("cancelled", {}, "cancelled"),
        ("overdue", {}, "overdue"),
        ("breached", {}, "stopped"),
        ("evicted", {}, "stopped"),
        ("unknown", {}, "unknown"),
        ("a kind of a later version", {}, "other"),
    ],
)
def test_end_counts_by_its_kind(
    record: Record, counted: Callable[[], Counted], kind: str, how: dict[str, Any], outcome: str
) -> None:
    ended(record, kind, **how)
    assert counted() == [("jobs", [outcome], 1)]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (WrongConfiguration, "wrong_configuration"),
        (CannotStart, "could_not_start"),
        (StatusUnknown, "unknown"),
    ],
)
def test_failure_counts_by_its_class(
    record: Record, counted: Callable[[], Counted], error: type[AirlockError], outcome: str
) -> None:
    record.failed(error("x", hint="y"))
    assert counted() == [("jobs", [outcome], 1)]


def test_calls_of_a_gateway_count_by_what_became_of_them(
    record: Record, counted: Callable[[], Counted]
) -> None:
    use = {"tokens": {"a": 2, "b": 1}, "secrets": {}, "calls": {"annotate the build": 4}}
    record.agent_api({**use, "refused": [], "refusals": 7})
    assert counted() == [
        ("agent_api_calls", ["token"], 3),
        ("agent_api_calls", ["call"], 4),
        ("agent_api_calls", ["refused"], 7),
    ]


def test_refusals_of_a_list_count_by_what_they_are(
    record: Record, counted: Callable[[], Counted]
) -> None:
    use = {"mode": "enforce", "refused_packets": 3, "refusals": 5}
    record.egress(use)
    record.egress({**use, "mode": "observe", "refusals": 0})
    assert counted() == [("egress_refusals", ["lookup"], 2), ("egress_refusals", ["packet"], 3)]


def test_a_job_counts_once_for_each_limit_of_the_network(
    record: Record, counted: Callable[[], Counted]
) -> None:
    record.connections({"refused": 9, "over_open": 7, "over_opened": 0, "over_asked": 2})
    assert counted() == [
        ("connection_limits", ["open"], 1),
        ("connection_limits", ["asked"], 1),
    ]


def test_bug_counts_as_one_and_as_the_jobs_outcome(
    record: Record, counted: Callable[[], Counted]
) -> None:
    record.failed(InternalError("x", hint="y"))
    assert counted() == [("internal_errors", [], 1), ("jobs", ["internal_error"], 1)]


@pytest.mark.parametrize(
    ("rules", "branch", "reason"),
    [(RULES, "feature", "branch"), (RULES, "main", "queue"), ("[]", "main", "policy-mismatch")],
)
def test_refusal_counts_once_by_the_condition_that_failed(
    record: Record, counted: Callable[[], Counted], rules: str, branch: str, reason: str
) -> None:
    known = {"BUILDKITE_BRANCH": branch, "BUILDKITE_AGENT_META_DATA_QUEUE": "default"}
    repository = {} if rules == RULES else {"BUILDKITE_REPO": "git@example.com:other.git"}
    denied = decide(claims(**known, **repository), policy(RULES))
    record_decision(denied, record)
    record.failed(Refused("no rule admits it", hint="x"))
    assert counted() == [("refusals", [reason], 1), ("jobs", ["refused"], 1)]


def test_job_without_a_policy_and_refused_job_without_a_decision_have_reasons_of_their_own(
    record: Record, counted: Callable[[], Counted], tmp_path: Path
) -> None:
    record_decision(decide(claims(), None), record)
    Record(tmp_path / "records.jsonl", "").failed(Refused("a plugin has a bad name", hint="x"))
    assert counted() == [
        ("refusals", ["no-policy"], 1), ("jobs", ["refused"], 1),
        ("refusals", ["job"], 1), ("jobs", ["refused"], 1),
    ]  # fmt: skip


def test_observed_refusal_is_no_end_of_the_job(
    record: Record, counted: Callable[[], Counted]
) -> None:
    record_decision(decide(claims(), None), record, enforced=False)
    ended(record, "exited", code=0)
    assert counted() == [("observed_refusals", ["no-policy"], 1), ("jobs", ["passed"], 1)]


def test_name_that_a_policy_chose_is_no_label(
    record: Record, counted: Callable[[], Counted]
) -> None:
    rules = "  - name: x\n    when: {env: {DEPLOY_TO_CUSTOMER_4711: 'yes'}}\n    allow: {}\n"
    record_decision(decide(claims(), policy(rules)), record)
    assert counted() == [("refusals", ["env"], 1), ("jobs", ["refused"], 1)]


def test_start_has_the_duration_of_each_phase_and_of_all(record: Record, tmp_path: Path) -> None:
    reader = report.create(tmp_path)
    record.timings.update({"policy": 0.5, "proof": 0.25, "a new phase": 1.0})
    record.sandbox(firewall_reloaded=True)
    assert json.loads(os.read(reader, 4096)) == [
        ["phase_seconds", ["policy"], 0.5],
        ["phase_seconds", ["proof"], 0.25],
        ["phase_seconds", ["other"], 1.0],
        ["start_seconds", [], 1.75],
        ["ruleset_loads", [], 1],
    ]
