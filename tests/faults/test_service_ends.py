"""Each end of launcher, worker, service and socket: docs/service.md has them in one table."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.direct import GATE_FILE, Direct, direct
from tests.faults.jobs import iter_until, kill
from tests.lab.engine import Engine, ended, eventually
from tests.lab.lab import Lab, fleet
from tests.lab.leftovers import leftovers
from tests.lab.service import Serving, serving

pytestmark = pytest.mark.lab

COULD_NOT_START, STATUS_UNKNOWN = 125, 79
Launcher = subprocess.Popen[bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """A host with a service, and jobs without agents."""

    jobs: Direct
    service: Serving

    def start(self, command: str = "true") -> Launcher:
        return self.jobs.start(command, program=self.service.launcher)

    def running(self, command: str = "sleep 60", number: int = 1) -> list[Launcher]:
        """Start jobs, and return their launchers when all run."""
        started = [self.start(command) for _ in range(number)]
        for launcher in started:
            assert launcher.stdout
            log = list(iter_until(launcher.stdout, b"the job runs"))
            assert launcher.poll() is None, b"".join(log).decode()
        return started

    def clean(self) -> None:
        """Fail unless all of every job goes."""
        eventually(lambda: not leftovers(self.jobs.fleet), "all of the jobs is cleared", 20)
        eventually(lambda: not self.service.workers(), "no worker is left", 20)


@pytest.fixture
def host(lab: Lab, tmp_path: Path) -> Iterator[Host]:
    with ExitStack() as held:
        made = held.enter_context(fleet(lab, tmp_path / "fleet"))
        jobs = held.enter_context(direct(made))
        service = held.enter_context(serving(made, config=jobs.config))
        yield Host(jobs=jobs, service=service)


def status(launcher: Launcher, seconds: float = 60) -> tuple[int, str]:
    """Return how a launcher ends, and the rest of its output."""
    output, _ = launcher.communicate(timeout=seconds)
    return launcher.returncode, output.decode(errors="replace")


def worker_of(host: Host) -> int:
    (worker,) = host.service.workers()
    return worker


def events(host: Host) -> str:
    """Return the lines of the audit trail."""
    path = host.jobs.fleet.records
    return path.read_text() if path.exists() else ""


def last_event(host: Host) -> dict[str, object]:
    event: dict[str, object] = json.loads(events(host).splitlines()[-1])
    return event


def test_killed_launcher_ends_its_job_at_once(host: Host) -> None:
    (launcher,) = host.running("trap '' TERM; sleep 60")
    kill(launcher.pid)
    host.clean()
    event = last_event(host)
    assert event["event"] == "ended"
    assert event["ended"] == {"kind": "abandoned"}
    assert status(launcher)[0] == -signal.SIGKILL


def test_launcher_killed_after_it_was_cancelled_ends_its_job_at_once(host: Host) -> None:
    (launcher,) = host.running("trap '' TERM; sleep 60")
    launcher.terminate()
    kill(launcher.pid)
    assert status(launcher)[0] == -signal.SIGKILL
    host.clean()
    assert last_event(host)["ended"] == {"kind": "abandoned"}


def test_launcher_killed_before_the_begin_starts_nothing(host: Host, dockerd: Engine) -> None:
    dockerd.stop()
    launcher = host.start("touch began")
    eventually(host.service.workers, "it has a worker")
    eventually(lambda: '"admitted"' in events(host), "the job is admitted")
    kill(launcher.pid)
    dockerd.cont()
    assert status(launcher)[0] == -signal.SIGKILL
    host.clean()
    event = last_event(host)
    assert event["event"] == "cancelled"
    assert event["by"] == "SIGKILL"


def test_signals_reach_the_job(host: Host) -> None:
    (launcher,) = host.running("trap 'echo cancelled; exit 9' TERM; sleep 60 & wait")
    launcher.terminate()
    code, log = status(launcher)
    assert "cancelled" in log
    assert code == 9
    host.clean()


def test_worker_killed_before_the_begin_is_125(host: Host, dockerd: Engine) -> None:
    dockerd.stop()
    launcher = host.start()
    eventually(lambda: '"admitted"' in events(host), "the job is admitted")
    kill(worker_of(host))
    code, log = status(launcher)
    dockerd.cont()
    assert code == COULD_NOT_START, log
    host.clean()


def test_worker_killed_while_its_job_runs_is_79(host: Host) -> None:
    (launcher,) = host.running()
    kill(worker_of(host))
    code, log = status(launcher)
    assert code == STATUS_UNKNOWN, log
    host.clean()


def test_worker_killed_with_its_reaper_is_cleared_by_the_next_one(host: Host) -> None:
    (launcher,) = host.running()
    kill(host.service.chores()["reaper"], worker_of(host))
    code, log = status(launcher)
    assert code == STATUS_UNKNOWN, log
    host.clean()


def test_reaper_killed_before_it_notices_that_its_worker_was_is_followed_by_another(
    host: Host,
) -> None:
    (launcher,) = host.running()
    reaper = host.service.chores()["reaper"]
    os.kill(reaper, signal.SIGSTOP)
    kill(worker_of(host))
    assert status(launcher)[0] == STATUS_UNKNOWN
    eventually(lambda: not host.service.workers(), "the service has noticed")
    assert leftovers(host.jobs.fleet) != []
    kill(reaper)
    host.clean()


def test_worker_killed_after_its_service_is_cleared_by_the_reaper(host: Host) -> None:
    (launcher,) = host.running()
    worker, reaper = worker_of(host), host.service.chores()["reaper"]
    host.service.kill()
    kill(worker)
    code, log = status(launcher)
    assert code == STATUS_UNKNOWN, log
    eventually(lambda: not leftovers(host.jobs.fleet), "all of the job is cleared", 20)
    eventually(lambda: ended(reaper), "the reaper has ended")
    host.service.start()


def test_worker_killed_while_it_clears_is_79(host: Host, dockerd: Engine) -> None:
    (launcher,) = host.running(f"{GATE_FILE}; exit 3")
    dockerd.stop()
    host.jobs.open_gate()
    first = leftovers_processes(host)
    eventually(lambda: all(ended(pid) for pid in first), "the job's processes end")
    kill(worker_of(host))
    code, log = status(launcher)
    dockerd.cont()
    assert code == STATUS_UNKNOWN, log
    host.clean()


def leftovers_processes(host: Host) -> list[int]:
    """Return the first processes of all jobs."""
    records = Path("/run/airlock/jobs").glob("*/first-process*")
    found = [re.search(r'"pid": *(\d+)', path.read_text()) for path in records]
    return [int(one[1]) for one in found if one]


def test_jobs_outlive_a_killed_service(host: Host) -> None:
    launchers = host.running(f"{GATE_FILE}; exit 3", number=3)
    host.service.kill()
    host.jobs.open_gate()
    for launcher in launchers:
        assert status(launcher)[0] == 3
    host.service.start()
    assert status(host.start("exit 4"))[0] == 4
    host.clean()


def test_launcher_waits_for_a_service_that_starts_again(host: Host) -> None:
    host.service.kill()
    launcher = host.start("exit 4")
    host.service.start()
    code, log = status(launcher)
    assert code == 4, log
    host.clean()


def test_without_a_socket_a_job_is_125(host: Host) -> None:
    host.service.socket.unlink()
    code, log = status(host.start())
    assert code == COULD_NOT_START, log
    assert str(host.service.socket) in log


def test_stopped_service_leaves_jobs_alone_and_takes_no_more(host: Host) -> None:
    launchers = host.running(f"{GATE_FILE}; exit 3", number=2)
    assert host.service.stop() == 0
    assert not host.service.socket.exists()
    code, log = status(host.start())
    assert code == COULD_NOT_START, log
    host.jobs.open_gate()
    for launcher in launchers:
        assert status(launcher)[0] == 3
    host.service.start()
    host.clean()


def test_upgrade_while_jobs_run_changes_no_result(host: Host) -> None:
    launchers = host.running(f"{GATE_FILE}; exit 3", number=5)
    workers = set(host.service.workers())
    before = host.service.pid
    host.service.upgrade()
    assert host.service.process.poll() is None
    assert host.service.pid == before
    assert workers <= set(host.service.workers())
    assert status(host.start("exit 4"))[0] == 4
    host.jobs.open_gate()
    for launcher in launchers:
        assert status(launcher)[0] == 3
    host.clean()


def test_upgrade_that_cannot_start_leaves_the_service_as_it_is(host: Host) -> None:
    text = host.jobs.config.read_text()
    host.jobs.config.write_text("broken")
    host.service.process.send_signal(signal.SIGHUP)
    eventually(
        lambda: "goes on as it is" in host.service.log.read_text(), "the upgrade is given up", 30
    )
    host.jobs.config.write_text(text)
    assert status(host.start("exit 4"))[0] == 4
    host.clean()


def test_two_services_at_once_are_refused(host: Host) -> None:
    second = subprocess.run(
        host.service.command, capture_output=True, text=True, timeout=60, check=False
    )
    assert second.returncode == COULD_NOT_START
    assert "another service has the socket" in second.stderr
    assert status(host.start("exit 4"))[0] == 4


def test_broken_configuration_ends_jobs_as_without_a_service(host: Host) -> None:
    text = host.jobs.config.read_text()
    host.jobs.config.write_text(f"{text}\nunknown = 1\n")
    code, log = status(host.start())
    alone, log_alone = status(host.jobs.start())
    assert (code, alone) == (78, 78)
    assert log == log_alone
    assert 'unknown key "unknown"' in log
    host.jobs.config.write_text(text)
    assert status(host.start("exit 4"))[0] == 4
    host.clean()


def test_full_runtime_directory_ends_jobs_and_not_the_service(host: Host) -> None:
    assert status(host.start())[0] == 0
    filler = Path("/run/airlock/filler")
    free = os.statvfs(filler.parent)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
    try:
        code, log = status(host.start())
    finally:
        filler.unlink()
    assert code == COULD_NOT_START, log
    assert status(host.start("exit 4"))[0] == 4
    host.clean()
