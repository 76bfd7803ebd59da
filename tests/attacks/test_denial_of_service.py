"""Exhaustion of what the kernel and Airlock count: one job's use leaves the others running.

Every attack runs as a job's own processes, beside an honest job, and also without the protection.
Disks: test_denial_of_service_disk.py.
"""

import fcntl
import json
import subprocess
from pathlib import Path

import pytest

from bootstrap.host.config import Sandbox
from bootstrap.sandbox.terminals import LIMIT
from tests.attacks.attacker import run
from tests.attacks.neighbours import DONE, STATUS_125, agents, numbers, start_job
from tests.lab.engine import eventually
from tests.lab.lab import AIRLOCK, FIRST_USER, STORAGE, Fleet, Lab, fleet

pytestmark = pytest.mark.lab

# Takes inotify instances until there are no more, prints how many there were, and keeps them.
EXHAUST = """python3 -u -c '
import ctypes, time
libc, taken = ctypes.CDLL(None), []
while (one := libc.inotify_init1(0)) >= 0 and len(taken) < 4000: taken.append(one)
print("exhausted after", len(taken))
time.sleep(120)'"""
# What a build tool that watches files needs: one instance.
WATCH = """python3 -c '
import ctypes
print("inotify:", "works" if ctypes.CDLL(None).inotify_init1(0) >= 0 else "is exhausted")'"""


def test_inotify_exhaustion_by_one_job_leaves_neighbour_working(fleet: Fleet) -> None:
    """Inotify instances are one example of what the kernel counts per user; each job has a uid."""
    with agents(fleet, "attacker", "neighbour"):
        attack = start_job(fleet, "attacker", f"id -u\n{EXHAUST}", until="exhausted after")
        honest = start_job(fleet, "neighbour", f"id -u\n{WATCH}")
        assert fleet.control.finished(honest, 60) == DONE, honest.log.decode()
        fleet.control.cancel(attack)
        fleet.control.finished(attack)
    assert b"\ninotify: works" in honest.log
    uids = {int(uid) for job in fleet.control.jobs.values() for uid in numbers(job)}
    assert len(uids) == 2
    assert uids <= set(Sandbox(image="any").uids)


def test_inotify_exhaustion_with_shared_uid_starves_neighbour(lab: Lab) -> None:
    docker = ["docker", "-H", lab.docker, "run", "--rm", "--network", "none", "--user", FIRST_USER]
    run(*docker, "--detach", "--name", "exhausts", lab.image, "sh", "-c", EXHAUST)
    logs = ("docker", "-H", lab.docker, "logs", "exhausts")
    try:
        eventually(lambda: "exhausted after" in run(*logs), "there are no inotify instances left")
        assert run(*docker, lab.image, "sh", "-c", WATCH) == "inotify: is exhausted\n"
    finally:
        run("docker", "-H", lab.docker, "rm", "-f", "exhausts")


# Opens terminals until there are no more, prints how many there were, and keeps them.
TERMINALS = """python3 -u -c '
import os, resource, time
opened = []
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
try:
    while len(opened) < 4000: opened.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
except OSError as end: print(end.strerror)
print("open terminals:", len(opened))
time.sleep(120)'"""
# Ten, since a process elsewhere on this machine may just have given one back.
TERMINAL = """python3 -c '
import os
try: print("terminals:", [os.openpty() for _ in range(10)] and "work")
except OSError as failed: print("terminals:", failed.strerror)'"""


FULL = "No space left on device"  # how the kernel reports it


def test_terminal_exhaustion_by_one_job_stops_at_its_share(fleet: Fleet) -> None:
    """The neighbour's command itself runs on one."""
    with agents(fleet, "attacker", "neighbour"):
        attack = start_job(fleet, "attacker", TERMINALS, until="open terminals")
        honest = start_job(fleet, "neighbour", TERMINAL)
        assert fleet.control.finished(honest, 60) == DONE, honest.log.decode()
        fleet.control.cancel(attack)
        fleet.control.finished(attack)
    assert b"\nterminals: work" in honest.log
    assert f"open terminals: {LIMIT - 1}".encode() in attack.log  # one is its own command's


@pytest.mark.host_namespaces  # it lowers the limit of the whole machine
def test_terminal_exhaustion_without_share_starves_neighbour(lab: Lab) -> None:
    """With the kernel's default limit; no agent of the lab runs meanwhile."""
    limit = Path("/proc/sys/kernel/pty/max")
    before = limit.read_text()
    limit.write_text("4096")
    docker = ["docker", "-H", lab.docker, "run", "--rm", "--network", "none", "--user", FIRST_USER]
    run(*docker, "--detach", "--name", "exhausts", lab.image, "sh", "-c", TERMINALS)
    logs = ("docker", "-H", lab.docker, "logs", "exhausts")
    try:
        eventually(lambda: "open terminals" in run(*logs), "there are no terminals left")
        assert run(*docker, lab.image, "sh", "-c", TERMINAL) == f"terminals: {FULL}\n"
    finally:
        run("docker", "-H", lab.docker, "rm", "-f", "exhausts")
        limit.write_text(before)


def test_checkout_with_changed_uid_is_reused_without_ownership_error(fleet: Fleet) -> None:
    """Git refuses repositories of other users, so the tree's owner changes with the uid."""
    (fleet.base / "state").mkdir(mode=0o700)
    command = """
        touch $BUILDKITE_BUILD_PATH/left-by-$BUILDKITE_BUILD_NUMBER; git status --short; id -u
        ls $BUILDKITE_BUILD_PATH"""
    with agents(fleet, "agent-1"):
        first = start_job(fleet, "agent-1", command, BUILDKITE_BUILD_NUMBER="1")
        assert fleet.control.finished(first, 60) == DONE, first.log.decode()
        (uid,) = numbers(first)
        with Path(f"/run/airlock/slots/{uid}").open() as slot:
            fcntl.flock(slot, fcntl.LOCK_EX)  # as a job that has the uid now
            second = start_job(fleet, "agent-1", command, BUILDKITE_BUILD_NUMBER="2")
            assert fleet.control.finished(second, 60) == DONE, second.log.decode()
        third = start_job(fleet, "agent-1", command, BUILDKITE_BUILD_NUMBER="3")
        assert fleet.control.finished(third, 60) == DONE, third.log.decode()
    (other,) = numbers(second)
    assert other != uid
    assert numbers(third) == [other]  # the checkout's owner now
    for job in (second, third):
        assert b"left-by-1" in job.log
        assert b"dubious ownership" not in job.log


def test_job_without_free_slot_is_rejected_until_one_is_free(lab: Lab, tmp_path: Path) -> None:
    with (
        fleet(lab, tmp_path / "fleet", settings="slots = 1\n") as made,
        agents(made, "agent-1", "agent-2"),
    ):
        first = start_job(made, "agent-1", "echo running; sleep 60", until="running")
        second = start_job(made, "agent-2", "echo I ran")
        assert made.control.finished(second, 60) == STATUS_125
        assert b"all 1 slots of this host are taken" in second.log
        made.control.cancel(first)
        made.control.finished(first)
        third = start_job(made, "agent-2", "echo I ran")
        assert made.control.finished(third, 60) == DONE, third.log.decode()


@pytest.mark.parametrize("bound", [3, 1000])
def test_workspaces_of_invented_agent_names_stay_within_bound(
    lab: Lab, tmp_path: Path, bound: int
) -> None:
    """A bound of 1000 is the attack without protection: every invented name leaves a workspace."""
    with fleet(lab, tmp_path / "fleet", storage=f"{STORAGE}workspaces = {bound}\n") as made:
        kept = made.base / "state/workspaces"
        with agents(made, "agent-1", "honest"):
            neighbour = start_job(
                made,
                "honest",
                "echo mine >mine; echo ready; while [ ! -e go ]; do sleep 0.1; done; cat mine",
                until="ready",
            )
            (mine,) = kept.glob("*/builds/*/*/*/mine")
            for number in range(6):
                job = start_job(made, "agent-1", "true", BUILDKITE_AGENT_NAME=f"invented-{number}")
                assert made.control.finished(job, 60) == DONE, job.log.decode()
            mine.with_name("go").touch()
            assert made.control.finished(neighbour, 60) == DONE, neighbour.log.decode()
        assert b"\nmine" in neighbour.log
        assert len(list(kept.iterdir())) == (bound + 1 if bound == 3 else 7)


def test_job_records_beyond_limit_are_removed_by_gc(lab: Lab, tmp_path: Path) -> None:
    with fleet(lab, tmp_path / "fleet", storage=f"{STORAGE}records = 2\n") as made:
        with agents(made, "agent-1"):
            for _ in range(3):
                job = start_job(made, "agent-1", "true")
                assert made.control.finished(job, 60) == DONE, job.log.decode()
        records = made.base / "state/records"
        subprocess.run([*AIRLOCK, "gc", "--config", made.config], check=True, capture_output=True)
        assert len(list(records.iterdir())) == 2
        last = json.loads((records / f"{job.id}.0.json").read_text())
        assert last["job"] == job.id
