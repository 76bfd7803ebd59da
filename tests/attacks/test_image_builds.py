"""Image builds: what an attacker of a Docker socket would use is not there.

Each probe succeeds in a container that a Docker socket gives: privileged, with the host's network,
processes and files. None does in a step of a Dockerfile, and none in the builder's own container.
"""

import json
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.attacks.attacker import Attacker, attacker, container_of, run
from tests.attacks.image_builds import PROBES, PROGRAMS, got, probes, taken_over_image
from tests.lab import builder, launcher
from tests.lab.engine import eventually
from tests.lab.lab import GATEWAY, Lab, fleet
from tests.lab.leftovers import RUNTIME

pytestmark = pytest.mark.lab

ROOTFS = f"""
rm -rf /tmp/app; mkdir -p /tmp/app/rootfs/bin; cd /tmp/app
for p in {PROGRAMS}; do
  p=$(type -P $p); cp -L $p rootfs/bin/
  for l in $(ldd $p | grep -o '/[^ ]*'); do mkdir -p rootfs$(dirname $l); cp -L $l rootfs$l; done
done
"""
BUILD = (
    "buildctl build --progress=plain --frontend dockerfile.v0 --local context=. "
    "--local dockerfile=."
)

# As `--privileged` does, without the capabilities that this machine's own root may lack.
_PRIVILEGED = (
    *(f"--cap-add={name}" for name in ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "SYSLOG")),
    "--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined",
    *(f"--device=/dev/{name}" for name in ("fuse", "net/tun")),
)  # fmt: skip


@contextmanager
def job(lab: Lab, base: Path, image: str) -> Iterator[Attacker]:
    """Run an attacker's job whose builder has this image."""
    launcher.builder()
    clients = builder.clients_image(lab.docker, lab.image)
    settings = f'[builds]\nimage = "{image}"\n'
    with fleet(lab, base / "fleet", settings=settings) as made:
        made.policy(
            "  - {name: other, when: {step: other}, allow: "
            f"{{builds: buildkit, image: '{clients}'}}}}\n"
            f"  - {{name: images, allow: {{builds: buildkit, image: '{clients}'}}}}\n"
        )
        with attacker(made) as running:
            yield running


@pytest.fixture(scope="module")
def building(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    image = builder.builder_image(lab.docker, lab.image)
    with job(lab, tmp_path_factory.mktemp("building"), image) as made:
        prepared = made.tries(ROOTFS, 60)
        assert prepared.returncode == 0, prepared.stderr
        yield made


@pytest.fixture(scope="module")
def taken_over(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    image = taken_over_image(lab, tmp_path_factory.mktemp("image"))
    with job(lab, tmp_path_factory.mktemp("taken-over"), image) as made:
        yield made


@pytest.fixture(scope="module")
def variables() -> Iterator[dict[str, str]]:
    """A port of the host on every address, and the disk of this machine."""
    with closing(socket.create_server(("0.0.0.0", 0))) as listener:
        device = Path("/").stat().st_dev
        yield {
            "DISK": f"{os.major(device)} {os.minor(device)}",
            "HOST": str(os.getpid()),
            "PORT": str(listener.getsockname()[1]),
            "STATE": "var/lib",
        }


def builders_container(attack: Attacker) -> str:
    docker = ("docker", "-H", attack.fleet.lab.docker)
    found = json.loads(run(*docker, "inspect", container_of(attack.fleet, attack.job)))[0]
    return f"airlock-builder-{found['Config']['Labels']['airlock.job']}"


def in_builder(attack: Attacker, script: str, seconds: float = 200) -> str:
    """Run a script as the taken-over BuildKit, which is root in its user namespace."""
    (cache,) = (attack.fleet.base / "state/workspaces").glob("*/buildkit")
    (cache / "one.script.new").write_text(script)
    (cache / "one.script.new").rename(cache / "one.script")
    out = cache / "one.out"
    eventually(out.exists, "the taken-over builder ran the script", seconds)
    text = out.read_text(errors="replace")
    out.unlink()
    return text


def in_step(attack: Attacker, script: str, flags: str = "", run: str = "RUN") -> str:
    """Run a script in a step of a Dockerfile, as root there."""
    step = (
        f"cd /tmp/app; cat > attack <<'END'\n{script}\n: {uuid.uuid4()}\nEND\n"
        "printf 'FROM scratch\\nCOPY rootfs /\\nCOPY attack /attack\\n"
        f'{run} ["/bin/bash", "/attack"]\\n\' > Dockerfile\n'
        f"{BUILD} {flags} 2>&1\n"
    )
    return attack.tries(step, 240).stdout


@pytest.fixture(scope="module")
def as_a_socket_gives(
    lab: Lab, variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> set[str]:
    script = tmp_path_factory.mktemp("script") / "probes"
    script.write_text(probes(variables))
    done = subprocess.run(
        ["docker", "-H", lab.docker, "run", "--rm", *_PRIVILEGED, "--network=host", "--pid=host",
         "--volume=/:/host", "--volume=/sys:/sys", "--volume=/run/airlock-lab:/run/airlock-lab",
         f"--volume={script}:/probes", "--env=BUILDKITE_AGENT_ACCESS_TOKEN=x", "--user=0",
         lab.image, "bash", "/probes"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return got(done.stdout)


@pytest.fixture(scope="module")
def of_a_step(building: Attacker, variables: dict[str, str]) -> set[str]:
    return got(in_step(building, probes(variables)))


@pytest.fixture(scope="module")
def of_a_builder(taken_over: Attacker, variables: dict[str, str]) -> set[str]:
    return got(in_builder(taken_over, probes(variables)))


@pytest.mark.parametrize("probe", PROBES)
def test_probe_succeeds_where_a_socket_of_the_host_was_given(
    as_a_socket_gives: set[str], probe: str
) -> None:
    assert probe in as_a_socket_gives


@pytest.mark.parametrize("probe", PROBES)
def test_probe_fails_in_a_step(of_a_step: set[str], probe: str) -> None:
    assert probe not in of_a_step


@pytest.mark.parametrize("probe", PROBES)
def test_probe_fails_in_a_builder_that_was_taken_over(of_a_builder: set[str], probe: str) -> None:
    assert probe not in of_a_builder


def test_neither_reaches_the_host_by_the_address_of_its_bridge(
    building: Attacker, taken_over: Attacker, variables: dict[str, str]
) -> None:
    script = f"exec 3<>/dev/tcp/{GATEWAY}/{variables['PORT']} && echo GOT host; echo tried"
    assert not got(in_step(building, script)) | got(in_builder(taken_over, script))


@pytest.mark.parametrize(
    ("run", "flags"),
    [
        ("RUN --security=insecure", ""),
        ("RUN --security=insecure", "--allow security.insecure"),
        ("RUN --network=host", ""),
        ("RUN --network=host", "--allow network.host"),
        ("RUN --device=name=vendor.com/device=all,required", "--allow device"),
    ],
)
def test_no_entitlement_is_granted(building: Attacker, run: str, flags: str) -> None:
    output = in_step(building, "echo it ran", flags, run)
    assert "it ran" not in output.replace("echo it ran", "")
    assert "is not allowed" in output or "device injection failed" in output, output


def test_a_step_stays_in_the_control_group_of_its_builder(building: Attacker) -> None:
    output = in_step(building, "cat /proc/self/cgroup; echo tried", "--opt cgroup-parent=/")
    found = [line.rpartition(":")[2] for line in output.splitlines() if ":/" in line]
    assert found
    assert set(found) == {"/"}, "the root of the container's control group namespace"


def test_a_step_makes_no_namespace_and_no_mount(building: Attacker) -> None:
    output = in_step(
        building,
        "for f in -U -m -n -p -i -u; do unshare $f true && echo made; done\n"
        "mount -t tmpfs x /tmp && echo made; mount --bind /bin /etc && echo made; echo tried",
    )
    assert "tried" in output
    assert not [line for line in output.splitlines() if line.split()[-1:] == ["made"]]


def test_a_step_sees_its_own_processes_only(building: Attacker) -> None:
    output = in_step(building, "cat /proc/[0-9]*/comm; echo tried")
    assert "tried" in output
    assert "buildkitd" not in output


def test_the_jobs_own_container_has_no_more_than_without_builds(building: Attacker) -> None:
    tries = building.tries(
        "unshare -U true; unshare -m true; mount -t tmpfs x /tmp; grep Seccomp_filters "
        "/proc/self/status; ls -ld /var/lib/buildkit /run/docker.sock; echo tried"
    )
    assert tries.stderr.count("Operation not permitted") == 2, tries.stderr
    assert "must be superuser" in tries.stderr or "permission denied" in tries.stderr
    assert "tried" in tries.stdout


def test_it_listens_at_its_socket_only(building: Attacker) -> None:
    listening = building.tries("cat /proc/net/tcp /proc/net/tcp6").stdout
    ports = [line for line in listening.splitlines() if line.split()[3:4] == ["0A"]]
    assert not [line for line in ports if " 0B00007F:" not in line], "Docker's resolver listens"
    paths = list(RUNTIME.glob("jobs/*/sandbox/buildkit.sock"))
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert building.uid in {str(path.stat().st_uid) for path in paths}


def test_nothing_secret_is_in_the_configuration_of_its_container(building: Attacker) -> None:
    docker = ("docker", "-H", building.fleet.lab.docker)
    text = run(*docker, "inspect", builders_container(building))
    found = json.loads(text)[0]
    names = {one.partition("=")[0] for one in found["Config"]["Env"]}
    assert names <= {"PATH", "LANG", "HOME", "XDG_RUNTIME_DIR", "BUILDKIT_HOST"}
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert not found["HostConfig"]["Binds"]
    assert "docker.sock" not in text


def test_it_has_no_user_of_the_host_or_of_a_job(taken_over: Attacker) -> None:
    (cache,) = (taken_over.fleet.base / "state/workspaces").glob("*/buildkit")
    in_builder(taken_over, "touch own; touch other; chown 1000:1000 other; chmod 4777 own; echo ok")
    uids = {(cache / name).stat().st_uid for name in ("own", "other")}
    assert uids == {cache.stat().st_uid, cache.stat().st_uid + 1000}
    assert min(uids) >= 0x7000_0000
    above = cache.parents[: len(cache.relative_to(taken_over.fleet.base).parents)]
    assert any(path.stat().st_mode & 0o077 == 0 for path in above), "its set-uid files are apart"


TERMINALS = """
python3 - <<'PY'
import os
opened = 0
try:
    while opened < 600 and os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY):
        opened += 1
except OSError:
    pass
print("opened", opened)
PY
"""


def test_the_terminals_of_its_container_are_limited(taken_over: Attacker) -> None:
    assert in_builder(taken_over, TERMINALS).split() == ["opened", "256"]
    _, of_the_job = taken_over.tries(TERMINALS).stdout.split()
    assert 200 < int(of_the_job) <= 256, "the job has its own"


def test_it_reaches_no_other_workspace(taken_over: Attacker) -> None:
    output = in_builder(taken_over, "findmnt -rno TARGET,SOURCE; ls -a /var/lib/buildkit/..")
    assert "plugins" not in output
    assert output.count("buildkit]") == 1, "one directory of the host: its cache"


def test_what_one_rule_caches_is_not_there_for_another(building: Attacker, lab: Lab) -> None:
    mount = "RUN --mount=type=cache,id=shared,target=/c"
    left = in_step(building, "echo poison > /c/poison; ls /c", "", mount)
    assert "poison" in left
    again = in_step(building, "ls /c", "", mount)
    assert "poison" in again.rpartition("RUN")[2]
    with attacker(building.fleet, BUILDKITE_STEP_KEY="other") as other:
        assert other.tries(ROOTFS, 60).returncode == 0
        clean = in_step(other, "ls /c; echo tried", "", mount)
        assert "tried" in clean
        assert "poison" not in clean
