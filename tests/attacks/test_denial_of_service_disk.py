"""Exhaustion of the host's disk: the job that fills it is stopped, and no other job or start waits.

Every attack runs as a job's own processes, beside an honest job, and also without the protection.
"""

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootstrap.host.trash import discarded
from tests.attacks.attacker import run
from tests.attacks.neighbours import DONE, STATUS_125, agents, start_job
from tests.lab.agent import reaper_of
from tests.lab.lab import AIRLOCK, Fleet, Lab, fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

FILES = 20_000
FILL = f"""python3 -c '
import os
os.mkdir("tree")
for n in range({FILES}): os.mknod(f"tree/{{n}}")'
echo filled; sleep 60"""


# Airlock without the protection: a tree is deleted at the moment when it is discarded.
ON_THE_SPOT = """
import sys
del sys.argv[1:3]  # "-m bootstrap", by which tests know the process
from bootstrap.host import trash
trash.discard = lambda _, path: path.exists() and not trash.remove_tree(path)
from bootstrap.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("where", ["renamed", "on-another-disk", "deleted-on-the-spot"])
def test_huge_tree_of_dead_job_does_not_delay_next_job(
    fleet: Fleet, tmp_path: Path, where: str
) -> None:
    """The tree is renamed and deleted later; here not before the next job ends.

    Also where fresh workspaces have a disk of their own, out of which nothing can be renamed.
    Without the protection, the next job has deleted all of the files itself before its first line.
    """
    fleet.policy("  - {name: all, allow: {workspace: fresh}}\n")
    fresh, state = fleet.base / "state/fresh", fleet.base / "state"
    fresh.mkdir(parents=True)
    state.chmod(0o700)
    (tmp_path / "unprotected.py").write_text(ON_THE_SPOT)
    unprotected = fleet.bootstrap_script.replace(" -m ", f" {tmp_path}/unprotected.py -m ")
    how = {"bootstrap_script": unprotected} if where == "deleted-on-the-spot" else {}
    if where == "on-another-disk":
        run("mount", "--bind", str(fresh), str(fresh))
    try:
        with fleet.agent(**how) as agent, deletion_blocked(state):
            job = start_job(fleet, "agent-1", FILL, until="filled")
            (tree,) = fresh.glob("*/builds/*/*/*/tree")
            wrapper = agent.bootstrap_pid()
            for pid in (reaper_of(wrapper), wrapper):
                os.kill(pid, signal.SIGKILL)
            assert fleet.control.finished(job)[1] == "SIGKILL"
            assert len(list(tree.iterdir())) == FILES
            following = start_job(fleet, "agent-1", "echo next; sleep 60", until="next")
            trees = [tree for path in discarded(state) for tree in path.glob("builds/*/*/*/tree")]
            left = [] if where == "deleted-on-the-spot" else [FILES]
            assert [len(list(tree.iterdir())) for tree in trees] == left
            assert not tree.exists()
            fleet.control.cancel(following)
            fleet.control.finished(following)
        subprocess.run([*AIRLOCK, "gc", "--config", fleet.config], check=True, capture_output=True)
        assert discarded(state) == ()
        assert leftovers(fleet) == []
    finally:
        if where == "on-another-disk":
            run("umount", str(fresh))


@contextmanager
def deletion_blocked(state: Path) -> Iterator[None]:
    """Lock the trash, as a process does that deletes another such tree."""
    with (state / "trash.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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


def release_neighbour(made: Fleet) -> None:
    (checkout,) = made.base.glob("state/workspaces/*/builds/neighbour/*/*")
    (checkout / "go").touch()


@contextmanager
def small_disk(lab: Lab, base: Path, storage: str) -> Iterator[Fleet]:
    """Mount a disk of 96 MiB as paths.state, so that the machine's own is never filled."""
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


def test_disk_filling_job_is_evicted_and_neighbour_finishes(lab: Lab, tmp_path: Path) -> None:
    with small_disk(lab, tmp_path, 'min-free = "48MiB"\nfloor = "24MiB"\n') as made:
        with agents(made, "attacker", "neighbour"):
            honest = start_job(made, "neighbour", HONEST, until="ready")
            release_neighbour(made)
            attack = start_job(made, "attacker", FULL)
            assert made.control.finished(attack, 60) == STATUS_125
            assert b"the job was stopped: the disk of" in attack.log
            assert b"of all running jobs this one has written most" in attack.log
            assert b"Exit status 125 is Airlock's" in attack.log
            assert made.control.finished(honest, 60) == DONE, honest.log.decode()
            following = start_job(made, "attacker", "echo next")
            assert made.control.finished(following, 60) == DONE, following.log.decode()
        ended = [event for event in made.events(attack.id) if event["event"] == "ended"]
        assert [event["ended"]["kind"] for event in ended] == ["evicted"]
        assert leftovers(made) == []


def test_disk_filling_job_without_floor_starves_neighbour(lab: Lab, tmp_path: Path) -> None:
    with (
        small_disk(lab, tmp_path, 'min-free = "1MiB"\nfloor = "0MiB"\n') as made,
        agents(made, "attacker", "neighbour"),
    ):
        honest = start_job(made, "neighbour", HONEST, until="ready")
        attack = start_job(made, "attacker", FULL, until="the disk is full")
        release_neighbour(made)
        assert made.control.finished(honest, 60)[0] == "1", honest.log.decode()
        assert b"\nno space for me" in honest.log
        made.control.cancel(attack)
        made.control.finished(attack)


def test_nearly_full_disk_frees_unused_workspaces_then_rejects_jobs(
    lab: Lab, tmp_path: Path
) -> None:
    """Unused workspaces are removed, files of others are not, and the log names the setting."""
    with (
        small_disk(lab, tmp_path, 'min-free = "48MiB"\nfloor = "1MiB"\n') as made,
        agents(made, "agent-1", "agent-2"),
    ):
        state = made.base / "state"
        large = "dd if=/dev/zero of=$BUILDKITE_BUILD_PATH/large bs=1M count=60 2>&1"
        first = start_job(made, "agent-1", large)
        assert made.control.finished(first, 60) == DONE, first.log.decode()
        second = start_job(made, "agent-2", "echo next")
        assert made.control.finished(second, 60) == DONE, second.log.decode()
        assert b"removing workspaces and caches that no" in second.log
        assert not list(state.glob("workspaces/*/builds/large"))
        theirs = state / "theirs"
        theirs.write_bytes(b"x" * (60 << 20))
        third = start_job(made, "agent-2", "echo I ran")
        assert made.control.finished(third, 60) == STATUS_125
        assert b"is too full to start a job" in third.log
        assert b"storage.min-free" in third.log
        assert theirs.exists()
        theirs.unlink()
        fourth = start_job(made, "agent-2", "echo I ran")
        assert made.control.finished(fourth, 60) == DONE, fourth.log.decode()


@pytest.mark.parametrize("engine_alone", [False, True], ids=["airlock", "engine-alone"])
def test_volume_that_the_image_declares_uses_no_disk(fleet: Fleet, *, engine_alone: bool) -> None:
    """The engine alone keeps it on its own disk, bounded by nothing; who removes it waits."""
    docker = ("docker", "-H", fleet.lab.docker)
    image = "airlock-lab/with-volume:1"
    try:
        base = run(*docker, "create", "--user", "0", "--entrypoint", "/bin/sh", fleet.lab.image,
                   "-c", "mkdir -m 1777 /data").strip()  # fmt: skip
        run(*docker, "start", "--attach", base)
        run(*docker, "commit", "--change", "VOLUME /data", base, image)
        run(*docker, "rm", base)
        command = "dd if=/dev/zero of=/data/f bs=1M count=3 2>&1 && echo written; sleep 60"
        if engine_alone:
            name = run(*docker, "run", "--detach", "--rm", "--entrypoint", "/bin/sh", image,
                       "-c", command).strip()  # fmt: skip
            assert run(*docker, "volume", "ls", "-q") != ""
            run(*docker, "rm", "-fv", name)
            return
        fleet.policy(f"  - {{name: all, allow: {{image: '{image}'}}}}\n")
        with agents(fleet, "agent-1"):
            job = start_job(fleet, "agent-1", command, until="written")
            assert run(*docker, "volume", "ls", "-q") == ""
            fleet.control.cancel(job)
            fleet.control.finished(job)
    finally:
        run(*docker, "rmi", "-f", image)
