"""What holds a job's prepared network ends before the job, or the engine does."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.control_plane import Job
from tests.lab import prepared
from tests.lab.engine import Engine, ended, eventually
from tests.lab.lab import GATE, Fleet, Lab, open_gate
from tests.lab.lab import fleet as a_fleet
from tests.lab.leftovers import RUNTIME, leftovers
from tests.lab.remapped import remapped
from tests.lab.service import Serving, serving

pytestmark = pytest.mark.lab

STOPPED = ("-1", "", "process_run_error")  # how the agent reports 125


@pytest.fixture
def service(fleet: Fleet) -> Iterator[Serving]:
    """A service with one prepared network."""
    with serving(fleet, "networks-ahead = 1") as made:
        prepared.wait_for(1)
        yield made
        assert leftovers(fleet) == []
    prepared.forget(fleet)


@pytest.fixture
def engine(lab: Lab) -> Iterator[Engine]:
    """The lab's engine with live-restore, which is started anew while a job runs."""
    if lab.engine is None:
        pytest.skip("needs an engine of the lab's own")
    lab.engine.terminate()
    lab.engine.start(live_restore=True)
    yield lab.engine
    lab.engine.restored()


def begun(fleet: Fleet, command: str = GATE) -> Job:
    """Start a job in a prepared network, and wait until it runs."""
    job = fleet.control.enqueue(fleet.env(f"echo on; {command}"))
    fleet.control.wait(job, lambda j: b"\non" in j.log or j.finish)
    assert job.finish is None, job.log.decode()
    assert prepared.network_mode(fleet, job).startswith("container:")
    prepared.wait_for(1)  # the next one: none is being made when the engine is killed
    return job


def adopted() -> Path:
    """Return the directory of the holder that the job has adopted."""
    (found,) = (RUNTIME / "jobs").glob("*/network-*")
    return found


def kill(_: Fleet, path: Path) -> None:
    os.kill(prepared.fact(path)["pid"], signal.SIGKILL)


def remove(fleet: Fleet, path: Path) -> None:
    name = path.name.removeprefix("network-")
    command = ["docker", "-H", fleet.lab.docker, "rm", "-f", f"airlock-network-{name}"]
    subprocess.run(command, check=True, capture_output=True)


def kill_without_the_engine(fleet: Fleet, path: Path) -> None:
    """Nothing takes the network away then: its address is still the job's."""
    assert fleet.lab.engine is not None
    fleet.lab.engine.stop()
    kill(fleet, path)


@pytest.mark.parametrize("end", [kill, remove, kill_without_the_engine])
def test_job_whose_holder_ends_is_stopped(
    fleet: Fleet, service: Serving, end: Callable[[Fleet, Path], None]
) -> None:
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        job = begun(fleet, "trap '' TERM; sleep 60; echo never")
        first = int((adopted().parent / "process").read_text().split('"pid": ')[1].split(",")[0])
        end(fleet, adopted())
        eventually(lambda: ended(first), "its processes are killed", 5)
        if fleet.lab.engine is not None:
            fleet.lab.engine.cont()
        assert fleet.control.finished(job) == STOPPED, job.log.decode()
    assert b"the job was stopped: the container that holds the job's network has ended" in job.log
    eventually(lambda: not leftovers(fleet), "all of it is removed")
    prepared.wait_for(1)
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        open_gate(following := begun(fleet))
        assert fleet.control.finished(following) == ("0", "", ""), following.log.decode()


def test_job_that_the_engine_stops_has_its_own_status(fleet: Fleet, service: Serving) -> None:
    """Without live-restore the engine ends all containers, and the holder after its job."""
    assert fleet.lab.engine is not None
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        job = begun(fleet, "trap '' TERM; while true; do sleep 0.1; done")
        fleet.lab.engine.terminate()
        fleet.lab.engine.start()
        result = fleet.control.finished(job)
    assert result[0] not in ("0", "125"), (result, job.log.decode())
    assert b"The exit status is the job's own" in job.log, job.log.decode()
    eventually(lambda: not leftovers(fleet), "all of it is removed")


@pytest.mark.parametrize("way", ["kill", "terminate"])
def test_job_goes_on_with_live_restore(
    fleet: Fleet, engine: Engine, service: Serving, way: str
) -> None:
    reach = "curl --silent --output /dev/null --write-out '%{http_code}\\n' "
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        job = begun(fleet, f"{GATE}; {reach} $BUILDKITE_AGENT_ENDPOINT; exit 7")
        getattr(engine, way)()
        engine.start(live_restore=True)
        open_gate(job)
        assert fleet.control.finished(job) == ("7", "", ""), job.log.decode()
    eventually(lambda: not leftovers(fleet), "all of it is removed")
    prepared.wait_for(1)
    with fleet.agent(bootstrap_script=service.bootstrap_script):
        open_gate(following := begun(fleet))
        assert fleet.control.finished(following) == ("0", "", ""), following.log.decode()


def test_job_runs_in_a_prepared_network_where_the_engine_maps_users(
    lab: Lab, tmp_path: Path
) -> None:
    with remapped(lab) as mapped, a_fleet(mapped, tmp_path / "mapped") as fleet:
        with serving(fleet, "networks-ahead = 1") as service:
            prepared.wait_for(1)
            with fleet.agent("--no-pty", bootstrap_script=service.bootstrap_script):
                job = begun(fleet, f"echo map $(cat /proc/self/uid_map); {GATE}")
                pid = prepared.fact(adopted())["pid"]
                assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", "0", "4294967295"]
                open_gate(job)
                assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
            assert b"map 0 0 4294967295" in job.log
            assert leftovers(fleet) == []
        prepared.forget(fleet)
