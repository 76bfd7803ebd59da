"""`make rehearse`: a provisioned host, from its first boot to its first isolated job.

images/ami/provision makes a host of a Debian 12 in a directory, and QEMU boots it by software
emulation, with systemd as its process 1. The metadata service, STS, the control plane and a git
server are in the network namespace at the other end of its only link.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.control_plane import REGISTRATION, ControlPlane, Job
from tests.fakes.git import GitServer, publish
from tests.fakes.metadata import ACCESS_KEY_ID, Metadata
from tests.fakes.simulator import listening
from tests.fakes.sts import StrictSts, Trust
from tests.lab import agent
from tests.lab.engine import STATE, eventually
from tests.lab.lab import GATE, REPOSITORY, ROLE, STORAGE, open_gate
from tests.lab.world import METADATA_V4, METADATA_V6
from tests.rehearsal import machine

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CONTROL, STS, GIT = 8180, 8181, 8182
REPO = f"http://{machine.HOST}:{GIT}/storefront.git"
AGENT = "rehearsal-1"
PATIENCE = 600.0  # seconds; a boot takes half a minute on an idle machine

CONFIGURATION = f"""[policy]
store = "file:/etc/airlock/policies"
[aws]
region = "us-east-1"
credentials = "instance-role"
sts-endpoint = "http://{machine.HOST}:{STS}"
[sandbox]
image = "registry.example.com/ci/job:1"
pull = "never"
memory = "512MiB"
tmp = "128MiB"
dns = []
[storage]
{STORAGE}"""
POLICY = f"""pipeline: storefront
repository: {REPO}
rules:
  - name: main
    when: {{branch: main}}
    allow: {{role: "{ROLE}"}}
"""
AGENTS = f"""token="{REGISTRATION}"
endpoint="http://{machine.HOST}:{CONTROL}"
name="{AGENT}"
ping-mode="poll-only"
build-path="/var/lib/buildkite-agent/builds"
plugins-path="/var/lib/buildkite-agent/plugins"
"""
JOB = """echo "user $(id -u)"
curl -sS -m 5 -X PUT http://169.254.169.254/latest/api/token || echo "metadata $?"
curl -sS -m 5 http://10.88.0.2:22/ || echo "host $?"
curl -sS "http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" | jq -r '"role \\(.RoleArn)"'
test ! -e /var/run/docker.sock && echo "no docker"
echo "profile $(cat /proc/self/attr/current)"
"""


def main() -> int:
    """Run the part that argv names; without, all of it in order. Returns 0 if it passed."""
    if os.geteuid() != 0:
        print("make rehearse needs root: chroot, namespaces, a network link", file=sys.stderr)
        return 1
    if sys.argv[1:] == ["run"]:
        return _run(STATE)
    directory = STATE / "rehearsal"
    _build(directory)
    isolated = [str(ROOT / "tests/lab/isolated"), str(directory), sys.executable]
    return subprocess.run([*isolated, "-m", "tests.rehearsal", "run"], check=False).returncode


def _build(directory: Path) -> None:
    """Make the disk image, as somebody who makes a machine image would."""
    given = directory / "input"
    shutil.rmtree(given, ignore_errors=True)
    (given / "policies").mkdir(parents=True)
    (given / "airlock.toml").write_text(CONFIGURATION)
    (given / "policies/storefront.yaml").write_text(POLICY)
    (given / "buildkite-agent.cfg").write_text(AGENTS)
    (given / "network").write_text(machine.NETWORK)
    shutil.copy(agent.binary(), given / "buildkite-agent")
    shutil.copy(HERE / "report", given / "report")
    release = directory / "airlock.tar.gz"
    wheels = directory / "wheels"
    print("A release, and a host of it:", flush=True)
    lock = ROOT / "requirements.lock"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes",
           "--only-binary", ":all:", "--requirement", str(lock), "--dest", str(wheels)]  # fmt: skip
    kept = wheels / ".lock"
    if not kept.exists() or kept.read_text() != lock.read_text():
        subprocess.run(pip, check=True)
        kept.write_text(lock.read_text())
    made = [str(ROOT / "images/ami/release"), "--python", sys.executable, "--wheels", str(wheels)]
    subprocess.run([*made, "--output", str(release)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([str(HERE / "build"), str(directory), str(release)], check=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What the machine talks to."""

    control: ControlPlane
    sts: StrictSts
    metadata: Metadata
    commit: str

    def enqueue(self, command: str, **overrides: str) -> Job:
        env = {
            "CI": "true", "BUILDKITE": "true", "BUILDKITE_BUILD_NUMBER": "7",
            "BUILDKITE_ORGANIZATION_SLUG": "acme", "BUILDKITE_PIPELINE_SLUG": "storefront",
            "BUILDKITE_PIPELINE_PROVIDER": "github", "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main",
            "BUILDKITE_REPO": REPO, "BUILDKITE_BRANCH": "main", "BUILDKITE_COMMIT": self.commit,
            "BUILDKITE_MESSAGE": "Ship it", "BUILDKITE_PULL_REQUEST": "false",
            "BUILDKITE_SOURCE": "ui", "BUILDKITE_AGENT_NAME": AGENT,
            "BUILDKITE_AGENT_META_DATA_QUEUE": "default", "BUILDKITE_COMMAND": command,
            "BUILDKITE_TIMEOUT": "false",
        }  # fmt: skip
        return self.control.enqueue({**env, **overrides})


@contextmanager
def _world(directory: Path) -> Iterator[World]:
    shutil.rmtree(directory / "git", ignore_errors=True)
    (directory / "git").mkdir()
    commit = publish(directory / "git", "storefront", REPOSITORY)
    with ExitStack() as held:
        held.enter_context(machine.link())
        control = ControlPlane(listening(machine.HOST, CONTROL))
        sts = StrictSts(listening(machine.HOST, STS), {ROLE: Trust()})
        metadata = Metadata(listening(METADATA_V4, 80))
        for simulator in (
            control, sts, metadata, Metadata(listening(METADATA_V6, 80)),
            GitServer(listening(machine.HOST, GIT), directory / "git"),
        ):  # fmt: skip
            held.enter_context(simulator)
        yield World(control=control, sts=sts, metadata=metadata, commit=commit)


def _run(directory: Path) -> int:
    copy = ["cp", "--sparse=always", str(directory / "disk.img"), str(directory / "booted.img")]
    subprocess.run(copy, check=True)
    with _world(directory) as world:
        print("\nFirst boot:", flush=True)
        _boot(directory, world, "first")
        print("\nSecond boot:", flush=True)
        _boot(directory, world, "second")
        print("\nUpgrade while a job runs:", flush=True)
        _upgrade(directory, world)
        print("\nBoot with the firewall's unit masked:", flush=True)
        _masked(directory, world)
    print("\nThe rehearsal passed.")
    return 0


def _boot(directory: Path, world: World, name: str) -> None:
    began = time.monotonic()
    job = world.enqueue(JOB)

    def step(what: str) -> None:
        print(f"  {time.monotonic() - began:6.1f} s  {what}", flush=True)

    with machine.booted(directory, name) as booted:
        eventually(lambda: world.control.is_connected(AGENT), "the agent registers", PATIENCE)
        step("the agent has registered")
        result = world.control.finished(job, PATIENCE)
        log = job.log.decode(errors="replace").replace("\r", "")
        assert result == ("0", "", ""), log
        step("the first job has ended")
        for line in (
            "user 610",
            "metadata 7",
            "host 7",
            f"role {ROLE}",
            "no docker",
            "profile docker-default (enforce)",
        ):
            assert line in log, f"expected {line!r} in the job's log:\n{log}"
        refused = world.enqueue("echo never", BUILDKITE_BRANCH="other")
        assert world.control.finished(refused, PATIENCE)[2] == "agent_refused", refused.log
        step("a job that no rule admits was refused")
        report = booted.reported()
        for section, lines in report.items():
            if section != "journal":
                print(f"            {section}: {'; '.join(lines)}", flush=True)
        assert report["failed units"] == []
        _in_order(report["states"])
        assert report["metadata"][0] == "root answered"
        assert report["metadata"][1].startswith("buildkite-agent refused:")
        assert "docker" not in report["groups"][0].split()
        booted.power_off()
        step("off")
    assert world.sts.access_keys() == {ACCESS_KEY_ID}


def _in_order(states: list[str]) -> None:
    """Every unit is active, and each was later than the one before it."""
    shown = {line.split()[0]: line.split()[1:] for line in states}
    assert {state for state, _ in shown.values()} == {"active"}, states
    at = {name: int(since) for name, (_, since) in shown.items()}
    assert at["airlock-firewall"] < at["docker"] < at["airlock"] < at["buildkite-agent"], states


def _upgrade(directory: Path, world: World) -> None:
    """A job that runs meanwhile goes on; a version that does not start is not kept."""
    began = time.monotonic()
    job = world.enqueue(f"echo here; {GATE}")
    with machine.booted(directory, "upgrade", kernel="rehearsal.upgrade") as booted:
        report = booted.reported()
        for section in ("upgrade", "broken", "wrong configuration", "back", "workers"):
            print(f"            {section}: {'; '.join(report[section])}", flush=True)
        used, other = (Path(report[one][-1]).parents[1].name for one in ("upgrade", "back"))
        assert ".1-" in used
        assert report["upgrade"][0] == f"airlock upgrade: {used} is used now, after {other}"
        assert f"did not start with version broken; {used} is used again" in report["broken"][-2]
        assert "nothing was changed" in "".join(report["wrong configuration"])
        for one in ("broken", "wrong configuration"):
            assert Path(report[one][-1]).parents[1].name == used
        assert report["back"][0] == f"airlock upgrade: {other} is used now, after {used}"
        assert job.finish is None
        open_gate(job)
        assert world.control.finished(job, PATIENCE) == ("0", "", ""), job.log.decode(
            errors="replace"
        )
        after = world.enqueue("echo after")
        assert world.control.finished(after, PATIENCE) == ("0", "", ""), after.log.decode()
        booted.power_off()
    print(f"  {time.monotonic() - began:6.1f} s  the job has passed, and one after it", flush=True)


def _masked(directory: Path, world: World) -> None:
    """Neither Docker nor the agent starts, so the job stays where it is."""
    job = world.enqueue("echo never")
    registrations = len(world.control.agents)
    mask = "systemd.mask=airlock-firewall.service"
    with machine.booted(directory, "masked", kernel=mask) as booted:
        report = booted.reported()
        print(f"            states: {'; '.join(report['states'])}", flush=True)
        shown = {line.split()[0]: line.split()[1] for line in report["states"]}
        assert shown["airlock-firewall"] == "inactive"
        assert "active" not in {shown["docker"], shown["airlock"], shown["buildkite-agent"]}
        assert len(world.control.agents) == registrations
        assert job.log == b""
        assert job.finish is None
        booted.power_off()
    print("            no agent has registered, and the job still waits", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
