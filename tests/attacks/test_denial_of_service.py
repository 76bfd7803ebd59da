"""What a job uses up is its own: neither another job nor the host comes to a stop over it.

Every attack runs as a job's own processes, beside an honest job, and also without the protection.
"""

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bootstrap.host.config import Sandbox
from bootstrap.sandbox.terminals import LIMIT
from tests.attacks.room import run
from tests.fakes.control_plane import Job, JobOrder
from tests.lab.agent import Agent
from tests.lab.engine import eventually
from tests.lab.lab import AIRLOCK, FIRST_USER, STORAGE, Fleet, Lab, fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

DONE = ("0", "", "")
AIRLOCKS = ("-1", "", "process_run_error")  # exit status 125, as the agent reports it

# Take inotify instances until there are no more, say how many there were, and keep them.
EXHAUST = """python3 -u -c '
import ctypes, time
libc, held = ctypes.CDLL(None), []
while (one := libc.inotify_init1(0)) >= 0 and len(held) < 4000: held.append(one)
print("exhausted after", len(held))
time.sleep(120)'"""
# What a build tool that watches files needs: one instance.
WATCH = """python3 -c '
import ctypes
print("inotify:", "works" if ctypes.CDLL(None).inotify_init1(0) >= 0 else "is exhausted")'"""


@contextmanager
def agents(made: Fleet, *names: str) -> Iterator[dict[str, Agent]]:
    with ExitStack() as held:
        yield {name: held.enter_context(made.agent(name=name)) for name in names}


def starts(made: Fleet, agent: str, command: str, *, until: str = "", **env: str) -> Job:
    """Run a job on `agent` as far as this line of its log."""
    sent = made.env(command, **{"BUILDKITE_AGENT_NAME": agent, **env})
    job = made.control.enqueue(JobOrder(env=sent, agent=agent))
    if until:
        made.control.wait(job, lambda j: f"\n{until}".encode() in j.log or j.finish)
        assert job.finish is None, job.log.decode()
    return job


def test_a_job_cannot_use_up_what_the_kernel_counts_per_user(fleet: Fleet) -> None:
    """Inotify instances stand for all of it: each running job is a user of its own."""
    with agents(fleet, "attacker", "neighbour"):
        attack = starts(fleet, "attacker", f"id -u\n{EXHAUST}", until="exhausted after")
        honest = starts(fleet, "neighbour", f"id -u\n{WATCH}")
        assert fleet.control.finished(honest, 60) == DONE, honest.log.decode()
        fleet.control.cancel(attack)
        fleet.control.finished(attack)
    assert b"\ninotify: works" in honest.log
    uids = {int(uid) for job in fleet.control.jobs.values() for uid in numbers(job)}
    assert len(uids) == 2
    assert uids <= set(Sandbox(image="any").uids)


def test_without_uids_of_their_own_the_neighbour_has_none_left(lab: Lab) -> None:
    docker = ["docker", "-H", lab.docker, "run", "--rm", "--network", "none", "--user", FIRST_USER]
    run(*docker, "--detach", "--name", "exhausts", lab.image, "sh", "-c", EXHAUST)
    logs = ("docker", "-H", lab.docker, "logs", "exhausts")
    try:
        eventually(lambda: "exhausted after" in run(*logs), "there are no inotify instances left")
        assert run(*docker, lab.image, "sh", "-c", WATCH) == "inotify: is exhausted\n"
    finally:
        run("docker", "-H", lab.docker, "rm", "-f", "exhausts")


# Open terminals until there are no more, say how many there were, and keep them.
TERMINALS = """python3 -u -c '
import os, resource, time
held = []
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
try:
    while len(held) < 4000: held.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
except OSError as end: print(end.strerror)
print("open terminals:", len(held))
time.sleep(120)'"""
# Ten, since a process elsewhere on this machine may just have given one back.
TERMINAL = """python3 -c '
import os
try: print("terminals:", [os.openpty() for _ in range(10)] and "work")
except OSError as failed: print("terminals:", failed.strerror)'"""


def test_a_job_cannot_use_up_the_machines_terminals(fleet: Fleet) -> None:
    """The neighbour's command itself runs on one."""
    with agents(fleet, "attacker", "neighbour"):
        attack = starts(fleet, "attacker", TERMINALS, until="open terminals")
        honest = starts(fleet, "neighbour", TERMINAL)
        assert fleet.control.finished(honest, 60) == DONE, honest.log.decode()
        fleet.control.cancel(attack)
        fleet.control.finished(attack)
    assert b"\nterminals: work" in honest.log
    assert f"open terminals: {LIMIT - 1}".encode() in attack.log  # one is its own command's


def test_without_a_share_of_its_own_the_neighbour_has_no_terminal(lab: Lab) -> None:
    """As the machine has it by default; no agent of the lab runs meanwhile."""
    limit = Path("/proc/sys/kernel/pty/max")
    before = limit.read_text()
    limit.write_text("4096")
    docker = ["docker", "-H", lab.docker, "run", "--rm", "--network", "none", "--user", FIRST_USER]
    run(*docker, "--detach", "--name", "exhausts", lab.image, "sh", "-c", TERMINALS)
    logs = ("docker", "-H", lab.docker, "logs", "exhausts")
    try:
        eventually(lambda: "open terminals" in run(*logs), "there are no terminals left")
        assert run(*docker, lab.image, "sh", "-c", TERMINAL) != "terminals: work\n"
    finally:
        run("docker", "-H", lab.docker, "rm", "-f", "exhausts")
        limit.write_text(before)


def test_a_job_that_gets_another_uid_works_in_the_same_checkout(fleet: Fleet) -> None:
    """Git refuses repositories of other users: the tree changes hands with the uid."""
    (fleet.base / "state").mkdir(mode=0o700)
    command = """
        touch $BUILDKITE_BUILD_PATH/left-by-$BUILDKITE_BUILD_NUMBER; git status --short; id -u
        ls $BUILDKITE_BUILD_PATH"""
    with agents(fleet, "agent-1"):
        first = starts(fleet, "agent-1", command, BUILDKITE_BUILD_NUMBER="1")
        assert fleet.control.finished(first, 60) == DONE, first.log.decode()
        (uid,) = numbers(first)
        with Path(f"/run/airlock/slots/{uid}").open() as slot:
            fcntl.flock(slot, fcntl.LOCK_EX)  # as another job would that has the uid now
            second = starts(fleet, "agent-1", command, BUILDKITE_BUILD_NUMBER="2")
            assert fleet.control.finished(second, 60) == DONE, second.log.decode()
        third = starts(fleet, "agent-1", command, BUILDKITE_BUILD_NUMBER="3")
        assert fleet.control.finished(third, 60) == DONE, third.log.decode()
    (other,) = numbers(second)
    assert other != uid
    assert numbers(third) == [other]  # whose the checkout is now
    for job in (second, third):
        assert b"left-by-1" in job.log
        assert b"dubious ownership" not in job.log


def test_more_jobs_than_slots_are_turned_away(lab: Lab, tmp_path: Path) -> None:
    with (
        fleet(lab, tmp_path / "fleet", settings="slots = 1\n") as made,
        agents(made, "agent-1", "agent-2"),
    ):
        first = starts(made, "agent-1", "echo running; sleep 60", until="running")
        second = starts(made, "agent-2", "echo I ran")
        assert made.control.finished(second, 60) == AIRLOCKS
        assert b"all 1 slots of this host are taken" in second.log
        made.control.cancel(first)
        made.control.finished(first)
        third = starts(made, "agent-2", "echo I ran")
        assert made.control.finished(third, 60) == DONE, third.log.decode()


@pytest.mark.parametrize("bound", [3, 1000])
def test_invented_agent_names_do_not_pile_up_workspaces(
    lab: Lab, tmp_path: Path, bound: int
) -> None:
    """A bound of 1000 is none here: then every invented name leaves its workspace."""
    with fleet(lab, tmp_path / "fleet", storage=f"{STORAGE}workspaces = {bound}\n") as made:
        kept = made.base / "state/workspaces"
        with agents(made, "agent-1", "honest"):
            neighbour = starts(
                made,
                "honest",
                "echo mine >mine; echo ready; while [ ! -e go ]; do sleep 0.1; done; cat mine",
                until="ready",
            )
            (mine,) = kept.glob("*/builds/*/*/*/mine")
            for number in range(6):
                job = starts(made, "agent-1", "true", BUILDKITE_AGENT_NAME=f"invented-{number}")
                assert made.control.finished(job, 60) == DONE, job.log.decode()
            mine.with_name("go").touch()
            assert made.control.finished(neighbour, 60) == DONE, neighbour.log.decode()
        assert b"\nmine" in neighbour.log
        assert len(list(kept.iterdir())) == (bound + 1 if bound == 3 else 7)


FILES = 20_000
FILL = f"""python3 -c '
import os
os.mkdir("tree")
for n in range({FILES}): os.mknod(f"tree/{{n}}")'
echo filled; sleep 60"""


@pytest.mark.parametrize("renamed", [True, False], ids=["renamed", "deleted-on-the-spot"])
def test_a_dead_jobs_huge_tree_does_not_keep_the_next_job_from_starting(
    fleet: Fleet, *, renamed: bool
) -> None:
    """However long its deletion takes: here nobody may begin with it before the next job is over.

    Without the protection, where nothing can be renamed out of a mount, the next job has deleted
    every one of the files by itself before its first line.
    """
    fleet.policy("  - {name: all, allow: {workspace: fresh}}\n")
    fresh, trash = fleet.base / "state/fresh", fleet.base / "state/trash"
    fresh.mkdir(parents=True)
    trash.parent.chmod(0o700)
    if not renamed:
        run("mount", "--bind", str(fresh), str(fresh))
    try:
        with agents(fleet, "agent-1") as running, nobody_empties(trash):
            job = starts(fleet, "agent-1", FILL, until="filled")
            (tree,) = fresh.glob("*/builds/*/*/*/tree")
            wrapper = running["agent-1"].bootstrap_pid()
            for pid in (reaper_of(wrapper), wrapper):
                os.kill(pid, signal.SIGKILL)
            assert fleet.control.finished(job)[1] == "SIGKILL"
            assert len(list(tree.iterdir())) == FILES
            following = starts(fleet, "agent-1", "echo next; sleep 60", until="next")
            trees = list(trash.glob("*/builds/*/*/*/tree"))
            assert [len(list(tree.iterdir())) for tree in trees] == ([FILES] if renamed else [])
            assert not tree.exists()
            fleet.control.cancel(following)
            fleet.control.finished(following)
            assert leftovers(fleet) == []
    finally:
        if not renamed:
            run("umount", str(fresh))
    subprocess.run([*AIRLOCK, "gc", "--config", fleet.config], check=True, capture_output=True)
    assert list(trash.glob("*")) == []


@contextmanager
def nobody_empties(trash: Path) -> Iterator[None]:
    """As while another such tree is being deleted: that process has the lock."""
    with trash.with_name("trash.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# A disk of 96 MiB as paths.state, so that the machine's own is never filled.
# Paced, because what a job can write between two looks has to fit below the floor: there are no
# quotas, see docs/limits.md#disk.
FULL = """for n in $(seq 200); do
  dd if=/dev/zero of=$BUILDKITE_BUILD_PATH/fill-$n bs=1M count=1 2>&1 || break
  sleep 0.05
done; echo the disk is full; sleep 60"""
HONEST = """echo ready
while [ ! -e go ]; do sleep 0.1; done
for n in $(seq 30); do
  dd if=/dev/zero of=own-$n bs=64K count=2 2>/dev/null || { echo no space for me; exit 1; }
  sleep 0.3
done; echo all is well"""


def may_go_on(made: Fleet) -> None:
    (checkout,) = made.base.glob("state/workspaces/*/builds/neighbour/*/*")
    (checkout / "go").touch()


@contextmanager
def small_disk(lab: Lab, base: Path, storage: str) -> Iterator[Fleet]:
    state = base / "fleet/state"
    inodes = "min-free-inodes = 100\nfloor-inodes = 10\n"
    with fleet(lab, base / "fleet", storage=storage + inodes) as made:
        state.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=96m,mode=0700", "airlock-lab", str(state))
        try:
            yield made
        finally:
            subprocess.run([*AIRLOCK, "gc", "--config", made.config], check=False)
            run("umount", str(state))


def test_a_job_that_fills_the_disk_is_stopped_and_its_neighbour_is_not(
    lab: Lab, tmp_path: Path
) -> None:
    with small_disk(lab, tmp_path, 'min-free = "48MiB"\nfloor = "24MiB"\n') as made:
        with agents(made, "attacker", "neighbour"):
            honest = starts(made, "neighbour", HONEST, until="ready")
            may_go_on(made)
            attack = starts(made, "attacker", FULL)
            assert made.control.finished(attack, 60) == AIRLOCKS
            assert b"the job was stopped: the disk of" in attack.log
            assert b"of all running jobs this one has written most" in attack.log
            assert b"Exit status 125 is Airlock's" in attack.log
            assert made.control.finished(honest, 60) == DONE, honest.log.decode()
            following = starts(made, "attacker", "echo next")
            assert made.control.finished(following, 60) == DONE, following.log.decode()
        ended = [event for event in made.events(attack.id) if event["event"] == "ended"]
        assert [event["ended"]["kind"] for event in ended] == ["evicted"]
        assert leftovers(made) == []


def test_without_a_floor_the_neighbour_has_no_space(lab: Lab, tmp_path: Path) -> None:
    with (
        small_disk(lab, tmp_path, 'min-free = "1MiB"\nfloor = "0MiB"\n') as made,
        agents(made, "attacker", "neighbour"),
    ):
        honest = starts(made, "neighbour", HONEST, until="ready")
        attack = starts(made, "attacker", FULL, until="the disk is full")
        may_go_on(made)
        assert made.control.finished(honest, 60)[0] == "1", honest.log.decode()
        assert b"\nno space for me" in honest.log
        made.control.cancel(attack)
        made.control.finished(attack)


def test_no_job_starts_on_a_disk_that_is_nearly_full(lab: Lab, tmp_path: Path) -> None:
    """First what nobody uses goes; what is not Airlock's stays, and the log says what to do."""
    with (
        small_disk(lab, tmp_path, 'min-free = "48MiB"\nfloor = "1MiB"\n') as made,
        agents(made, "agent-1", "agent-2"),
    ):
        state = made.base / "state"
        large = "dd if=/dev/zero of=$BUILDKITE_BUILD_PATH/large bs=1M count=60 2>&1"
        first = starts(made, "agent-1", large)
        assert made.control.finished(first, 60) == DONE, first.log.decode()
        second = starts(made, "agent-2", "echo next")
        assert made.control.finished(second, 60) == DONE, second.log.decode()
        assert b"removing what no job uses" in second.log
        assert not list(state.glob("workspaces/*/builds/large"))
        theirs = state / "theirs"
        theirs.write_bytes(b"x" * (60 << 20))
        third = starts(made, "agent-2", "echo I ran")
        assert made.control.finished(third, 60) == AIRLOCKS
        assert b"is too full to start a job" in third.log
        assert b"storage.min-free" in third.log
        assert theirs.exists()
        theirs.unlink()
        fourth = starts(made, "agent-2", "echo I ran")
        assert made.control.finished(fourth, 60) == DONE, fourth.log.decode()


def test_records_do_not_pile_up(lab: Lab, tmp_path: Path) -> None:
    with fleet(lab, tmp_path / "fleet", storage=f"{STORAGE}records = 2\n") as made:
        with agents(made, "agent-1"):
            for _ in range(3):
                job = starts(made, "agent-1", "true")
                assert made.control.finished(job, 60) == DONE, job.log.decode()
        records = made.base / "state/records"
        subprocess.run([*AIRLOCK, "gc", "--config", made.config], check=True, capture_output=True)
        assert len(list(records.iterdir())) == 2
        last = json.loads((records / f"{job.id}.json").read_text())
        assert last["job"] == job.id


def numbers(job: Job) -> list[str]:
    """Return the lines of a log that are nothing but a number: what `id -u` printed."""
    return [line for line in job.log.decode().splitlines() if line.isdigit()]


def reaper_of(wrapper: int) -> int:
    children = Path(f"/proc/{wrapper}/task/{wrapper}/children").read_text().split()
    (reaper,) = [int(child) for child in children if os.getsid(int(child)) == int(child)]
    return reaper
