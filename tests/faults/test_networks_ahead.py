"""Prepared networks that are not what they were, and whoever makes or removes one is killed.

The job opens as without them; nothing of either stays.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fakes.control_plane import Job
from tests.lab import prepared
from tests.lab.engine import eventually
from tests.lab.lab import DELETE_RULESET, GATE, Fleet, open_gate
from tests.lab.leftovers import everything, expires, leftovers
from tests.lab.service import Serving, serving

pytestmark = pytest.mark.lab

CHORE = """
import sys
import time
from pathlib import Path
from bootstrap.log import to_descriptor
from bootstrap.service.housekeeping import networks
from bootstrap.service.journal import Journal
networks(Path(sys.argv[1]), Journal(to_descriptor(2)))
"""


@pytest.fixture
def service(fleet: Fleet) -> Iterator[Serving]:
    """A service with one prepared network, and whose chore will not make another one."""
    with serving(fleet, "networks-ahead = 1") as made:
        prepared.wait_for(1)
        yield made
        assert leftovers(fleet) == []
    prepared.forget(fleet)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def docker(fleet: Fleet, *arguments: str) -> None:
    run("docker", "-H", fleet.lab.docker, *arguments)


def name_of(path: Path) -> str:
    return f"airlock-network-{path.name}"


def kill(_: Fleet, path: Path) -> None:
    os.kill(prepared.fact(path)["pid"], signal.SIGKILL)


def remove(fleet: Fleet, path: Path) -> None:
    docker(fleet, "rm", "-f", name_of(path))


def unplug(_: Fleet, path: Path) -> None:
    """Take its port off the bridge, as when another program has made the bridge anew."""
    inside = ["nsenter", "-t", str(prepared.fact(path)["pid"]), "-n", "ip", "-o", "link"]
    shown = subprocess.run(inside, capture_output=True, text=True, check=True).stdout
    number = re.findall(r"eth0@if(\d+)", shown)[0]
    outside = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
    (port,) = re.findall(rf"^{number}: (\w+)@", outside.stdout, re.MULTILINE)
    run("ip", "link", "set", port, "nomaster")


def restart_engine(fleet: Fleet, _: Path) -> None:
    assert fleet.lab.engine is not None
    fleet.lab.engine.terminate()
    fleet.lab.engine.start()


def kill_engine(fleet: Fleet, _: Path) -> None:
    assert fleet.lab.engine is not None
    fleet.lab.engine.kill()
    fleet.lab.engine.start()


def flush_ruleset(_: Fleet, __: Path) -> None:
    run(*DELETE_RULESET)


def overwrite(path: Path, **facts: object) -> None:
    (path / "holder").write_text(json.dumps({**prepared.fact(path), **facts}))


def name_another_container(_: Fleet, path: Path) -> None:
    """It looks usable, and the engine does not start a container with it."""
    overwrite(path, container="0" * 64)


def name_another_namespace(_: Fleet, path: Path) -> None:
    overwrite(path, namespace=1)


def name_another_process(_: Fleet, path: Path) -> None:
    overwrite(path, pid=os.getpid(), namespace=Path("/proc/self/ns/net").stat().st_ino)


def break_record(_: Fleet, path: Path) -> None:
    (path / "holder").write_text("{")


def lose_process(_: Fleet, path: Path) -> None:
    (path / "process").unlink()


def change_runtime(_: Fleet, path: Path) -> None:
    overwrite(path, runtime="another")


ODD: tuple[Callable[[Fleet, Path], None], ...] = (
    kill, remove, unplug, restart_engine, kill_engine, flush_ruleset, name_another_container,
    name_another_namespace, name_another_process, break_record, lose_process, change_runtime,
)  # fmt: skip


def begun(fleet: Fleet, **overrides: str) -> Job:
    job = fleet.control.enqueue(fleet.env(f"echo on; {GATE}", **overrides))
    fleet.control.wait(job, lambda j: b"\non" in j.log or j.finish)
    assert job.finish is None, job.log.decode()
    return job


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__)
def test_job_opens_as_without_one_that_is_not_as_it_was(
    fleet: Fleet, service: Serving, odd: Callable[[Fleet, Path], None]
) -> None:
    (path,) = prepared.ready()
    odd(fleet, path)
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        job = begun(fleet)
        assert prepared.network_mode(fleet, job) == "airlock"
        open_gate(job)
        assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    eventually(lambda: path.name not in prepared.containers(fleet) or path.exists(), "it is gone")


def test_change_of_subnet_removes_those_that_are_ready(fleet: Fleet, service: Serving) -> None:
    (path,) = prepared.ready()
    before = fleet.config.read_text()
    fleet.config.write_text(before.replace("[paths]", 'subnet = "198.18.200.0/24"\n[paths]'))
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        job = begun(fleet)
        assert prepared.network_mode(fleet, job) == "airlock"
        assert path.name not in prepared.containers(fleet)
        open_gate(job)
        assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    prepared.wait_for(1)
    assert prepared.fact(prepared.ready()[0])["address"].startswith("198.18.200.")
    fleet.config.write_text(before)
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        open_gate(job := begun(fleet))
        assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()


def chore(fleet: Fleet) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-I", "-c", CHORE, str(fleet.config)])


def test_chore_killed_at_any_moment_leaves_nothing_that_is_not_removed(fleet: Fleet) -> None:
    with serving(fleet, "networks-ahead = 2") as service:
        prepared.wait_for(2)
        with fleet.agent(bootstrap_script=service.bootstrap_script):  # the directories of a job
            open_gate(job := begun(fleet))
            assert fleet.control.finished(job)[0] == "0"
    prepared.forget(fleet)
    before = [one for one in everything(fleet) if not expires(one)]
    began = time.monotonic()
    assert chore(fleet).wait(60) == 0
    whole = time.monotonic() - began
    prepared.forget(fleet)
    killed = 0
    for number in range(14):
        process = chore(fleet)
        with suppress(subprocess.TimeoutExpired):
            process.wait(whole * (number + 1) / 30)  # one that is ready is half of the work
        killed += process.poll() is None
        process.kill()
        process.wait()
        if number % 3 == 2:
            prepared.forget(fleet)  # else the next chore removes it
    assert killed >= 10
    assert chore(fleet).wait(60) == 0
    assert sorted(path.name for path in prepared.ready()) == prepared.containers(fleet)
    assert len(prepared.ready()) == 2
    assert prepared.unready() == []
    prepared.forget(fleet)
    assert [one for one in everything(fleet) if not expires(one)] == before


def test_worker_killed_at_any_moment_leaves_nothing_of_its_network(fleet: Fleet) -> None:
    with serving(fleet, "networks-ahead = 2") as service:
        for number in range(10):
            prepared.wait_for(2)
            with fleet.agent(bootstrap_script=service.bootstrap_script):
                job = fleet.control.enqueue(fleet.env("sleep 60"))
                eventually(service.workers, "a worker")
                pids = service.workers()
                with pytest.raises(subprocess.TimeoutExpired):
                    wait_for_end(pids, 0.05 * number + 0.01)
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                fleet.control.wait(job, lambda j: j.finish)
            assert job.finish is not None
            eventually(lambda: not leftovers(fleet), "the reaper has cleared it", 60)
        prepared.wait_for(2)
        assert sorted(path.name for path in prepared.ready()) == prepared.containers(fleet)
    prepared.forget(fleet)


def wait_for_end(pids: list[int], seconds: float) -> None:
    """Raise TimeoutExpired if they still run after some time."""
    command = ["timeout", str(seconds), "tail", "--pid", str(pids[0]), "-f", "/dev/null"]
    if subprocess.run(command, check=False).returncode == 124:
        raise subprocess.TimeoutExpired(command, seconds)


def test_adopter_reaper_and_service_killed_gc_removes_the_network(
    fleet: Fleet, service: Serving
) -> None:
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        job = begun(fleet)
        assert prepared.network_mode(fleet, job).startswith("container:")
        (worker,) = service.workers()
        reaper = service.chores()["reaper"]
        service.kill()
        for pid in (reaper, worker):
            os.kill(pid, signal.SIGKILL)
        fleet.control.wait(job, lambda j: j.finish)
    assert job.finish is not None
    assert "cleared dead job" in prepared.collect(fleet)
    service.start()
    prepared.wait_for(1)
    assert [path.name for path in prepared.ready()] == prepared.containers(fleet)
