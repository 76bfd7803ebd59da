"""The boots of the rehearsal, each with what it has to show."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.fakes.metadata import ACCESS_KEY_ID
from tests.fakes.simulator import listening
from tests.lab.engine import eventually
from tests.lab.lab import GATE, ROLE, open_gate
from tests.rehearsal import machine, verdict
from tests.rehearsal.given import AGENT, ENDED
from tests.rehearsal.world import World

PATIENCE = 600.0  # seconds; a boot takes half a minute on an idle machine
JOB = """echo "user $(id -u)"
curl -sS -m 5 -X PUT http://169.254.169.254/latest/api/token || echo "metadata $?"
curl -sS -m 5 http://10.88.0.2:22/ || echo "host $?"
curl -sS "http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" | jq -r '"role \\(.RoleArn)"'
test ! -e /var/run/docker.sock && echo "no docker"
echo "profile $(cat /proc/self/attr/current)"
"""
LOG = (
    "user 610", "metadata 7", "host 7", f"role {ROLE}", "no docker",
    "profile docker-default (enforce)",
)  # fmt: skip
# Printed for a person to read: everything but these.
LONG = {"journal", "doctor", "doctor --json", "provisioned again"}


def _clock() -> Callable[[str], None]:
    """Return what prints a line with the seconds since now."""
    began = time.monotonic()
    return lambda what: print(f"  {time.monotonic() - began:6.1f} s  {what}", flush=True)


def _show(section: str, lines: list[str]) -> None:
    print(f"            {section}: {'; '.join(lines)}", flush=True)


def jobs(directory: Path, world: World, name: str, *, kernel: str = "") -> None:
    """One job that a rule admits, one that none does, and then what the host says of itself."""
    job = world.enqueue(JOB)
    step = _clock()
    with machine.booted(directory, name, kernel=f"rehearsal.doctor {kernel}") as booted:
        eventually(lambda: world.control.is_connected(AGENT), "the agent registers", PATIENCE)
        step("the agent has registered")
        result = world.control.finished(job, PATIENCE)
        log = job.log.decode(errors="replace").replace("\r", "")
        assert result == ("0", "", ""), log
        step("the first job has ended")
        missing = [line for line in LOG if line not in log]
        assert not missing, f"expected {missing} in the job's log:\n{log}"
        refused = world.enqueue("echo never", BUILDKITE_BRANCH="other")
        assert world.control.finished(refused, PATIENCE)[2] == "agent_refused", refused.log
        step("a job that no rule admits was refused")
        with listening(machine.HOST, ENDED):
            report = booted.reported()
        step("the host has reported")
        _judge(report)
        booted.power_off()
        step("off")
    assert world.sts.access_keys() == {ACCESS_KEY_ID}


def _judge(report: dict[str, list[str]]) -> None:
    for section, lines in report.items():
        if section not in LONG:
            _show(section, lines)
    assert report["failed units"] == []
    assert report["verify"] == []
    _in_order(report["states"])
    assert report["metadata"][0] == "root answered"
    assert report["metadata"][1].startswith("buildkite-agent refused:")
    assert "docker" not in report["groups"][0].split()
    if "provisioned again" in report:
        used, *last = report["provisioned again"]
        assert used.endswith("is used already"), report["provisioned again"]
        assert last == ["airlock provision: nothing to change"], report["provisioned again"]
        _show("provisioned again", last)
    _show("doctor", verdict.judged(report["doctor"], report["doctor --json"]))


def _in_order(states: list[str]) -> None:
    """Every unit is active, and each was later than the one before it."""
    shown = {line.split()[0]: line.split()[1:] for line in states}
    assert {state for state, _ in shown.values()} == {"active"}, states
    at = {name: int(since) for name, (_, since) in shown.items()}
    assert at["airlock-firewall"] < at["docker"] < at["airlock"] < at["buildkite-agent"], states


def upgrade(directory: Path, world: World) -> None:
    """A job that runs meanwhile goes on; a version that does not start is not kept."""
    step = _clock()
    job = world.enqueue(f"echo here; {GATE}")
    with machine.booted(directory, "upgrade", kernel="rehearsal.upgrade") as booted:
        report = booted.reported()
        for section in ("upgrade", "broken", "wrong configuration", "back", "workers"):
            _show(section, report[section])
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
    step("the job has passed, and one after it")


def masked(directory: Path, world: World) -> None:
    """Neither Docker nor the agent starts, so the job stays where it is."""
    step = _clock()
    job = world.enqueue("echo never")
    registrations = len(world.control.agents)
    mask = "systemd.mask=airlock-firewall.service"
    with machine.booted(directory, "masked", kernel=mask) as booted:
        report = booted.reported()
        _show("states", report["states"])
        shown = {line.split()[0]: line.split()[1] for line in report["states"]}
        assert shown["airlock-firewall"] == "inactive"
        assert "active" not in {shown["docker"], shown["airlock"], shown["buildkite-agent"]}
        assert len(world.control.agents) == registrations
        assert job.log == b""
        assert job.finish is None
        booted.power_off()
    step("no agent has registered, and the job still waits")
