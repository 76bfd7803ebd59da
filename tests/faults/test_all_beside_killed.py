"""One job has service containers, a BuildKit, a list of what it reaches and a gateway, all at once.

The service, the reaper, the worker and dockerd are killed and started again: the job's status is
the documented one, jobs beside it go on, and the host has what it had before.
"""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.containers import first_processes
from tests.faults.direct import GATE_FILE, Direct, direct
from tests.faults.jobs import iter_until, kill
from tests.faults.test_service_ends import Launcher, status
from tests.lab import builder, launcher, world
from tests.lab.engine import Engine, ended, eventually, is_empty
from tests.lab.lab import ROLE, Fleet, Lab, fleet
from tests.lab.leftovers import RUNTIME, everything, output
from tests.lab.service import Serving, serving

pytestmark = pytest.mark.lab

ENDED_BY_DOCKER, STATUS_UNKNOWN = 143, 79
CONTAINERS = 4  # of a job that has all: its own, two services, BuildKit
# In what `occupied` names while they run: else it could not find it afterwards.
SIGNS = (
    "/run/airlock/jobs/", "/state/fresh/", ".slice/", " overlay ", " nsfs ", "veth", "LISTEN",
    " : 169.254.170.2 . ", "airlock-", "namespace ", "process ", "slot ",
)  # fmt: skip
RULES = """  - name: plain
    when: {{branch: plain}}
    allow: {{workspace: fresh}}
  - name: all
    allow:
      role: '{role}'
      ssh-keys: 'ssm:/storefront/deploy-key'
      workspace: fresh
      builds: buildkit
      agent-api: {{calls: meta-data}}
      egress: {{hosts: ["*.allowed.example"], private: [{world}/32]}}
      services: {{one: {service}, two: {service}}}
"""
COMMAND = "[sh, -c, 'echo ready; exec sleep 600']"


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A job that has all of it, and one beside it that has nothing."""

    job: Launcher
    beside: Launcher
    worker: int
    processes: frozenset[int]  # the first ones of the job's containers


@dataclass(kw_only=True, slots=True)
class Host:
    """A host with a service; `before` is all that it has while no job runs."""

    jobs: Direct
    service: Serving
    before: frozenset[str] = field(default=frozenset())

    def start(self, command: str, branch: str) -> Launcher:
        """Start a job, and return its launcher when it runs."""
        made = self.jobs.start(command, program=self.service.launcher, BUILDKITE_BRANCH=branch)
        assert made.stdout
        log = list(iter_until(made.stdout, b"the job runs"))
        assert made.poll() is None, b"".join(log).decode()
        return made

    def running(self) -> Running:
        beside = self.start(f"{GATE_FILE}; exit 4", "plain")
        workers, processes = set(self.service.workers()), set(first_processes())
        job = self.start(f"{GATE_FILE}; exit 3", "main")
        (worker,) = set(self.service.workers()) - workers
        own = frozenset(first_processes()) - processes
        assert len(own) == CONTAINERS
        return Running(job=job, beside=beside, worker=worker, processes=own)

    def left(self) -> list[str]:
        return sorted(occupied(self.jobs.fleet, self.service) - self.before)

    def nothing_left(self, seconds: float = 20) -> None:
        with suppress(TimeoutError):
            eventually(lambda: not self.left(), "all is removed", seconds)
        assert self.left() == []

    def beside_goes_on(self, running: Running) -> None:
        """Fail unless the job beside ends by itself, and the next one can begin."""
        assert running.beside.poll() is None
        self.jobs.open_gate()
        assert status(running.beside)[0] == 4
        following = self.jobs.start("exit 5", program=self.service.launcher)
        code, log = status(following)
        assert code == 5, log


def occupied(made: Fleet, service: Serving) -> set[str]:
    """Name all that a job may leave: beside `everything`, what only these jobs have or may change.

    These are network namespaces, devices, every table of the firewall (NAT among them), mounts,
    locked slots, and processes of Airlock's that are neither the service nor one of its chores.
    """
    own = {service.pid, *service.chores().values()}
    return {
        *(one for one in everything(made) if not _is_of(one, own)),
        *namespaces(),
        *output("ip", "-o", "-br", "link"),
        *output("nft", "--stateless", "--terse", "list", "ruleset"),
        *Path("/proc/self/mountinfo").read_text().splitlines(),
        *slots(),
    }


def _is_of(one: str, pids: set[int]) -> bool:
    words = one.split()
    if words[0] == "process":
        return int(words[1]) in pids or ended(int(words[1]))
    # An engine that is killed while it removes a container may leave empty ones (docs/limits.md).
    return ".slice/" in one and is_empty(Path(one))


def namespaces() -> Iterator[str]:
    """Yield the network namespaces of which a process here is a member or has a descriptor."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield f"namespace {(path / 'ns/net').readlink()}"
            for one in (path / "fd").iterdir():
                with suppress(OSError):
                    target = str(one.readlink())
                    if target.startswith("net:"):
                        yield f"namespace {target}"


def slots() -> Iterator[str]:
    """Yield the slots that a job has."""
    for path in (RUNTIME / "slots").iterdir():
        with path.open() as slot:
            try:
                fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield f"slot {path.name}"


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    launcher.builder()
    image = builder.builder_image(lab.docker, lab.image)
    settings = f'[builds]\nimage = "{image}"\n'
    with ExitStack() as held:
        base = tmp_path_factory.mktemp("all") / "fleet"
        made = held.enter_context(fleet(lab, base, settings=settings))
        jobs = held.enter_context(direct(made))
        service = f"{{image: '{lab.image}', command: {COMMAND}, ready: log:ready}}"
        made.policy(RULES.format(role=ROLE, world=world.WORLD, service=service))
        serves = held.enter_context(serving(made, config=jobs.config))
        yield Host(jobs=jobs, service=serves)


@pytest.fixture
def running(host: Host) -> Running:
    code, log = status(host.jobs.start("exit 0", program=host.service.launcher))
    assert code == 0, log
    eventually(lambda: not host.service.workers(), "its worker has ended")
    eventually(lambda: not list((RUNTIME / "jobs").iterdir()), "it is cleared")
    host.before = frozenset(occupied(host.jobs.fleet, host.service))
    made = host.running()
    found = "\n".join(host.left())
    assert [sign for sign in SIGNS if sign not in found] == []
    return made


@pytest.fixture
def live(dockerd: Engine) -> Engine:
    """An engine whose containers go on without it."""
    dockerd.terminate()
    dockerd.start(live_restore=True)
    return dockerd


def test_service_killed_and_started_again(host: Host, running: Running) -> None:
    host.service.kill()
    host.service.start()
    assert running.job.poll() is None
    host.beside_goes_on(running)
    assert status(running.job)[0] == 3
    assert all(map(ended, running.processes))
    host.nothing_left()


def test_reaper_killed_and_then_the_worker(host: Host, running: Running) -> None:
    before = host.service.chores()["reaper"]
    kill(before)
    eventually(
        lambda: host.service.chores().get("reaper", before) != before, "another one is there"
    )
    assert running.job.poll() is None
    kill(running.worker)
    assert status(running.job)[0] == STATUS_UNKNOWN
    eventually(lambda: all(map(ended, running.processes)), "all of its containers end")
    host.beside_goes_on(running)
    host.nothing_left()


def test_service_reaper_and_worker_killed(host: Host, running: Running) -> None:
    reaper = host.service.chores()["reaper"]
    kill(reaper)
    host.service.kill()
    kill(running.worker)
    assert status(running.job)[0] == STATUS_UNKNOWN
    host.service.start()
    eventually(lambda: all(map(ended, running.processes)), "all of its containers end")
    host.beside_goes_on(running)
    host.nothing_left()


def test_engine_killed_with_live_restore(live: Engine, host: Host, running: Running) -> None:
    live.kill()
    live.start(live_restore=True)
    host.beside_goes_on(running)
    assert status(running.job)[0] == 3
    host.nothing_left()


def test_engine_killed_without_live_restore(dockerd: Engine, host: Host, running: Running) -> None:
    dockerd.kill()
    dockerd.start()
    eventually(lambda: all(map(ended, running.processes)), "the engine ends all containers")
    code, log = status(running.job)
    assert code == ENDED_BY_DOCKER, log
    assert "Docker on this host was stopped, restarted" in log
    assert status(running.beside)[0] == ENDED_BY_DOCKER
    assert status(host.jobs.start("exit 5", program=host.service.launcher))[0] == 5
    host.nothing_left()


def test_all_of_them_killed(live: Engine, host: Host, running: Running) -> None:
    """The engine comes back last: until then all is cleared that can be without it."""
    live.kill()
    kill(host.service.chores()["reaper"])
    host.service.kill()
    kill(running.worker)
    assert status(running.job)[0] == STATUS_UNKNOWN
    host.service.start()
    live.start(live_restore=True)
    host.beside_goes_on(running)
    assert all(map(ended, running.processes))
    host.nothing_left(60)
