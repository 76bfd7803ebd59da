"""Units under systemd itself: faults of them are found, and a wrong host starts no service.

tests/lab/with_systemd .venv/bin/pytest tests/doctor/test_units.py
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bootstrap.doctor.checks import findings, units
from bootstrap.doctor.model import Finding, Status, known
from bootstrap.doctor.read import units as reading
from tests.doctor.given import GOOD
from tests.lab.lab import AIRLOCK, Fleet
from tests.lab.systemd import SERVICE, airlock, systemctl
from tests.lab.systemd import UNITS as DIRECTORY

pytestmark = [
    pytest.mark.lab,
    pytest.mark.systemd,
    pytest.mark.skipif(not DIRECTORY.is_dir(), reason="needs tests/lab/with_systemd"),
]
AGENT = "[Unit]\nAfter=airlock.socket\n[Service]\nExecStart=/bin/sleep 1\nKillMode=process\n"
ENVIRONMENT = Path("/run/agent-environment")
# Without "units": to enable one here would be to enable it on this machine.
NAMES = frozenset(check.name for check in units.CHECKS) - {"service", "units"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A drop-in, or a whole unit, and what doctor finds."""

    unit: str
    text: str
    check: str
    status: Status
    seen: str
    fix: str


FAULTS = (
    Fault(unit="airlock.service", text="[Service]\nKillMode=control-group\n", check="service-unit",
          status=Status.FAIL, seen="KillMode=control-group, expected process",
          fix="systemctl cat airlock.service"),
    Fault(unit="airlock.service", text="[Service]\nPrivateTmp=yes\n", check="service-unit",
          status=Status.FAIL, seen="PrivateTmp=yes, expected none", fix="Remove the drop-ins"),
    Fault(unit="airlock.service", text="[Service]\nProtectSystem=strict\nUMask=0077\n",
          check="service-unit", status=Status.FAIL, seen="UMask=0077, expected 0022",
          fix="Remove the drop-ins"),
    Fault(unit="buildkite-agent.service", text="[Service]\nKillMode=mixed\n",
          check="agent-kill-mode", status=Status.WARN, seen="KillMode=mixed",
          fix="systemctl edit buildkite-agent.service"),
    Fault(unit="buildkite-agent.service", text="[Service]\n"
          "Environment=BUILDKITE_BOOTSTRAP_SCRIPT_PATH=/usr/bin/other\n",
          check="agent-environment", status=Status.FAIL, seen="BUILDKITE_BOOTSTRAP_SCRIPT_PATH",
          fix="Remove it"),
    Fault(unit="buildkite-agent.service", text=f"[Service]\nEnvironmentFile=-{ENVIRONMENT}\n",
          check="agent-environment", status=Status.FAIL, seen="BUILDKITE_HOOKS_PATH",
          fix="systemctl cat"),
)  # fmt: skip


@contextmanager
def installed() -> Iterator[None]:
    """Have the unit of an agent beside those of Airlock."""
    (DIRECTORY / "buildkite-agent.service").write_text(AGENT)
    ENVIRONMENT.write_text("# of the stack\nBUILDKITE_HOOKS_PATH=/elsewhere\n")
    systemctl("daemon-reload")
    try:
        yield
    finally:
        (DIRECTORY / "buildkite-agent.service").unlink()
        systemctl("daemon-reload")


@contextmanager
def drop_in(unit: str, text: str) -> Iterator[None]:
    path = DIRECTORY / f"{unit}.d" / "fault.conf"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    systemctl("daemon-reload")
    try:
        yield
    finally:
        path.unlink()
        systemctl("daemon-reload")


def found() -> dict[str, Finding]:
    read = replace(GOOD, units=known(reading.units()))
    return {one.check: one for one in findings(read) if one.check in NAMES}


def test_shipped_units_are_ok() -> None:
    with installed():
        wrong = [one for one in found().values() if one.status is not Status.OK]
        assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.check}-{fault.seen[:20]}")
def test_fault_of_a_unit_is_found_named_and_given_its_fix(fault: Fault) -> None:
    with installed(), drop_in(fault.unit, fault.text):
        wrong = {one.check: one for one in found().values() if one.status is not Status.OK}
    assert set(wrong) == {fault.check}
    assert wrong[fault.check].status is fault.status
    assert fault.seen in wrong[fault.check].seen
    assert fault.fix in wrong[fault.check].fix


def test_agent_that_may_start_first_is_found() -> None:
    with installed():
        (DIRECTORY / "buildkite-agent.service").write_text(AGENT.replace("airlock.socket", ""))
        (DIRECTORY / "buildkite-agent@.service").write_text(AGENT.replace("airlock.socket", ""))
        systemctl("daemon-reload")
        systemctl("start", "buildkite-agent@2.service")
        seen = found()["unit-order"]
        (DIRECTORY / "buildkite-agent@.service").unlink()
    # airlock.socket itself has Before=buildkite-agent.service, not the instances of a template.
    assert seen.status is Status.WARN
    assert "buildkite-agent@2.service may start before airlock.socket" in seen.seen
    assert "After=airlock.socket" in seen.fix


def test_service_starts_only_on_a_host_that_is_as_it_should_be(fleet: Fleet) -> None:
    """As docs/doctor.md has it: ExecStartPre= in a drop-in, under the unit's own restrictions."""
    allowed = ("settings", "runc-cves", "agent-config", "bootstrap-script", "launcher", "hooks",
               "pre-bootstrap", "agent-settings", "ignored-settings", "cancel-grace", "spawn",
               "image", "guardrails", "units", "unit-order", "dns", "host-role", "machine-limits",
               "budgets", "imds-hop-limit")  # fmt: skip
    command = " ".join(
        [*AIRLOCK, "doctor", "--at", "start", "--config", str(fleet.config),
         *(f"--skip {name}" for name in allowed)]
    )  # fmt: skip
    pre = f"[Service]\nExecStartPre={command}\nTimeoutStartSec=180\nRestart=no\n"
    with airlock(fleet), drop_in(SERVICE, pre):
        systemctl("start", SERVICE)
        assert systemctl("is-active", SERVICE).strip() == "active"
        systemctl("stop", SERVICE)
        text = fleet.config.read_text()
        fleet.config.write_text(text.replace(str(fleet.records), f"{fleet.config}/records.jsonl"))
        done = subprocess.run(["systemctl", "start", SERVICE], check=False, capture_output=True)
        fleet.config.write_text(text)
        assert done.returncode != 0
        assert "code=exited, status=1" in systemctl_status()
        systemctl("reset-failed", SERVICE)


def systemctl_status() -> str:
    done = subprocess.run(
        ["systemctl", "status", SERVICE], capture_output=True, text=True, check=False
    )
    return done.stdout


def test_every_property_that_is_read_is_one_of_systemds() -> None:
    shown = dict(reading.properties(systemctl("show", SERVICE)))
    missing = set(reading.PROPERTIES) - set(shown)
    # These are shown only where they are set, or for sockets.
    assert missing <= {"SocketGroup", "Listen", "StatusText", "Environment", "User",
                       "RuntimeDirectory", "EnvironmentFiles", "BindsTo"}  # fmt: skip
    assert Path("/run/systemd/system").is_dir()
