"""The service's reaper: what it clears, what it outlives, and who goes on after it."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bootstrap.host.config import Host, Paths, Sandbox
from bootstrap.sandbox.leases import lease
from bootstrap.service import reaper
from bootstrap.service.reaper import Reapers, Watcher
from tests.lab.engine import eventually


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host without an engine: nothing is at its socket, and jobs have no container."""
    (tmp_path / "jobs").mkdir()
    sandbox = Sandbox(image="job:1", docker=f"unix://{tmp_path}/docker.sock")
    return Host(sandbox=sandbox, paths=Paths(runtime=tmp_path, state=tmp_path / "state"))


@pytest.fixture
def reapers(host: Host) -> Iterator[Reapers]:
    made = Reapers()
    made.prepare(host)
    yield made
    for pid in pids(made):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    for each in made._all:  # noqa: SLF001 - the service keeps them until it ends
        each.close()
        for notice in each.kept:
            os.close(notice)


def pids(reapers: Reapers) -> list[int]:
    """Return the children of this process that are reapers."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if reapers.includes(int(pid))]


def pid_of(reapers: Reapers) -> int:
    (pid,) = pids(reapers)
    return pid


def named(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def clears(reaper: int) -> bool:
    """Return whether a reaper has a process that clears a lease."""
    children = Path(f"/proc/{reaper}/task/{reaper}/children").read_text().split()
    return any(named(int(pid)) == "airlock:clear" for pid in children)


def watches(reaper: int) -> int:
    """Return how many workers a reaper watches: it has a socket for each, and the service's."""
    descriptors = list(Path(f"/proc/{reaper}/fd").iterdir())
    links = [str(path.readlink()) for path in descriptors if path.is_symlink()]
    return sum(link.startswith("socket:") for link in links) - 1


def watched(reapers: Reapers, worker: int) -> int:
    """Have a worker watched; return its end of the pipe."""
    notice, writer = (end.detach() for end in socket.socketpair())
    reapers.watch(worker, notice)
    return writer


def killed(reapers: Reapers) -> None:
    """Kill the reaper, and have the service notice."""
    pid = pid_of(reapers)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    reapers.ended(pid, signal.SIGKILL)


def test_lease_of_a_killed_worker_is_cleared(reapers: Reapers) -> None:
    writer = watched(reapers, 1)
    os.write(writer, b"a-job\n")
    assert not clears(pid_of(reapers))
    os.close(writer)
    eventually(lambda: clears(pid_of(reapers)), "it is being cleared")


def test_worker_that_has_cleared_its_lease_needs_no_reaper(reapers: Reapers, host: Host) -> None:
    first, second = watched(reapers, 1), watched(reapers, 2)
    with lease.watching(host, "a-job", first):
        pass
    os.close(second)  # it had no lease
    third = watched(reapers, 3)
    os.write(third, b"another-job\n")
    os.close(third)
    eventually(lambda: clears(pid_of(reapers)), "the third is being cleared")
    children = Path(f"/proc/{pid_of(reapers)}/task/{pid_of(reapers)}/children").read_text()
    assert len(children.split()) == 1


def test_next_reaper_goes_on_with_all_workers(reapers: Reapers) -> None:
    before = pid_of(reapers)
    writer = watched(reapers, 1)
    os.write(writer, b"a-job\n")
    seen = watched(reapers, 2)
    os.close(seen)
    eventually(lambda: watches(before) == 1, "it has seen all that there was")
    killed(reapers)
    assert pid_of(reapers) != before
    os.close(writer)
    eventually(lambda: clears(pid_of(reapers)), "the next one clears")


def test_worker_killed_together_with_the_reaper_is_cleared_by_the_next_one(
    reapers: Reapers,
) -> None:
    writer = watched(reapers, 1)
    os.write(writer, b"a-job\n")
    pid = pid_of(reapers)
    os.kill(pid, signal.SIGKILL)
    os.close(writer)
    os.waitpid(pid, 0)
    reapers.ended(pid, signal.SIGKILL)
    reapers.worker_ended(1)
    eventually(lambda: clears(pid_of(reapers)), "the next one clears")


def test_worker_that_the_service_sees_end_before_the_reaper_is_cleared_too(
    reapers: Reapers, host: Host
) -> None:
    (host.paths.runtime / "jobs/a-job").mkdir()
    writer = watched(reapers, 1)
    os.write(writer, b"a-job\n")
    os.kill(pid_of(reapers), signal.SIGSTOP)  # it looks at nothing before it is killed
    os.close(writer)
    reapers.worker_ended(1)
    killed(reapers)
    eventually(lambda: clears(pid_of(reapers)), "the next one clears")


def test_what_is_kept_of_a_worker_is_closed_when_its_lease_is_gone(
    reapers: Reapers, host: Host
) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    (host.paths.runtime / "jobs/a-job").mkdir()
    os.write(writer := watched(reapers, 1), b"a-job\n")
    os.close(writer)
    reapers.worker_ended(1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    (host.paths.runtime / "jobs/a-job").rmdir()
    os.close(watched(reapers, 2))
    reapers.worker_ended(2)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_is_kept_of_a_worker_is_closed_when_it_has_ended(reapers: Reapers) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for worker in range(20):
        os.close(watched(reapers, worker))
        reapers.worker_ended(worker)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_reaper_ends_with_its_service_and_its_last_worker(reapers: Reapers, host: Host) -> None:
    """A change of the configuration has the same effect: jobs that run keep their reaper."""
    first = pid_of(reapers)
    writer = watched(reapers, 1)
    changed = Host(sandbox=host.sandbox, paths=host.paths)
    reapers.prepare(changed)
    assert len(pids(reapers)) == 2
    os.close(writer)
    eventually(lambda: os.waitpid(first, os.WNOHANG) != (0, 0), "the first has ended")
    reapers.ended(first, 0)
    assert len(pids(reapers)) == 1


def test_reaper_that_reads_nothing_any_more_is_replaced(reapers: Reapers) -> None:
    stopped = pid_of(reapers)
    os.kill(stopped, signal.SIGSTOP)
    writers: list[int] = []
    while os.waitpid(stopped, os.WNOHANG) == (0, 0):
        writers.append(watched(reapers, len(writers)))
    reapers.ended(stopped, signal.SIGKILL)
    assert pid_of(reapers) != stopped
    os.write(writers[-1], b"a-job\n")
    for worker, writer in enumerate(writers):
        os.close(writer)
        if worker < len(writers) - 1:
            reapers.worker_ended(worker)
    eventually(lambda: clears(pid_of(reapers)), "the next one clears", 30)


def test_watcher_returns_when_there_is_nothing_left(host: Host) -> None:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    notice, writer = (end.detach() for end in socket.socketpair())
    socket.send_fds(ours, [b"n"], [notice])
    os.close(notice)
    os.close(writer)
    ours.close()
    Watcher(host, its).run()
    assert its.fileno() == -1


@pytest.mark.parametrize(
    ("received", "token"),
    [(b"", ""), (b"a-job", ""), (b"a-job\n", "a-job"), (b"a-job\ndone", ""), (b"a\ndo", "a")],
)
def test_only_a_lease_that_is_named_and_not_done_is_cleared(received: bytes, token: str) -> None:
    assert lease.unfinished(received) == token


def test_processes_have_names(reapers: Reapers) -> None:
    eventually(lambda: named(pid_of(reapers)) == f"airlock:{reaper.NAME}", "it is named")
    assert os.getsid(pid_of(reapers)) == pid_of(reapers)
