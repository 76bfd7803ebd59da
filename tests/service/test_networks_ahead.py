"""Prepared networks: a job of the service adopts one, which is removed with it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import prepared
from tests.lab.engine import eventually
from tests.lab.lab import GATE, ROLE, Fleet, open_gate
from tests.lab.leftovers import leftovers
from tests.lab.service import Serving, serving
from tests.service.test_meter import values

pytestmark = pytest.mark.lab

# What the engine sets in a network namespace of its own, and where it mounts what names the host.
SETTINGS = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range"
NAMES = "hostname; ls /sys/class/net; cut -d' ' -f5 /proc/self/mountinfo | sort"


@pytest.fixture
def textfile(fleet: Fleet) -> Path:
    return fleet.base / "airlock.prom"


@pytest.fixture
def service(fleet: Fleet, textfile: Path) -> Iterator[Serving]:
    """A service with two prepared networks."""
    with serving(fleet, f'networks-ahead = 2\nmetrics = "{textfile}"') as made:
        prepared.wait_for(2)
        yield made
    prepared.forget(fleet)


def log_of(fleet: Fleet, script: str, command: str) -> tuple[str, list[bytes]]:
    """Run a job, and return its network mode and what it printed after `begin`."""
    with fleet.agent(bootstrap_script=script):
        job = fleet.control.enqueue(fleet.env(f"echo begin; {command}; echo end; {GATE}"))
        fleet.control.wait(job, lambda j: b"\nend" in j.log or j.finish)
        assert job.finish is None, job.log.decode()
        mode = prepared.network_mode(fleet, job)
        open_gate(job)
        assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    printed = bytes(job.log).partition(b"\nbegin")[2].partition(b"\nend")[0]
    return mode, printed.splitlines()


def test_job_adopts_a_prepared_network_which_is_removed_with_it(
    fleet: Fleet, service: Serving, textfile: Path
) -> None:
    before = {path.name for path in prepared.ready()}
    mode, _ = log_of(fleet, service.bootstrap_script, "true")
    assert mode.startswith("container:")
    (adopted,) = before - {path.name for path in prepared.ready()}
    prepared.wait_for(2)
    assert adopted not in prepared.containers(fleet)
    assert sorted(path.name for path in prepared.ready()) == prepared.containers(fleet)
    assert leftovers(fleet) == []
    used = "airlock_prepared_networks_total{result=used}"
    eventually(lambda: values(textfile).get(used) == 1, "it is counted")


def test_job_sees_the_same_as_in_a_network_of_its_own(fleet: Fleet, service: Serving) -> None:
    adopted = log_of(fleet, service.bootstrap_script, f"{SETTINGS}; {NAMES}")
    own = log_of(fleet, fleet.bootstrap_script, f"{SETTINGS}; {NAMES}")
    assert (adopted[0][:10], own[0]) == ("container:", "airlock")
    assert adopted[1] == own[1]
    assert b"airlock" in own[1]


def test_one_network_is_for_one_job(fleet: Fleet, service: Serving) -> None:
    """Two jobs at the same moment, and no network is ever adopted twice."""
    seen: list[str] = []
    with (
        fleet.agent(bootstrap_script=service.bootstrap_script, name="one"),
        fleet.agent(bootstrap_script=service.bootstrap_script, name="two"),
    ):
        for _ in range(3):
            prepared.wait_for(2)
            jobs = [
                fleet.control.enqueue(fleet.env(f"echo on; {GATE}", BUILDKITE_AGENT_NAME=name))
                for name in ("one", "two")
            ]
            for job in jobs:
                fleet.control.wait(job, lambda j: b"\non" in j.log)
                seen.append(prepared.network_mode(fleet, job))
            for job in jobs:
                open_gate(job)
            assert [fleet.control.finished(job)[0] for job in jobs] == ["0", "0"]
    assert all(mode.startswith("container:") for mode in seen)
    assert len(set(seen)) == 6
    assert leftovers(fleet) == []


def test_jobs_without_the_service_adopt_none(fleet: Fleet, service: Serving) -> None:
    before = prepared.ready()
    assert log_of(fleet, fleet.bootstrap_script, "true")[0] == "airlock"
    assert prepared.ready() == before
    assert service.process.poll() is None


def test_next_service_has_those_of_the_one_before(fleet: Fleet, service: Serving) -> None:
    before = prepared.ready()
    service.upgrade()
    assert prepared.ready() == before
    service.stop()
    assert "prepared network" not in prepared.collect(fleet)
    assert prepared.ready() == before
    service.start()
    assert log_of(fleet, service.bootstrap_script, "true")[0].startswith("container:")
    assert leftovers(fleet) == []


def test_without_a_service_gc_removes_them(fleet: Fleet, service: Serving) -> None:
    names = [path.name for path in prepared.ready()]
    service.kill()
    (prepared.NETWORKS / "served").unlink()
    printed = prepared.collect(fleet)
    assert all(f"removed prepared network {name}: it is not needed" in printed for name in names)
    assert prepared.containers(fleet) == []


def test_killed_worker_leaves_nothing_of_its_network(fleet: Fleet, service: Serving) -> None:
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        job = fleet.control.enqueue(fleet.env("echo on; sleep 60"))
        fleet.control.wait(job, lambda j: b"\non" in j.log)
        assert prepared.network_mode(fleet, job).startswith("container:")
        for pid in service.workers():
            os.kill(pid, signal.SIGKILL)
        assert fleet.control.finished(job)[0] == "79"
    eventually(lambda: not leftovers(fleet), "the reaper has cleared it")
    prepared.wait_for(2)
    assert sorted(path.name for path in prepared.ready()) == prepared.containers(fleet)


def test_none_is_prepared_while_a_job_starts(fleet: Fleet, service: Serving) -> None:
    """The job waits for STS for longer than the pause after a start."""
    fleet.policy(f"  - {{name: all, allow: {{role: '{ROLE}'}}}}\n")
    fleet.sts.latency = 2.0
    before = set(prepared.containers(fleet))
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        job = fleet.control.enqueue(fleet.env("true"))
        assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    prepared.wait_for(2)
    (another,) = set(prepared.containers(fleet)) - before
    (proven,) = [event for event in fleet.events(job.id) if event["event"] == "sandbox"]
    assert prepared.created(fleet, another) > proven["timestamp"]
