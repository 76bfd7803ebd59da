"""docs/install.md and docs/operations.md, command by command, on a host without Airlock.

    tests/lab/with_systemd .venv/bin/pytest tests/service/test_installed.py

What a lab has not (a package index, a registry, a journal) is left out or stands in for it; every
other command is run as it is written.
"""

import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootstrap import __version__
from tests.fakes.control_plane import Job
from tests.lab import launcher, systemd, users
from tests.lab.fleet import RealAgent
from tests.lab.lab import GATE, Fleet, Lab, fleet, open_gate
from tests.lab.leftovers import leftovers
from tests.lab.systemd import main_pid, shown, systemctl
from tests.lab.unit import directory
from tests.test_docs import ROOT, commands_below

pytestmark = [
    pytest.mark.lab,
    pytest.mark.systemd,
    pytest.mark.skipif(not systemd.UNITS.is_dir(), reason="needs tests/lab/with_systemd"),
]

AGENT = users.NAME  # also the name of its unit
PACKAGES = Path(sysconfig.get_path("purelib"))  # where the tests have what pip would install
LIBRARY = Path("/opt/airlock/lib/python3.11/site-packages")
PROGRAM = Path("/opt/airlock/bin/airlock")
SCRIPT = "import sys; from bootstrap.cli import main; sys.exit(main())"


def packages() -> None:
    (LIBRARY / "lab.pth").write_text(f"{PACKAGES}\n{ROOT}\n")


def airlock() -> None:
    PROGRAM.write_text(f"#!/opt/airlock/bin/python3\n{SCRIPT}\n")
    PROGRAM.chmod(0o755)
    built = PROGRAM.with_name("airlock-launcher")
    built.unlink(missing_ok=True)
    built.write_bytes(launcher.binary().read_bytes())


STAND_INS = {
    "/opt/airlock/bin/pip install --require-hashes -r requirements.lock": packages,
    "/opt/airlock/bin/pip install --no-deps .": airlock,
    "images/job/build --tag registry.example.com/ci/job:1 && docker push "
    "registry.example.com/ci/job:1": None,
    "journalctl -u airlock": None,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """A host, and a directory like a checkout of this repository with the operator's policies."""

    fleet: Fleet
    checkout: Path

    def run(self, command: str, status: int = 0) -> str:
        """Run a command of a page as root, and return what it prints."""
        if command in STAND_INS:
            if stand_in := STAND_INS[command]:
                stand_in()
            return ""
        done = subprocess.run(
            ["bash", "-ec", command], cwd=self.checkout, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
            env={**os.environ, "DOCKER_HOST": self.fleet.lab.docker},
        )  # fmt: skip
        assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def started(self, command: str, **overrides: str) -> Job:
        env = {"BUILDKITE_AGENT_NAME": AGENT, **overrides}
        return self.fleet.control.enqueue(self.fleet.env(command, **env))

    def result(self, command: str, **overrides: str) -> tuple[str, str, str]:
        return self.fleet.control.finished(self.started(command, **overrides))


@contextmanager
def discarded(path: str, base: Path) -> Iterator[None]:
    """Let nothing that is written to a directory reach this machine."""
    upper, work = base / "upper" / path[1:], base / "work" / path[1:]
    for made in (upper, work):
        made.mkdir(parents=True)
    options = f"lowerdir={path},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@contextmanager
def machine(base: Path) -> Iterator[None]:
    """Have /etc, /opt and the directories of programs to write to, and an agent in group docker."""
    kept = {name: Path("/etc", name).read_text() for name in ("passwd", "group")}
    kept["group"] = re.sub(r"^(docker:.*:)$", rf"\1{AGENT}", kept["group"], flags=re.MULTILINE)
    with ExitStack() as held:
        for path in ("/etc", "/opt", "/usr/bin", "/usr/libexec"):
            held.enter_context(discarded(path, base))
        for name, text in kept.items():
            Path("/etc", name).write_text(text)
        for kind in ("service", "socket"):
            one = systemd.UNITS / f"airlock.{kind}"
            held.callback(one.write_text, one.read_text())
            one.unlink()
            (systemd.UNITS / f"airlock.{kind}.d/lab.conf").unlink(missing_ok=True)
        units = "/etc/systemd/system"
        subprocess.run(["mount", "--bind", str(systemd.UNITS), units], check=True)
        held.callback(subprocess.run, ["umount", "--lazy", units], check=True)
        yield


def configuration(made: Fleet) -> str:
    """Return what the operator writes into airlock.toml: nothing about the service."""
    text = made.config.read_text()
    return text.replace(f"file:{made.base}/policies", "file:/etc/airlock/policies")


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    base = tmp_path_factory.mktemp("installed")
    checkout = base / "checkout"
    (checkout / "my/policies").mkdir(parents=True)
    (checkout / "agent-config").symlink_to(ROOT / "agent-config")
    with ExitStack() as held:
        held.enter_context(machine(Path("/run/installed")))
        made = held.enter_context(fleet(lab, base / "fleet"))
        made.policy("  - {name: main, when: {branch: main}, allow: {}}\n")
        policy = made.base / "policies/storefront.yaml"
        policy.rename(checkout / "my/policies/storefront.yaml")
        (checkout / "my/airlock.toml").write_text(configuration(made))
        yield Host(fleet=made, checkout=checkout)


@pytest.fixture(scope="module")
def printed(host: Host) -> Iterator[Mapping[str, str]]:
    """What the commands for a host print, in their order; then an agent that is a unit runs."""
    agent = RealAgent(
        name=AGENT, bootstrap_script="/usr/libexec/airlock-launcher",
        hooks_path=Path("/etc/buildkite-agent/hooks"),
    )  # fmt: skip
    found = {}
    with ExitStack() as held:
        base = held.enter_context(directory())
        held.enter_context(systemd.agent_unit(agent, host.fleet.control, base))
        for command in commands_below("install.md", "On a host"):
            found[command] = host.run(command, 78 if command.startswith("runuser") else 0)
        yield found
        stop = ["systemctl", "disable", "--now", "airlock.socket", "airlock.service"]
        subprocess.run(stop, capture_output=True, check=False)  # unless they are removed


def test_commands_print_what_the_page_has_beside_them(printed: Mapping[str, str]) -> None:
    assert printed["airlock serve --check"] == ""
    status = printed["systemctl status airlock"]
    assert "active (running)" in status
    assert __version__ in status
    assert "BUILDKITE_ENV_FILE" in printed[f"runuser -u {AGENT} -- /usr/libexec/airlock-launcher"]
    (group,) = re.findall(r"^docker:.*$", Path("/etc/group").read_text(), re.MULTILINE)
    assert AGENT not in group


def test_hook_and_launcher_are_the_agents(host: Host, printed: Mapping[str, str]) -> None:
    assert printed
    job = host.started("echo in the sandbox")
    assert host.fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    events = [one["event"] for one in host.fleet.events(job.id)]
    assert (events.count("admitted"), events.count("verdict")) == (1, 1)
    assert host.result("echo no", BUILDKITE_BRANCH="other")[1:] == ("", "agent_refused")
    assert leftovers(host.fleet) == []


@pytest.mark.parametrize(
    "command",
    [
        "systemctl status airlock airlock.socket",
        "docker info",
        "airlock gc --dry-run",
        "nft list table inet airlock",
        "ls /run/airlock/jobs",
        "systemd-analyze security airlock",
    ],
)
def test_command_for_when_something_fails(
    host: Host, printed: Mapping[str, str], command: str
) -> None:
    assert printed
    page = " ".join((ROOT / "docs/operations.md").read_text().split())
    assert f"`{command}`" in page
    shown = host.run(command)
    assert "security" not in command or "airlock.service: 5.9 MEDIUM" in shown


def test_trail_is_searched_for_what_airlock_ended(host: Host, printed: Mapping[str, str]) -> None:
    assert printed
    assert host.result("exit 5") == ("5", "", "")
    found = re.search(r"`(jq -cR .*?)`", (ROOT / "docs/install.md").read_text(), re.DOTALL)
    assert found
    search = " ".join(found[1].split()).replace("/var/log/airlock/records.jsonl", "-")
    shown = host.run(f"{search} <{host.fleet.records}")
    assert '"exit_code":78' in shown  # what the page has the operator try before the first job
    assert '"ended"' not in shown


def test_upgrade_costs_no_job(host: Host, printed: Mapping[str, str]) -> None:
    assert printed
    job, before = host.started(f"echo here; {GATE}"), main_pid()
    host.fleet.control.wait(job, lambda j: b"\nhere" in j.log)
    shows = [host.run(command) for command in commands_below("operations.md", "Upgrade")]
    assert f"{__version__}" in shows[-1]
    assert main_pid() == before
    open_gate(job)
    assert host.fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    assert host.result("echo later") == ("0", "", "")


def test_gc_has_a_timer_that_does_nothing_where_the_service_is(
    host: Host, printed: Mapping[str, str]
) -> None:
    assert printed
    for command in commands_below("install.md", "The agent's user"):
        host.run(command)
    assert shown("airlock-gc.timer", "ActiveState") == "active"
    systemctl("start", "airlock-gc")
    assert shown("airlock-gc", "ConditionResult") == "no"
    host.run("systemctl disable --now airlock-gc.timer")
    assert shown("airlock-gc.timer", "ActiveState") == "inactive"


def test_without_the_service_the_hook_lets_pass_and_the_job_cannot_start(
    host: Host, printed: Mapping[str, str]
) -> None:
    assert printed
    host.run("systemctl stop airlock.socket airlock")
    job = host.started("echo never")
    ending = host.fleet.control.finished(job)
    assert ending == ("-1", "", "process_run_error"), job.log.decode()  # 125, as the agent says it
    assert b"Could not start the job" in job.log
    host.run("systemctl start airlock.socket")
    assert host.result("echo later") == ("0", "", "")


def test_removal_leaves_neither_network_nor_ruleset(host: Host, printed: Mapping[str, str]) -> None:
    assert printed
    for command in commands_below("operations.md", "Removal"):
        host.run(command)
    networks = host.run("docker network ls --format '{{.Name}}'").split()
    assert "airlock" not in networks
    assert "airlock" not in host.run("nft list tables")
    assert "1690:" not in host.run("ip -4 rule; ip -6 rule")
    assert not Path("/opt/airlock").exists()
