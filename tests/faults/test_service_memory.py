"""What a running job takes of the host's memory: its worker, and its part of the reaper."""

import re
from pathlib import Path

import pytest

from tests.faults.direct import direct
from tests.faults.jobs import iter_until, run_to_end
from tests.lab.lab import Fleet
from tests.lab.service import serving

pytestmark = pytest.mark.lab

JOBS = 10
MOST = 15 << 10  # KiB (docs/service.md#memory)


def proportional(pid: int) -> int:
    """Return the KiB of a process, where each page counts in parts for those that share it."""
    found = re.search(
        r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE
    )
    assert found
    return int(found[1])


def tree(pid: int) -> list[int]:
    """Return a process and its descendants that run the same program."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    same = Path(f"/proc/{pid}/cmdline").read_bytes()
    own = [int(one) for one in children if Path(f"/proc/{one}/cmdline").read_bytes() == same]
    return [pid, *(deeper for one in own for deeper in tree(one))]


def test_worker_and_reaper_take_little_memory(fleet: Fleet) -> None:
    """Documents of the policy are parsed once, when there is a directory to keep the result in."""
    with direct(fleet) as jobs, serving(fleet, config=jobs.config) as service:
        for _ in range(2):
            run_to_end(jobs.start(program=service.launcher))
        started = [jobs.start("sleep 60", program=service.launcher) for _ in range(JOBS)]
        for job in started:
            assert job.stdout
            list(iter_until(job.stdout, b"the job runs"))
        taken = [[proportional(pid) for pid in tree(worker)] for worker in service.workers()]
        reaper = proportional(service.chores()["reaper"]) / JOBS
        for job in started:
            job.terminate()
            job.communicate(timeout=60)
    print(taken, reaper)
    assert len(taken) == JOBS
    assert all(len(one) == 1 for one in taken), taken
    assert max(sum(one) for one in taken) + reaper <= MOST, (taken, reaper)
