"""Fifty jobs at once all succeed, and many jobs in a row leave nothing that grows.

AIRLOCK_LONG=1 (`make endurance`) runs 500 in a row.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.direct import Direct, direct
from tests.faults.jobs import run_to_end
from tests.lab.engine import Engine, eventually
from tests.lab.lab import Fleet, Lab, fleet
from tests.lab.leftovers import RUNTIME, everything, expires

pytestmark = pytest.mark.lab

# Seconds. dockerd leaves connections that it has hijacked to Go's collector, which runs every two
# minutes at the latest (forcegcperiod in its runtime).
COLLECTED = 150.0
AT_ONCE = 50
IN_A_ROW = 500 if os.environ.get("AIRLOCK_LONG") == "1" else 60
WARM = 6  # jobs until every cache of Airlock and of the engine has what it keeps


@pytest.fixture(scope="module")
def jobs(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Direct]:
    with fleet(lab, tmp_path_factory.mktemp("many") / "fleet") as made, direct(made) as one:
        yield one


def test_fifty_jobs_at_once_all_succeed(jobs: Direct) -> None:
    started = [jobs.start(f"echo I am number {number}") for number in range(AT_ONCE)]
    logs = [run_to_end(job, 600) for job in started]
    for number, log in enumerate(logs):
        assert f"I am number {number}\n" in log
    eventually(lambda: not _of_jobs(jobs.fleet), "everything is removed", 60)


def _of_jobs(made: Fleet) -> list[str]:
    signs = ("airlock-", "/jobs/", "state/fresh/", "state/trash/", "process ", "src=", ".slice/")
    return [one for one in everything(made) if any(sign in one for sign in signs)]


def test_many_jobs_in_a_row_leave_nothing_that_grows(jobs: Direct, dockerd: Engine) -> None:
    for _ in range(WARM):
        run_to_end(jobs.start())
    eventually(lambda: not _of_jobs(jobs.fleet), "the first jobs are gone", 60)
    before, first = _kept(jobs.fleet), _usage(dockerd)
    for _ in range(IN_A_ROW):
        run_to_end(jobs.start())
    last = _usage(dockerd)
    print(f"\n{IN_A_ROW} jobs: dockerd's memory {first[1]} -> {last[1]} KiB, files {first[0]} -> "
          f"{last[0]}")  # fmt: skip
    with suppress(TimeoutError):  # what has changed is shown below
        eventually(lambda: _changed(jobs.fleet, before) == ([], []), "the host is as it was", 60)
    assert _changed(jobs.fleet, before) == ([], [])
    eventually(lambda: _usage(dockerd)[0] <= first[0], "dockerd closes its files", COLLECTED)


def _changed(made: Fleet, before: set[str]) -> tuple[list[str], list[str]]:
    """Return what has grown, and what is gone but for what the kernel forgets by itself."""
    now = _kept(made)
    return sorted(now - before), sorted(one for one in before - now if not expires(one))


def _kept(made: Fleet) -> set[str]:
    """Return all that is kept between jobs, but for what a job is recorded in.

    That is a line of the audit trail and a file, both with a budget (tests/host/test_storage.py).
    """
    roots = (RUNTIME, made.base / "state")
    files = {str(path) for root in roots for path in root.rglob("*")}
    recorded = {one for one in files if f"{made.base}/state/records/" in one}
    return {*everything(made), *(files - recorded)}


def _usage(engine: Engine) -> tuple[int, int]:
    """Return the engine's open files, and its resident memory in KiB."""
    process = Path(f"/proc/{engine.pid}")
    status = (process / "status").read_text()
    memory = status.partition("VmRSS:")[2].split()[0]
    return len(list((process / "fd").iterdir())), int(memory)
