"""Service containers as attackers: promises 3, 4, 6, 7 and 11 hold for what an image does there.

Each attack is made by a process of the service itself, and also where it has to succeed: in the
job's own container, or in one without the protection.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.attacks.attacker import Attacker, Unprotected, attacker, run, unprotected_container
from tests.attacks.test_image_builds import TERMINALS
from tests.fakes.metadata import ACCESS_KEY_ID
from tests.fakes.ssm import StrictSsm
from tests.lab import world
from tests.lab.engine import ended, eventually
from tests.lab.lab import DELETE_RULESET, ROLE, Fleet, Lab, fleet

pytestmark = pytest.mark.lab

SECRET = "value-of-a-secret-of-the-rule"
MARK = "variable-of-the-job"
SERVE = "[python3, -m, http.server, '8000', --directory, /tmp]"
Tries = Callable[[str], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A service container of a job that runs, driven by the test."""

    job: Attacker
    container: str

    def tries(self, script: str, seconds: int = 20) -> "subprocess.CompletedProcess[str]":
        """Run a script as a further process of the service: its user, seccomp and limits."""
        docker = ["docker", "-H", self.job.fleet.lab.docker, "exec", self.container]
        return subprocess.run(
            [*docker, "timeout", str(seconds), "bash", "-c", script],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        docker = ("docker", "-H", self.job.fleet.lab.docker)
        return int(run(*docker, "inspect", "-f", "{{.State.Pid}}", self.container))


@pytest.fixture(scope="module")
def made(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with (
        StrictSsm(world.listen(world.WORLD, 0)) as ssm,
        fleet(lab, tmp_path_factory.mktemp("services") / "fleet") as fleet_,
    ):
        ssm.put("/storefront/token", SECRET, kind="SecureString")
        text = fleet_.config.read_text()
        fleet_.config.write_text(text.replace("[aws]", f'[aws]\nssm-endpoint = "{ssm.url}"'))
        fleet_.policy(
            f"  - name: all\n    allow:\n      role: '{ROLE}'\n"
            "      secrets: {NPM_TOKEN: 'ssm:/storefront/token'}\n"
            f"      services: {{web: {{image: '{lab.image}', command: {SERVE}, ready: http:8000, "
            "env: {OWN: of-the-service}, limits: {memory: 256MiB, pids: 64}}}\n"
        )
        yield fleet_


def service_of(job: Attacker) -> Service:
    docker = ("docker", "-H", job.fleet.lab.docker)
    listed = run(*docker, "ps", "--filter", "label=airlock.service", "--format", "{{.Names}}")
    (name,) = [name for name in listed.split() if f"-{job.job.id}-" in name]
    return Service(job=job, container=name)


@pytest.fixture(scope="module")
def job(made: Fleet) -> Iterator[Attacker]:
    with attacker(made, MY_VARIABLE=MARK) as attacking:
        yield attacking


@pytest.fixture(scope="module")
def service(job: Attacker) -> Service:
    return service_of(job)


@pytest.fixture(scope="module")
def unprotected(made: Fleet, job: Attacker) -> Iterator[Unprotected]:
    with unprotected_container(made) as without:
        yield without


def path_of_credentials(job: Attacker) -> str:
    environ = "tr '\\0' '\\n' < /proc/$(pgrep -f 'sleep 300' | head -1)/environ"
    return job.tries(f"{environ} | sed -n 's/^AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=//p'").stdout


# Everything that its user can read, whatever it is called.
SEARCH = (
    "cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; "
    "find / -xdev -type f -size -1M -newermt 2000-01-01 -not -path '/usr/*' -not -path '/opt/*' "
    "-not -path '/var/lib/*' 2>/dev/null | xargs -d '\\n' cat 2>/dev/null | tr '\\0' '\\n'; "
    "for mount in $(awk '$2 ~ /^\\/(airlock|etc|home|run|tmp|var)/ {print $2}' /proc/mounts); do "
    "find $mount -type f -size -1M 2>/dev/null | xargs -d '\\n' cat 2>/dev/null | tr '\\0' '\\n'; "
    "done"
)


def test_a_service_holds_nothing_that_the_rule_grants(job: Attacker, service: Service) -> None:
    secrets = {
        "agent access token": job.job.token,
        "path of the credentials": path_of_credentials(job).strip(),
        "secret": SECRET,
        "job variable": MARK,
    }
    assert secrets["path of the credentials"].startswith("/")
    own, theirs = job.tries(SEARCH, 60).stdout, service.tries(SEARCH, 60).stdout
    assert "of-the-service" in theirs, "it reads its own environment"
    for name, value in secrets.items():
        assert value in own, f"the job itself has its {name}"
        assert value not in theirs, f"the service has the {name}"


def test_a_service_is_shown_four_files_of_the_host(job: Attacker, service: Service) -> None:
    def of_the_host(tries: Tries) -> dict[str, str]:
        """Return what is mounted from Airlock's directory: where, and whether it is writable."""
        lines = [line.split(" ") for line in tries("cat /proc/self/mountinfo").stdout.splitlines()]
        return {line[4]: line[5][:2] for line in lines if "/jobs/" in line[3]}

    assert of_the_host(service.tries) == {
        f"/etc/{name}": "ro" for name in ("passwd", "group", "hosts", "resolv.conf")
    }
    assert "/airlock" in of_the_host(job.tries), "the job itself has its directory"
    assert service.tries("ls /airlock || ls /var/run/docker.sock").returncode != 0


def test_records_and_inspect_have_none_of_it(job: Attacker, service: Service, made: Fleet) -> None:
    inspected = run("docker", "-H", made.lab.docker, "inspect", service.container)
    assert "of-the-service" in inspected, "what a rule has in `env` is no secret"
    for value in (job.job.token, SECRET, MARK, path_of_credentials(job).strip()):
        assert value not in inspected
        assert value not in made.records.read_text()


STEAL = """
token=$(curl -sf -m 3 -X PUT http://169.254.169.254/latest/api/token) &&
curl -sf -m 3 -H "X-aws-ec2-metadata-token: $token" \
  http://169.254.169.254/latest/meta-data/iam/security-credentials/fleet-instance-role
"""


def test_the_metadata_endpoint_is_as_far_as_for_a_job(
    service: Service, unprotected: Unprotected
) -> None:
    assert ACCESS_KEY_ID in unprotected.tries(STEAL).stdout
    stolen = service.tries(STEAL)
    assert stolen.returncode != 0
    assert ACCESS_KEY_ID not in stolen.stdout


def test_the_credentials_are_not_served_without_the_path(job: Attacker, service: Service) -> None:
    """The endpoint answers this network, for the job; its path is in the job's container alone."""
    status = "curl -s -m 3 -o /dev/null -w '%{http_code}' http://169.254.170.2"
    assert job.tries(f"{status}{path_of_credentials(job)}").stdout == "200"
    for guess in ("/", "/credentials", "/v2/credentials/x", "/latest/meta-data/"):
        assert service.tries(f"{status}{guess}").stdout in {"403", "404"}


def test_a_neighbours_job_and_its_services_reach_no_service(
    made: Fleet, job: Attacker, service: Service
) -> None:
    fetch = "curl -s -m 3 -o /dev/null -w '%{http_code}' http://"
    assert job.tries(f"{fetch}web:8000/").stdout == "200", "its own job reaches it, by its name"
    assert job.tries(f"{fetch}{job.address}:8000/").stdout == "200", "and at its address"
    with attacker(made) as neighbour:
        theirs = service_of(neighbour)
        for tries in (neighbour.tries, theirs.tries):
            assert tries(f"{fetch}{neighbour.address}:8000/").stdout == "200"
            assert tries(f"{fetch}{job.address}:8000/").stdout == "000"


def test_processes_of_job_and_service_do_not_see_each_other(
    job: Attacker, service: Service
) -> None:
    listed = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    assert "http.server" in service.tries(listed).stdout
    assert "http.server" not in job.tries(listed).stdout
    assert "buildkite-agent" in job.tries(listed).stdout
    assert "buildkite-agent" not in service.tries(listed).stdout


CONFINED = {
    "becomes root": "chroot / true || python3 -c 'import os; os.setuid(0)'",
    "makes a namespace": "unshare --user true",
    "mounts": "mount -t tmpfs none /tmp",
    "writes to its image": "echo x > /usr/bin/x || touch /etc/x /x",
    "opens a raw socket": "python3 -c 'import socket as s; s.socket(s.AF_PACKET, s.SOCK_RAW)'",
    "adds an address": "ip addr add 198.18.0.9/32 dev lo",
    "rewrites names": "echo 127.0.0.1 example.com >> /etc/hosts",
}


@pytest.mark.parametrize("attack", CONFINED.values(), ids=CONFINED)
def test_a_service_is_confined_as_a_job(made: Fleet, service: Service, attack: str) -> None:
    assert service.tries(attack).returncode != 0
    flags = ["--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--network", "none"]
    without = ["docker", "-H", made.lab.docker, "run", "--rm", "--security-opt"]
    run(*without, "seccomp=unconfined", *flags, made.lab.image, "bash", "-c", attack)


def test_the_kernel_reports_the_confinement(job: Attacker, service: Service) -> None:
    def status(pid: int) -> list[str]:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return [one for one in lines if one.startswith(("NoNewPrivs", "Seccomp:", "Cap", "Uid"))]

    assert status(service.pid) == status(job.pid)
    for space in ("pid", "ipc", "mnt"):
        links = {
            Path(f"/proc/{pid}/ns/{space}").readlink()
            for pid in (job.pid, service.pid, os.getpid())
        }
        assert len(links) == 3, space
    links = {Path(f"/proc/{pid}/ns/net").readlink() for pid in (job.pid, service.pid)}
    assert len(links) == 1


def test_forks_of_a_service_end_at_its_own_limit(job: Attacker, service: Service) -> None:
    bomb = (
        "python3 -c 'import os, signal, time\nmade = []\ntry:\n"
        "    while len(made) < 300:\n        child = os.fork()\n"
        "        if child == 0: signal.alarm(5); signal.pause()\n        made.append(child)\n"
        "except OSError: pass\nprint(len(made))\n[os.kill(one, 9) for one in made]'"
    )
    assert int(service.tries(bomb).stdout) < 64
    assert int(job.tries(bomb).stdout) == 300


def test_the_terminals_of_a_service_are_limited(job: Attacker, service: Service) -> None:
    assert service.tries(TERMINALS).stdout.split() == ["opened", "256"]
    _, of_the_job = job.tries(TERMINALS).stdout.split()
    assert 200 < int(of_the_job) <= 256, "the job has its own"


def test_services_and_their_files_are_gone_with_the_job(made: Fleet) -> None:
    with attacker(made) as one:
        service = service_of(one)
        service.tries("echo left > /tmp/left; echo left > /dev/shm/left")
        pid, container = service.pid, service.container
        assert service.tries("cat /tmp/left").stdout == "left\n"
    assert ended(pid)
    assert not list(Path("/run/airlock/jobs").glob(f"{one.job.id}-*"))
    listed = run("docker", "-H", made.lab.docker, "ps", "-a", "--format", "{{.Names}}")
    assert container not in listed
    with attacker(made) as later:
        assert service_of(later).tries("cat /tmp/left /dev/shm/left").returncode != 0


def test_a_breach_of_the_protection_ends_services_too(made: Fleet) -> None:
    with attacker(made) as one:
        pid = service_of(one).pid
        run(*DELETE_RULESET)
        eventually(lambda: ended(pid), "the service is killed", 10)
        made.control.finished(one.job)
    assert b"table inet airlock was changed or removed" in one.job.log


def test_a_service_that_uses_up_its_memory_is_named_and_the_job_goes_on(made: Fleet) -> None:
    with attacker(made) as one:
        service = service_of(one)
        eat = "python3 -c 'x = [bytearray(b\"x\" * (32 << 20)) for _ in range(40)]'"
        assert service.tries(eat).returncode != 0
        assert one.tries("echo still here").stdout == "still here\n"
    assert b"the service web reached its limit of memory, 256MiB" in one.job.log
    event = made.event(one.job.id, "services_ended")
    assert event["services"]["web"]["used"]["killed"] >= 1, json.dumps(event)


def test_a_service_that_fills_its_directory_is_named(made: Fleet) -> None:
    with attacker(made) as one:
        service = service_of(one)
        full = service.tries("head -c 200M /dev/zero > /tmp/large")
        assert "No space left" in full.stderr
    assert b"the directory /tmp of the service web was full" in one.job.log
