"""Reports: whole lines, bounded, and nobody ever waits for them."""

import json
import os
from pathlib import Path

import pytest

from bootstrap.metrics import catalogue, report
from bootstrap.metrics.events import Sample
from bootstrap.metrics.totals import Totals


def read_all(descriptor: int) -> list[list[object]]:
    found = b""
    while True:
        try:
            found += os.read(descriptor, 1 << 20)
        except BlockingIOError:
            return [row for line in found.splitlines() for row in json.loads(line)]


def test_nothing_is_reported_where_no_meter_reads(tmp_path: Path) -> None:
    report.to(tmp_path)
    report.report(catalogue.SESSIONS)  # no pipe
    os.mkfifo(tmp_path / report.PIPE)
    report.to(tmp_path)
    report.report(catalogue.SESSIONS)  # no reader
    reader = report.create(tmp_path)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)


def test_pipe_is_roots_alone(tmp_path: Path) -> None:
    os.close(report.create(tmp_path))
    assert (tmp_path / report.PIPE).stat().st_mode & 0o7777 == 0o600


def test_full_pipe_loses_reports_without_waiting_and_counts_them(tmp_path: Path) -> None:
    reader = report.create(tmp_path)
    attempts = 80_000  # more than fit, whatever the pipe's size
    for _ in range(attempts):
        report.report(catalogue.SESSIONS)
    arrived = len(read_all(reader))
    assert 0 < arrived < attempts
    report.report(catalogue.SESSIONS)
    assert read_all(reader) == [["sessions", [], 1], ["reports_lost", [], attempts - arrived]]


def test_report_that_is_too_long_for_one_line_is_lost_and_counted(tmp_path: Path) -> None:
    reader = report.create(tmp_path)
    report.report_all([Sample(catalogue.SESSIONS, {})] * 1000)
    report.report(catalogue.SESSIONS)
    assert read_all(reader) == [["sessions", [], 1], ["reports_lost", [], 1000]]


def test_reports_outlive_the_meter_and_reach_the_next_one(tmp_path: Path) -> None:
    """As long as the service, which has the pipe open too, or any worker lives."""
    service, meter = report.create(tmp_path), os.open(tmp_path / report.PIPE, os.O_RDONLY)
    os.close(meter)
    report.report(catalogue.SESSIONS)
    assert read_all(report.create(tmp_path)) == [["sessions", [], 1]]
    os.close(service)


def test_forked_process_does_not_write_to_a_number_that_it_may_have_given_away(
    tmp_path: Path,
) -> None:
    reader = report.create(tmp_path)
    if (child := os.fork()) == 0:
        report.report(catalogue.SESSIONS)
        report.to(tmp_path)
        report.report(catalogue.INTERNAL_ERRORS)
        os._exit(0)
    os.waitpid(child, 0)
    assert read_all(reader) == [["internal_errors", [], 1]]


def test_lines_of_many_processes_stay_whole(tmp_path: Path) -> None:
    reader = report.create(tmp_path)
    children = []
    for _ in range(8):
        if (child := os.fork()) == 0:
            report.to(tmp_path)
            for _ in range(200):
                report.report(catalogue.JOBS, outcome="passed")
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert read_all(reader) == [["jobs", ["passed"], 1]] * 1600


def test_report_cannot_have_a_label_that_is_not_listed(tmp_path: Path) -> None:
    reader = report.create(tmp_path)
    report.report(catalogue.AWS_CALLS, service="a\nb" * 100, result="ok")
    assert read_all(reader) == [["aws_calls", ["other", "ok"], 1]]


@pytest.mark.parametrize(
    "line",
    [b"", b"not JSON", b'[["jobs",["passed"],-1]]', b'[["jobs",[],1]]', b'[["none",[],1]]',
     b'[["jobs",["passed"],NaN]]', b'[["slots",["taken"],1]]', b"[1]", b"{}", b"\xff",
     b"[" * 100_000],
)  # fmt: skip
def test_line_that_no_report_has_changes_nothing_and_is_counted(line: bytes) -> None:
    totals = Totals()
    totals.add_line(line)
    lost = {} if line == b"{}" else {"reports_lost": {(): 1.0}}
    assert totals.numbers == lost
