"""The audit trail stays within its budget, and no line is lost to it."""

import json
import multiprocessing
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootstrap.host import trail
from bootstrap.host.config import Host, Paths, Sandbox, Storage
from bootstrap.record import Record

DAY = 86400.0
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()


def host(base: Path, **settings: float) -> Host:
    (base / "runtime").mkdir(exist_ok=True)
    (base / "log").mkdir(exist_ok=True)
    return Host(
        sandbox=Sandbox(image="job:1"),
        paths=Paths(runtime=base / "runtime", records=base / "log/records.jsonl"),
        storage=Storage().model_copy(update={"trail_file": 125, **settings}),
    )


def applied(here: Host, now: float) -> list[str]:
    return [f"{c.verb} {c.why}" for c in trail.changes(here, now) if c.apply() is not False]


def old_file(here: Host, days: float, size: int = 10) -> Path:
    stamp = datetime.fromtimestamp(NOW - days * DAY, UTC)
    path = here.paths.records.with_name(f"records-{stamp:%Y%m%dT%H%M%SZ}.jsonl")
    path.write_bytes(b"x" * size)
    os.utime(path, (NOW - days * DAY, NOW - days * DAY))
    return path


def line(at: float) -> bytes:
    return json.dumps({"timestamp": f"{datetime.fromtimestamp(at, UTC).isoformat()}"}).encode()


def test_large_trail_is_rotated_with_a_name_in_utc_and_its_mode(tmp_path: Path) -> None:
    here = host(tmp_path, trail_file=1000)
    Record(here.paths.records, "now").cancelled("SIGTERM")
    with here.paths.records.open("ab") as file:
        file.write(line(NOW) * 30)
    (why,) = applied(here, NOW)
    assert "the limit of one file is 1000 bytes" in why
    (rotated,) = trail.rotated(here.paths.records)
    assert rotated.name == "records-20261125T120000Z.jsonl"
    assert stat.S_IMODE(rotated.stat().st_mode) == 0o600
    assert not here.paths.records.exists()
    assert applied(here, NOW) == []


def test_trail_below_its_limit_stays(tmp_path: Path) -> None:
    here = host(tmp_path, trail_file=1000)
    here.paths.records.write_bytes(line(NOW - 29 * DAY))
    assert applied(here, NOW) == []
    assert here.paths.records.exists()


@pytest.mark.parametrize(("age", "first"), [(400, 31), (7, 8)])
def test_trail_is_rotated_by_the_age_of_its_first_line(
    tmp_path: Path, age: float, first: float
) -> None:
    """Else a quiet host would keep lines for ever, because its trail never becomes large."""
    here = host(tmp_path, trail_age=age * DAY)
    here.paths.records.write_bytes(line(NOW - first * DAY) + b"\n" + line(NOW))
    (why,) = applied(here, NOW)
    assert f"longer ago than {min(age, 30)} days" in why


def test_oldest_files_beyond_bytes_and_age_are_deleted(tmp_path: Path) -> None:
    here = host(tmp_path, trail_size=250, trail_age=100 * DAY)
    files = [old_file(here, days, size=100) for days in (101, 50, 40, 30, 20)]
    reasons = applied(here, NOW)
    assert [path.exists() for path in files] == [False, False, False, True, True]
    assert "longer than 100 days" in reasons[0]
    assert "beyond the budget of 250 bytes for all files of the audit trail" in reasons[1]


def test_current_file_counts_and_is_never_deleted(tmp_path: Path) -> None:
    here = host(tmp_path, trail_size=2000, trail_file=1000)
    old = old_file(here, 5, size=1500)
    here.paths.records.write_bytes(line(NOW) + b"x" * 900)
    applied(here, NOW)
    assert not old.exists()
    assert here.paths.records.exists()


def test_file_that_a_job_writes_to_is_not_deleted(tmp_path: Path) -> None:
    here = host(tmp_path, trail_age=100 * DAY)
    old = old_file(here, 200)
    with old.open("ab"):
        assert applied(here, NOW) == []
    assert old.exists()
    assert len(applied(here, NOW)) == 1
    assert not old.exists()


def test_file_that_a_log_agent_reads_is_deleted(tmp_path: Path) -> None:
    """They keep every file of `records*.jsonl` open: the trail would have no bound at all."""
    here = host(tmp_path, trail_age=100 * DAY)
    old = old_file(here, 200)
    with old.open("rb") as read:
        assert len(applied(here, NOW)) == 1
        assert not old.exists()
        assert read.read() == b"x" * 10


def test_limits_of_zero_delete_nothing(tmp_path: Path) -> None:
    here = host(tmp_path, trail_size=0, trail_age=0)
    old = old_file(here, 5000, size=5000)
    assert applied(here, NOW) == []
    assert old.exists()


def test_trail_file_of_zero_leaves_it_to_another_program(tmp_path: Path) -> None:
    here = host(tmp_path, trail_file=0, trail_size=1, trail_age=1)
    old = old_file(here, 5000, size=5000)
    here.paths.records.write_bytes(line(0) * 1000)
    assert applied(here, NOW) == []
    assert old.exists()


def test_other_files_beside_the_trail_are_left_alone(tmp_path: Path) -> None:
    here = host(tmp_path, trail_age=DAY)
    others = [
        here.paths.records.with_name(name)
        for name in ("records-old.jsonl", "records.jsonl.1", "audit.log", "records-2026.jsonl.gz")
    ]
    for other in others:
        other.write_bytes(b"x")
        os.utime(other, (0, 0))
    assert applied(here, NOW) == []
    assert all(other.exists() for other in others)


def write_events(path: Path, number: int, events: int) -> None:
    record = Record(path, "now")
    for event in range(events):
        record.cancelled(f"{number}-{event}")


def test_no_line_is_lost_when_the_trail_is_rotated_while_jobs_write(tmp_path: Path) -> None:
    here = host(tmp_path, trail_file=20_000, trail_size=0)
    path = here.paths.records
    writers = [
        multiprocessing.Process(target=write_events, args=(path, number, 300))
        for number in range(6)
    ]
    now = NOW
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        now += 1  # a second later, for the name
        applied(here, now)
    files = [*trail.rotated(path), *([path] if path.exists() else [])]
    events = [json.loads(text)["by"] for file in files for text in file.read_text().splitlines()]
    assert sorted(events) == sorted(f"{n}-{e}" for n in range(6) for e in range(300))
    assert len(trail.rotated(path)) > 0
