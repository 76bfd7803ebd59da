"""The units of images/ami: systemd accepts them, beside the service's own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.images.scripts import AMI
from tests.service.units import DIRECTORY, SERVICE, SOCKET

UNITS = AMI / "units"
PROGRAMS = ("/opt/airlock/bin/airlock", "/usr/bin/buildkite-agent")
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a directory with all units and drop-ins, whose programs exist on this machine."""
    shutil.copytree(UNITS, tmp_path / "units")
    for name in (SERVICE, SOCKET):
        shutil.copy(DIRECTORY / name, tmp_path / "units")
    for path in (tmp_path / "units").rglob("*.*"):
        if path.is_file():
            text = path.read_text()
            for program in PROGRAMS:
                text = text.replace(program, str(shutil.which("true")))
            path.write_text(text)
    return tmp_path / "units"


@needs_systemd
def test_systemd_accepts_every_unit_with_its_drop_ins(installed: Path) -> None:
    units = sorted(str(path) for path in installed.iterdir() if path.is_file())
    assert len(units) == 4
    command = ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", *units]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_exposure_of_the_firewalls_unit_is_bounded(installed: Path) -> None:
    """At most 5.0 of 10 (systemd-analyze security): it has no mounts of its own."""
    unit = installed / "airlock-firewall.service"
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=50", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_drop_in_is_for_a_unit_that_is_bound_to_the_firewalls() -> None:
    drop_ins = sorted(UNITS.glob("*.service.d/*.conf"))
    assert {path.parent.name for path in drop_ins} == {
        "docker.service.d", "airlock.service.d", "buildkite-agent.service.d",
    }  # fmt: skip
    for path in drop_ins:
        assert "BindsTo=airlock-firewall.service\n" in path.read_text()
