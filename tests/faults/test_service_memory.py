"""What a running job takes of the host's memory: its worker, and its part of the reaper."""

import re
from pathlib import Path
from statistics import median

import pytest

from tests.faults.direct import direct
from tests.faults.jobs import iter_until, run_to_end
from tests.lab.lab import Fleet, Lab, fleet
from tests.lab.service import serving

pytestmark = pytest.mark.lab

JOBS = 10
MOST = 15 << 10  # KiB (docs/service.md#memory)
MOST_OF_GATEWAY = 512  # KiB
MOST_OF_SERVICES = 1024  # KiB
MOST_OF_LIST = 1200  # KiB of a rule's egress: a resolver and a table


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


def weighed(fleet: Fleet, further: str = "") -> tuple[list[list[int]], float]:
    """Return the KiB of each process of the workers of waiting jobs, and a job's of the reaper.

    `further` is what their rule allows beside what a job can have.
    """
    with direct(fleet, further) as jobs, serving(fleet, config=jobs.config) as service:
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
    return taken, reaper


def test_worker_and_reaper_take_little_memory(fleet: Fleet) -> None:
    """Documents of the policy are parsed once, when there is a directory to keep the result in."""
    taken, reaper = weighed(fleet)
    assert max(sum(one) for one in taken) + reaper <= MOST, (taken, reaper)


@pytest.mark.parametrize(
    ("more", "most"),
    [
        # Each of the jobs has called it: each has made a checkout.
        ("agent-api: {}, ", MOST_OF_GATEWAY),
        ("egress: {hosts: git.example.com}, ", MOST_OF_LIST),
        ("services: {one: SERVICE, two: SERVICE}, ", MOST_OF_SERVICES),
    ],
    ids=["agent-api", "egress", "services"],
)
def test_what_a_rule_adds_takes_little_more(
    lab: Lab, tmp_path: Path, *, more: str, most: int
) -> None:
    """In all: which of the pages that it uses other jobs copy too is a matter of chance."""
    more = more.replace("SERVICE", f"{{image: '{lab.image}', command: [sleep, '600']}}")
    with fleet(lab, tmp_path / "fleet") as made:
        taken, reaper = weighed(made, more)
    assert median(map(sum, taken)) + reaper <= MOST + most, (taken, reaper)
