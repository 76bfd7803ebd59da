"""dockerd is killed, stopped or restarted at every stage of a job, with and without live-restore.

With live-restore the job goes on. Without it the engine ends the job, and its status says so: it
is never "could not start" (125) once the job has begun, because that would be retried.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.control_plane import Job
from tests.faults.direct import Direct, direct
from tests.faults.jobs import run_to_end
from tests.faults.killing import go_on, stop_at
from tests.faults.stepper import after, points, traced
from tests.lab.engine import OURS, Engine, answers, eventually, is_empty
from tests.lab.lab import GATE, Fleet, Lab, fleet, open_gate
from tests.lab.leftovers import everything

pytestmark = pytest.mark.lab

COULD_NOT_START = ("-1", "", "process_run_error")
CREATE = r"^sendto\(.*containers/create"
START = r"^sendto\(.*/start "
WAYS = ["kill", "terminate"]


@pytest.fixture
def made(lab: Lab, tmp_path: Path) -> Iterator[Fleet]:
    with fleet(lab, tmp_path / "fleet") as one:
        yield one


@pytest.fixture
def jobs(made: Fleet) -> Iterator[Direct]:
    with direct(made) as one:
        run_to_end(one.start())
        yield one


def begun(made: Fleet, agent: str, command: str) -> Job:
    """Start a job and wait until it runs."""
    job = made.control.enqueue(made.env(f"echo begun; {command}", BUILDKITE_AGENT_NAME=agent))
    made.control.wait(job, lambda one: b"\nbegun" in one.log)
    return job


def restart(dockerd: Engine, way: str, *, live_restore: bool) -> None:
    getattr(dockerd, way)()
    dockerd.start(live_restore=live_restore)


def nothing_left(made: Fleet) -> None:
    eventually(lambda: not remains(made), f"all is removed: {remains(made)}", 20)


def remains(made: Fleet) -> list[str]:
    """Return what names a job, or an address of one."""
    signs = ("airlock-", "/jobs/", "state/fresh/", "169.254.170.2 .", "src=", "process ", ".slice/")
    left = [one for one in everything(made) if any(sign in one for sign in signs)]
    # An engine that is killed while it removes a container may leave empty ones (docs/limits.md).
    return [one for one in left if ".slice/" not in one or not is_empty(Path(one))]


@pytest.mark.parametrize("way", WAYS)
def test_running_job_goes_on_with_live_restore(made: Fleet, dockerd: Engine, way: str) -> None:
    restart(dockerd, "terminate", live_restore=True)
    with made.agent():
        job = begun(made, "agent-1", f"{GATE}; echo after the restart; exit 7")
        restart(dockerd, way, live_restore=True)
        open_gate(job)
        result = made.control.finished(job)
    assert result == ("7", "", ""), job.log.decode()
    assert b"after the restart" in job.log or b"part of the log" in job.log, job.log.decode()
    nothing_left(made)


@pytest.mark.parametrize("way", WAYS)
def test_running_job_without_live_restore_ends_with_honest_status(
    made: Fleet, dockerd: Engine, way: str
) -> None:
    with made.agent():
        job = begun(made, "agent-1", f"{GATE}; echo never")
        restart(dockerd, way, live_restore=False)
        result = made.control.finished(job)
        assert result != COULD_NOT_START, job.log.decode()
        assert result[0] != "0", job.log.decode()
        assert b"\nnever" not in job.log
        following = made.control.enqueue(made.env("echo next"))
        assert made.control.finished(following) == ("0", "", ""), following.log.decode()
    nothing_left(made)


@pytest.mark.parametrize("code", [0, 7])
@pytest.mark.parametrize("live_restore", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_job_that_ends_while_engine_is_away_keeps_its_status(
    made: Fleet, dockerd: Engine, way: str, *, live_restore: bool, code: int
) -> None:
    """Terminated without live-restore, the engine ends the job before it goes away itself."""
    if (way, live_restore) != ("kill", False):
        restart(dockerd, "terminate", live_restore=True)
    with made.agent() as agent:
        job = begun(made, "agent-1", f"{GATE}; exit {code}")
        wrapper = agent.bootstrap_pid()
        getattr(dockerd, way)()
        open_gate(job)
        eventually(lambda: not _has_container(), "the job ends without its engine")
        assert Path(f"/proc/{wrapper}").exists()
        dockerd.start(live_restore=live_restore)
        assert made.control.finished(job) == (str(code), "", ""), job.log.decode()
    nothing_left(made)


def _has_container() -> bool:
    """Return whether a process of this lab is the entry of a job."""
    ours = Path("/proc/self/ns/pid").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            entry = b"/airlock/entry" in (process / "cmdline").read_bytes()
            if entry and (process / "ns/pid").readlink() != ours and _in_lab(process):
                return True
        except OSError:
            continue
    return False


def _in_lab(process: Path) -> bool:
    return any(
        f"/{job.name}/" in (process / "mountinfo").read_text()
        for job in Path("/run/airlock/jobs").glob("*")
    )


def test_job_that_ends_while_engine_is_stopped_keeps_its_status(
    made: Fleet, dockerd: Engine
) -> None:
    with made.agent():
        job = begun(made, "agent-1", f"{GATE}; echo after; exit 7")
        dockerd.stop()
        open_gate(job)
        eventually(lambda: not _has_container(), "the job ends without its engine")
        assert not answers(OURS)
        dockerd.cont()
        assert made.control.finished(job) == ("7", "", ""), job.log.decode()
    nothing_left(made)


def test_engine_killed_before_job_is_reported_as_could_not_start(
    made: Fleet, dockerd: Engine
) -> None:
    with made.agent():
        dockerd.kill()
        job = made.control.enqueue(made.env("echo never"))
        assert made.control.finished(job) == COULD_NOT_START
        assert b"Docker Engine does not answer" in job.log
        dockerd.start()
        following = made.control.enqueue(made.env("echo next"))
        assert made.control.finished(following) == ("0", "", ""), following.log.decode()
    nothing_left(made)


@pytest.mark.parametrize("step", [CREATE, START], ids=["create", "start"])
@pytest.mark.parametrize("way", WAYS)
def test_engine_restarted_after_step_leaves_nothing(
    jobs: Direct, dockerd: Engine, step: str, way: str, tmp_path: Path
) -> None:
    """The engine goes away after it was asked to create, or to start, the container."""
    run_to_end(jobs.start(tracer=traced(tmp_path / "reference")))
    steps = points(tmp_path / "reference")
    job, wrapper = stop_at(jobs, tmp_path / "trace", steps[after(steps, step)])
    restart(dockerd, way, live_restore=False)
    go_on(wrapper)
    output, _ = job.communicate(timeout=120)
    assert job.returncode == 125, output.decode()
    assert b"\nthe job runs" not in output
    run_to_end(jobs.start())
    nothing_left(jobs.fleet)
