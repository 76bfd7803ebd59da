"""What a job's log and record have of what it reached and was refused."""

import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from bootstrap.log import JobLog
from bootstrap.record import Record
from bootstrap.sandbox.egress.opening import report_use
from bootstrap.sandbox.egress.use import Names, Use
from bootstrap.secret import Secret


def reported(tmp_path: Path, use: Use | None, *secrets: Secret) -> tuple[str, list[dict[str, Any]]]:
    lines: list[bytes] = []
    job_log = JobLog(lines.append)
    job_log.mask(*secrets)
    record = Record(tmp_path / "records.jsonl", "now")
    report_use(job_log, record, "tests", use)
    events = (tmp_path / "records.jsonl").read_text().splitlines() if use else []
    return b"".join(lines).decode(), [json.loads(event) for event in events]


def test_refusals_are_in_the_log_and_in_the_record(tmp_path: Path) -> None:
    use = Use(observe=False, names=Names(refused={"a.example": 2}), targets={})
    log, (event,) = reported(tmp_path, use)
    assert "Airlock: egress of rule 'tests' does not allow 2 lookups" in log
    assert (event["event"], event["refused_names"]) == ("egress", {"a.example": 2})


@pytest.mark.parametrize("observe", [True, False])
def test_a_secret_in_a_name_is_masked_also_in_small_letters(
    tmp_path: Path, *, observe: bool
) -> None:
    """A wildcard allows it, and it is looked up and kept in small letters."""
    name, address = "c0rrecthorse.example.com", IPv4Address("203.0.113.7")
    names = Names(asked={name: 1}, leads_astray={name: "a private address"},
                  addresses={name: frozenset({address})})  # fmt: skip
    use = Use(observe=observe, names=names, targets={}, reached=frozenset({address}))
    log, events = reported(tmp_path, use, Secret("C0rrectHorse"))
    assert "***.example.com" in log
    assert "c0rrecthorse" not in f"{log}{events}"


def test_a_secret_in_a_name_is_neither_in_the_log_nor_in_the_record(tmp_path: Path) -> None:
    use = Use(observe=False, names=Names(refused={"hunter2.evil.example": 1}), targets={})
    log, events = reported(tmp_path, use, Secret("hunter2"))
    assert "evil.example" in log
    assert "hunter2" not in log + json.dumps(events)


def test_a_record_that_cannot_be_written_is_named_and_changes_nothing() -> None:
    lines: list[bytes] = []
    record = Record(Path("/dev/full"), "now")
    use = Use(observe=False, names=Names(), targets={})
    report_use(JobLog(lines.append), record, "tests", use)
    assert b"what the job reached is not in the audit record: " in b"".join(lines)


def test_a_draft_is_in_the_log_line_by_line(tmp_path: Path) -> None:
    use = Use(observe=True, names=Names(), targets={})
    log, (event,) = reported(tmp_path, use)
    assert "# egress: none" in log
    assert event["mode"] == "observe"


def test_an_unknown_use_is_reported_as_such(tmp_path: Path) -> None:
    log, _ = reported(tmp_path, None)
    assert "is not known" in log
