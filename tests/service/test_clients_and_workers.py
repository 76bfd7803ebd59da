"""What the loop reports to the service's operations: clients, and workers that ended."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap.metrics import report
from bootstrap.service.journal import BURST, Journal
from bootstrap.service.operations import Operations
from bootstrap.service.workers import Workers
from tests.service.test_meter import host_in

Counted = Callable[[], list[list[object]]]


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def operations(tmp_path: Path, lines: list[str]) -> Operations:
    journal = Journal(lambda line: lines.append(line.decode()))
    return Operations(tmp_path / "airlock.toml", host_in(tmp_path), {}, journal, workers=Workers())


@pytest.fixture
def counted(tmp_path: Path, operations: Operations) -> Counted:
    reader = report.create(tmp_path / "runtime")

    def read() -> list[list[object]]:
        try:
            return [
                row for line in os.read(reader, 1 << 16).splitlines() for row in json.loads(line)
            ]
        except BlockingIOError:
            return []

    return read


def test_refused_clients_are_all_counted_and_the_first_printed(
    operations: Operations, counted: Counted, lines: list[str]
) -> None:
    for _ in range(BURST * 3):
        operations.refused("uid", "uid 1234 may not start jobs on this host")
    operations.accepted()
    assert counted() == [["clients", ["uid"], 1]] * BURST * 3 + [["clients", ["accepted"], 1]]
    text = "airlock: warning: refused a client: uid 1234 may not start jobs on this host\n"
    assert lines == [text] * BURST


@pytest.mark.parametrize(
    ("status", "line"),
    [(0, ""), (1 << 8, ""), (70 << 8, "a worker ended with status 70"),
     (9, "a worker was killed by signal 9"), (11 | 0x80, "a worker was killed by signal 11")],
)  # fmt: skip
def test_worker_that_did_not_end_by_itself_is_counted(
    operations: Operations, counted: Counted, lines: list[str], status: int, line: str
) -> None:
    operations.worker_ended(status)
    assert counted() == ([["workers_lost", [], 1]] if line else [])
    assert lines == ([f"airlock: warning: {line}\n"] if line else [])
