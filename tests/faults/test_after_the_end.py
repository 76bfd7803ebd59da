"""What can fail once a job runs, injected where it really fails: the status stays the job's.

Each job waits until the fault is there, then ends with 7, and 7 is what the real agent reports.
Docker that dies at the end: test_engine_dies_at_the_end.py.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.containers import first_processes
from tests.lab import lab as labs
from tests.lab.agent import Agent, reaper_of
from tests.lab.engine import eventually
from tests.lab.lab import AIRLOCK, GATE, ROLE, STORAGE, Fleet, open_gate
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

POLICY = f"  - name: all\n    allow: {{role: '{ROLE}', workspace: fresh}}\n"
JOB = f"echo running; {GATE}; echo over; exit 7"
SMALL = 'min-free = "0MiB"\nmin-free-inodes = 0\nfloor = "0MiB"\nfloor-inodes = 0\n'

Fault = Callable[[Fleet, int, ExitStack], None]  # the fleet, the wrapper's pid, what undoes it


def reaper_is_dead(_: Fleet, wrapper: int, __: ExitStack) -> None:
    reaper = reaper_of(wrapper)
    os.kill(reaper, signal.SIGKILL)
    stat = Path(f"/proc/{reaper}/stat")
    eventually(lambda: " Z " in stat.read_text(), "the reaper is dead")


def limited(kind: int, limit: int) -> Fault:
    """Return a fault of the wrapper's own process: the kernel refuses what exceeds the limit."""

    def inject(_: Fleet, wrapper: int, __: ExitStack) -> None:
        resource.prlimit(wrapper, kind, (limit, limit))

    return inject


def records_are_full(fleet: Fleet, _: int, __: ExitStack) -> None:
    _fill(_records(fleet).parent / "filler")
    _fill(_records(fleet))  # what remains of its last page


def state_is_full(fleet: Fleet, _: int, __: ExitStack) -> None:
    _fill(fleet.base / "state/filler")


def _fill(path: Path) -> None:
    """Append empty lines until the disk is full."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):
                while file.write(b"\n" * size) == size:
                    pass


def job_records_are_a_file(fleet: Fleet, _: int, __: ExitStack) -> None:
    (fleet.base / "state/records").write_text("not a directory")


def job_directory_is_gone(_: Fleet, __: int, ___: ExitStack) -> None:
    for directory in Path("/run/airlock/jobs").iterdir():
        shutil.rmtree(directory, ignore_errors=True)


def runtime_is_gone(_: Fleet, __: int, undo: ExitStack) -> None:
    runtime, gone = Path("/run/airlock"), Path("/run/airlock.gone")
    if runtime.is_mount():
        subprocess.run(["umount", "--lazy", runtime], check=True)
    else:  # the whole of /run is in memory
        runtime.rename(gone)
        undo.callback(shutil.rmtree, gone)


def program_is_broken(name: str) -> Fault:
    """Return a fault in which a program of the host always fails."""

    def inject(_: Fleet, __: int, undo: ExitStack) -> None:
        path = str(Path(shutil.which(name, path="/usr/sbin:/usr/bin") or "").resolve())
        subprocess.run(["mount", "--bind", "/bin/false", path], check=True)
        undo.callback(subprocess.run, ["umount", path], check=True)

    return inject


def cancelled_after_its_end(_: Fleet, wrapper: int, undo: ExitStack) -> None:
    """Signals that come while Airlock clears up: here once the container has ended."""
    (container,) = first_processes()

    def signals() -> None:
        eventually(lambda: not Path(f"/proc/{container}").exists(), "the container ends", 60)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            try:
                os.kill(wrapper, number)
            except ProcessLookupError:
                return

    thread = threading.Thread(target=signals)
    thread.start()
    undo.callback(thread.join)


FAULTS: dict[str, Fault] = {
    "the reaper is dead": reaper_is_dead,
    "no file can grow (EFBIG)": limited(resource.RLIMIT_FSIZE, 0),
    "no file can be opened (EMFILE)": limited(resource.RLIMIT_NOFILE, 0),
    "there is no memory (MemoryError)": limited(resource.RLIMIT_AS, 1),
    "the disk of the audit trail is full": records_are_full,
    "the disk of the state is full": state_is_full,
    "the jobs' own records cannot be written": job_records_are_a_file,
    "the job directory is gone": job_directory_is_gone,
    "/run/airlock is gone": runtime_is_gone,
    "nft fails": program_is_broken("nft"),
    "env and setsid fail": program_is_broken("setsid"),
    "the agent signals after the end": cancelled_after_its_end,
}


def _records(fleet: Fleet) -> Path:
    return fleet.base / "log/records.jsonl"


@contextmanager
def small_disks(lab: labs.Lab, base: Path) -> Iterator[Fleet]:
    """A fleet whose audit trail and state are on disks of their own that are easily filled."""
    with labs.fleet(lab, base, storage=SMALL) as fleet, ExitStack() as held:
        for name, size in (("log", "256k"), ("state", "16m")):
            (base / name).mkdir()
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(base / name)],
                check=True,
            )
            held.callback(subprocess.run, ["umount", "--lazy", str(base / name)], check=True)
        text = fleet.config.read_text()
        fleet.config.write_text(text.replace(f"{base}/records.jsonl", f"{base}/log/records.jsonl"))
        fleet.policy(POLICY)
        yield fleet


@pytest.mark.parametrize("name", FAULTS)
def test_a_jobs_status_survives(lab: labs.Lab, tmp_path: Path, name: str) -> None:
    with small_disks(lab, tmp_path / "fleet") as fleet:
        with fleet.agent() as agent, ExitStack() as undo:
            job = fleet.control.enqueue(fleet.env(JOB))
            fleet.control.wait(job, lambda j: b"\nrunning" in j.log or j.finish)
            assert not job.finish, job.log.decode(errors="replace")
            FAULTS[name](fleet, _wrapper(agent), undo)
            open_gate(job)
            ending = fleet.control.finished(job, 90)
        log = job.log.decode(errors="replace")
        assert ending == ("7", "", ""), log
        assert "\nover" in log
        assert "Traceback" not in log
        assert "is Airlock's" not in log, "the status is the job's"
        _heal(fleet, name)


def _wrapper(agent: Agent) -> int:
    return agent.bootstrap_pid()


def _heal(fleet: Fleet, name: str) -> None:
    """The host works again: what the fault left behind is removed by `airlock gc`."""
    for path in (fleet.base / "state/filler", fleet.base / "log/filler"):
        path.unlink(missing_ok=True)
    if (fleet.base / "state/records").is_file():
        (fleet.base / "state/records").unlink()
    subprocess.run([*AIRLOCK, "gc", "--config", fleet.config], capture_output=True, check=False)
    if "is gone" in name:  # with it went the knowledge of what else the job has
        assert first_processes() == []
    else:
        eventually(lambda: leftovers(fleet) == [], f"removed: {leftovers(fleet)}", 20)


def test_what_could_not_be_recorded_is_counted_in_the_log(lab: labs.Lab, tmp_path: Path) -> None:
    with small_disks(lab, tmp_path / "fleet") as fleet, fleet.agent():
        job = fleet.control.enqueue(fleet.env(JOB))
        fleet.control.wait(job, lambda j: b"\nrunning" in j.log)
        records_are_full(fleet, 0, ExitStack())
        open_gate(job)
        assert fleet.control.finished(job) == ("7", "", ""), job.log.decode()
        assert b"1 event of this job could not be written to the audit record" in job.log
        saved = json.loads((fleet.base / f"state/records/{job.id}.0.json").read_text())
        assert saved["events"][-1]["status"] == {"kind": "exit", "code": 7, "whose": "job"}
        (fleet.base / "log/filler").unlink()
        following = fleet.control.enqueue(fleet.env("exit 3"))
        assert fleet.control.finished(following) == ("3", "", ""), following.log.decode()
    assert STORAGE, "the lab's own settings are left alone"
