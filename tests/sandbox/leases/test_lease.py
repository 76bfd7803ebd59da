"""Leases: acquired by many at once, cleared without an engine, and never in another job's way."""

import gc
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from bootstrap.host.config import Host, Paths, Sandbox
from bootstrap.sandbox.leases import clearing, first_process, lease
from tests.lab.engine import eventually

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host without an engine: nothing is at its socket."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "swept").touch()
    sandbox = Sandbox(image="job:1", docker=f"unix://{tmp_path}/docker.sock", slots=64)
    yield Host(sandbox=sandbox, paths=Paths(runtime=tmp_path, state=tmp_path / "state"))
    with warnings.catch_warnings():  # docker-py does not close a connection that failed
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@contextmanager
def hung_engine(path: Path) -> Iterator[None]:
    """An engine that accepts connections and never answers, as one that is stopped."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        yield


def acquire_many(host: Host, worker: int, failures: "multiprocessing.Queue[str]") -> None:
    """Create and lock job directories, as `acquire` does, while others sweep."""
    for number in range(150):
        directory = host.paths.runtime / "jobs" / f"{worker}-{number}"
        try:
            descriptor = lease._create(host.paths.runtime, directory)  # noqa: SLF001
            if not directory.exists():
                failures.put(f"{directory.name} was removed while it was held")
            directory.rmdir()
            os.close(descriptor)
        except Exception as failed:  # noqa: BLE001
            failures.put(f"{type(failed).__name__}: {failed}")


def look_for_dead(host: Host, until: float) -> None:
    """Remove what `sweep` would clear."""
    while time.monotonic() < until:
        for name in lease.dead(host):
            (host.paths.runtime / "jobs" / name).rmdir()


def test_acquiring_and_sweeping_at_once_never_fails(host: Host) -> None:
    context = multiprocessing.get_context("fork")
    failures: multiprocessing.Queue[str] = context.Queue()
    workers = [context.Process(target=acquire_many, args=(host, n, failures)) for n in range(4)]
    until = time.monotonic() + 60
    sweepers = [context.Process(target=look_for_dead, args=(host, until)) for _ in range(3)]
    for process in (*workers, *sweepers):
        process.start()
    for process in workers:
        process.join()
    for process in sweepers:
        process.kill()
        process.join()
    assert failures.empty(), failures.get()
    assert list((host.paths.runtime / "jobs").iterdir()) == []


def test_lease_that_cannot_be_created_is_125(host: Host) -> None:
    (host.paths.runtime / "jobs" / "taken").mkdir()
    taken = lease.acquire(host, "taken", tree=Path("/none"), agent="x", alert=print)
    with pytest.raises(CannotStart, match="taken could not be created: File exists"), taken:
        pass


@root
def test_processes_end_although_the_engine_hangs(host: Host) -> None:
    directory = host.paths.runtime / "jobs" / "dead"
    directory.mkdir()
    with (
        hung_engine(host.paths.runtime / "docker.sock"),
        subprocess.Popen(["sleep", "60"]) as container,
    ):
        first_process.record(directory, container.pid)
        began = time.monotonic()
        problems = clearing.clear(host, "dead", patience=1.0)
        assert time.monotonic() - began < 4
        assert container.wait() == -9
    assert [problem.problem.partition(":")[0] for problem in problems] == [
        "Docker Engine does not answer at unix"
    ]
    assert directory.exists(), "so that clearing is repeated"


@root
def test_services_end_although_the_engine_hangs_and_others_with_their_pid_do_not(
    host: Host,
) -> None:
    directory = host.paths.runtime / "jobs" / "dead"
    with hung_engine(host.paths.runtime / "docker.sock"), ExitStack() as held:
        services = [held.enter_context(subprocess.Popen(["sleep", "60"])) for _ in range(3)]
        for number, service in enumerate(services):
            of_service = directory / f"service-{number}"
            of_service.mkdir(parents=True)
            first_process.record(of_service, service.pid)
        reused = directory / "service-2/process"
        reused.write_text(json.dumps({**json.loads(reused.read_text()), "started": 1}))
        clearing.clear(host, "dead", patience=1.0)
        assert [service.wait(5) for service in services[:2]] == [-9, -9]
        assert services[2].poll() is None
        services[2].kill()


@root
def test_sweep_with_hung_engine_takes_seconds_and_names_what_is_left(host: Host) -> None:
    """All dead jobs' processes end, however many there are."""
    with hung_engine(host.paths.runtime / "docker.sock"):
        containers = []
        for number in range(5):
            directory = host.paths.runtime / "jobs" / f"dead-{number}"
            directory.mkdir()
            containers.append(subprocess.Popen(["sleep", "60"]))
            first_process.record(directory, containers[-1].pid)
        began = time.monotonic()
        swept = lease.sweep(host, patience=1.0)
        assert time.monotonic() - began < 5
        assert [container.wait() for container in containers] == [-9] * 5
    assert swept.cleared == ()
    assert sorted(name for name, _ in swept.left) == [f"dead-{number}" for number in range(5)]
    assert swept.problem().startswith("could not clear all that dead jobs left on this host (5 of")


@root
def test_broken_leftovers_do_not_keep_others_from_starting(host: Host) -> None:
    broken = host.paths.runtime / "jobs" / "broken"
    broken.mkdir()
    (broken / "process").write_text('{"pid": ')  # clearing never guesses what to kill
    (broken / "address").write_text("[]")
    (host.paths.runtime / "jobs" / "a file").touch()
    swept = lease.sweep(host, patience=1.0)
    assert [name for name, _ in swept.left] == ["broken"]


@root
@pytest.mark.parametrize("when", ["before the gate opens for reading", "after"])
def test_entry_at_its_start_gate_ends_with_the_lease(host: Host, when: str) -> None:
    """Before the process is recorded nothing can be killed: whoever waits has to end by itself."""
    directory = host.paths.runtime / "jobs" / "dead"
    (directory / "sandbox").mkdir(parents=True)
    gate = directory / "sandbox" / "go"
    os.mkfifo(gate)
    entry = ["sh", "-c", 'read -r message <"$1"; [ "$message" = go ] || exit 125', "sh", str(gate)]
    if when == "after":
        with subprocess.Popen(entry) as waiting:
            eventually(lambda: _opens(waiting.pid), "it waits for a writer")
            clearing.clear(host, "dead", patience=0.1)
            assert waiting.wait(10) == 125
    else:
        clearing.clear(host, "dead", patience=0.1)
        assert subprocess.run(entry, capture_output=True, check=False).returncode != 0
    assert not gate.exists()


# A shell would take the status of its child.
PARENT = """
import os, time
if os.fork():
    print("begun", flush=True)
time.sleep(60)
"""


@contextmanager
def unkillable() -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """The first process of a PID namespace, and a process without which no signal ends it.

    The kernel ends the former after all others of its namespace. The latter has a child there, and
    never takes the status of that.
    """
    init = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "echo begun; exec sleep 60"]
    with subprocess.Popen(init, stdout=subprocess.PIPE) as outside:
        assert outside.stdout
        assert outside.stdout.readline() == b"begun\n"
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
        pid = int(children.read_text())
        join = ["nsenter", "--target", str(pid), "--pid", "--no-fork", sys.executable, "-c"]
        with subprocess.Popen([*join, PARENT], stdout=subprocess.PIPE) as parent:
            assert parent.stdout
            assert parent.stdout.readline() == b"begun\n"
            try:
                yield pid, parent
            finally:
                parent.kill()


@root
@pytest.mark.parametrize("whose", ["", "builder", "service-db"])
def test_reaper_stays_while_a_container_of_the_lease_runs(
    host: Host, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pidfd alone can end it once the engine has forgotten the container, or hangs."""
    monkeypatch.setattr(clearing, "KILL_PATIENCE", 0.05)
    monkeypatch.setattr(lease, "REAPER_LIMIT", 0.0)
    directory = host.paths.runtime / "jobs" / "dead" / whose
    directory.mkdir(parents=True)
    reaper = threading.Thread(target=lease.clear_until_gone, args=(host, "dead"))
    with unkillable() as (pid, parent):
        first_process.record(directory, pid)
        with pytest.raises(CannotStart, match=f"the container of {directory} still runs"):
            first_process.kill(directory, 0.0)
        reaper.start()
        reaper.join(2)
        assert reaper.is_alive(), "a process of the lease still runs"
        parent.kill()
        reaper.join(20)
        assert not reaper.is_alive(), "the engine does not answer: that is the next job's to clear"


def _opens(pid: int) -> bool:
    return "fifo" in Path(f"/proc/{pid}/wchan").read_text() or "openat" in _call(pid)


def _call(pid: int) -> str:
    number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    return {"257": "openat", "56": "openat"}.get(number, "")
