"""The service's chores, metrics and service manager on a real host."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.sandbox.network.firewall import TABLE
from tests.lab.engine import eventually
from tests.lab.lab import AIRLOCK, Fleet, forget_host
from tests.lab.leftovers import leftovers
from tests.lab.service import Serving, serving
from tests.service.test_meter import values
from tests.service.test_notify import fields

pytestmark = pytest.mark.lab

RULES = "  - {name: main, when: {branch: main}, allow: {}}\n"


@pytest.fixture
def textfile(fleet: Fleet) -> Path:
    return fleet.base / "airlock.prom"


@pytest.fixture
def service(fleet: Fleet, textfile: Path) -> Iterator[Serving]:
    with serving(fleet, f'metrics = "{textfile}"') as made:
        yield made


def value(textfile: Path, name: str) -> float:
    return values(textfile).get(f"airlock_{name}", 0.0) if textfile.exists() else 0.0


def ruleset() -> bool:
    command = ["nft", "list", "table", *TABLE]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_jobs_are_in_the_metrics_with_their_outcome_and_phases(
    fleet: Fleet, service: Serving, textfile: Path
) -> None:
    fleet.policy(RULES)
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        passed = fleet.control.enqueue(fleet.env("echo passed"))
        failed = fleet.control.enqueue(fleet.env("exit 3"))
        refused = fleet.control.enqueue(fleet.env("echo no", BUILDKITE_BRANCH="other"))
        statuses = [fleet.control.finished(job)[0] for job in (passed, failed, refused)]
    assert statuses == ["0", "3", "77"]
    eventually(lambda: value(textfile, "jobs_total{outcome=refused}") == 1, "all three jobs")
    found = values(textfile)
    assert found["airlock_jobs_total{outcome=passed}"] == 1
    assert found["airlock_jobs_total{outcome=failed}"] == 1
    assert found["airlock_refusals_total{reason=branch}"] == 1
    assert found["airlock_clients_total{result=accepted}"] == 3
    assert found["airlock_phase_seconds_count{phase=proof}"] == 2
    assert found["airlock_start_seconds_count{}"] == 2
    assert found["airlock_first_byte_seconds_count{}"] == 2
    assert found["airlock_first_byte_seconds_sum{}"] >= found["airlock_start_seconds_sum{}"]
    assert found["airlock_refused_packets_total{}"] > 0  # the proofs' own attempts
    assert found["airlock_running_jobs{}"] == 0
    assert found["airlock_reports_lost_total{}"] == 0
    assert found["airlock_workers_lost_total{}"] == 0
    assert found["airlock_service_starts_total{}"] >= 1


def test_ruleset_is_loaded_before_the_first_job(fleet: Fleet) -> None:
    forget_host(fleet.lab.docker)
    assert not ruleset()
    with serving(fleet) as service:
        eventually(ruleset, "the ruleset is loaded")
        with fleet.agent(bootstrap_script=service.bootstrap_script):
            job = fleet.control.enqueue(fleet.env("echo first"))
            assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    (proven,) = [event for event in fleet.events(job.id) if event["event"] == "sandbox"]
    assert not proven["firewall_reloaded"]


def test_what_a_dead_job_left_is_cleared_when_the_service_starts(fleet: Fleet) -> None:
    with serving(fleet) as service:
        dead = Path("/run/airlock/jobs/dead-job")
        eventually(dead.parent.is_dir, "the host is prepared")
        eventually(lambda: list(service.chores()) == ["reaper"], "the first chore has ended")
        service.stop()
        dead.mkdir()
        service.start()
        eventually(lambda: not dead.exists(), "it is cleared")
        assert "cleared what the dead job dead-job had left" in service.log.read_text()


def test_killed_meter_is_started_again_and_no_job_notices(
    fleet: Fleet, service: Serving, textfile: Path
) -> None:
    eventually(textfile.exists, "the first metrics")
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        os.kill(service.chores()["meter"], signal.SIGKILL)
        job = fleet.control.enqueue(fleet.env("echo passed"))
        assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    eventually(lambda: value(textfile, "jobs_total{outcome=passed}") == 1, "the job is counted")
    assert value(textfile, "chore_runs_total{chore=meter,result=killed}") == 1
    assert leftovers(fleet) == []


def test_killed_worker_is_counted(fleet: Fleet, service: Serving, textfile: Path) -> None:
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        before = set(service.workers())
        job = fleet.control.enqueue(fleet.env("echo sleeping; sleep 60"))
        fleet.control.wait(job, lambda j: b"\nsleeping" in j.log)
        eventually(lambda: set(service.workers()) - before, "a worker")
        for pid in set(service.workers()) - before:
            os.kill(pid, signal.SIGKILL)
        assert fleet.control.finished(job)[0] == "79"
    eventually(lambda: value(textfile, "workers_lost_total{}") == 1, "it is counted")
    assert "a worker was killed by signal 9" in service.log.read_text()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        yield manager


def until(manager: socket.socket, name: str) -> dict[str, str]:
    while name not in (found := fields(manager)):
        continue
    return found


def falls_silent(manager: socket.socket) -> bool:
    """Whether nothing comes for a second, as from a loop that hangs; it sends thrice a second."""
    manager.settimeout(1.0)
    try:
        for _ in range(100):
            manager.recv(4096)
    except TimeoutError:
        return True
    finally:
        manager.settimeout(30)
    return False


def test_service_manager_sees_start_reload_watchdog_and_end(
    fleet: Fleet, manager: socket.socket, tmp_path: Path
) -> None:
    program = tmp_path / "as-a-manager"
    program.write_text(
        f'#!/bin/sh\nNOTIFY_SOCKET={manager.getsockname()} WATCHDOG_USEC=900000 exec "$@"\n'
    )
    program.chmod(0o755)
    with serving(fleet, program=(str(program), *AIRLOCK)) as service:
        ready = until(manager, "READY")
        assert ready["MAINPID"] == str(service.pid)
        assert ready["STATUS"].endswith("0 workers")
        until(manager, "WATCHDOG")
        os.kill(service.pid, signal.SIGSTOP)
        assert falls_silent(manager)
        os.kill(service.pid, signal.SIGCONT)
        until(manager, "WATCHDOG")
        os.kill(service.pid, signal.SIGHUP)
        assert int(until(manager, "RELOADING")["MONOTONIC_USEC"]) > 0
        assert until(manager, "READY")["MAINPID"] == str(service.pid)
        assert service.stop() == 0
        assert until(manager, "STOPPING")["STATUS"] == "stopped; 0 jobs go on"
