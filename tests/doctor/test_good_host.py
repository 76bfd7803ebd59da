"""On a good host every check is ok; what --fix does; what Packer and systemd get to see."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.doctor.checks import CHECKS, NAMES
from bootstrap.doctor.model import Stage, Status
from tests.doctor.hosts import OF_THE_LAB, Host, good_host
from tests.lab.lab import DELETE_ROUTING, DELETE_RULESET, Lab

pytestmark = pytest.mark.lab
_SKIP = tuple(word for name in OF_THE_LAB for word in ("--skip", name))


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with good_host(lab, tmp_path_factory.mktemp("doctor") / "host") as made:
        yield made


def test_all_is_ok_on_a_good_host(host: Host) -> None:
    wrong = host.wrong()
    assert not wrong, "\n".join(map(str, wrong.values()))
    assert set(host.findings()) == set(NAMES)


def test_what_the_lab_lacks_is_not_ok_either(host: Host) -> None:
    """Else a check of this list could be ok without being able to fail."""
    found = host.findings()
    assert {name for name in OF_THE_LAB if found[name].status is Status.OK} == set()


def test_status_is_0_if_all_is_ok_and_3_if_something_is_not_known(host: Host) -> None:
    status, shown = host.doctor(*_SKIP)
    assert (status, shown["exit"]) == (0, 0)
    assert shown["counts"] == {"ok": len(NAMES) - len(OF_THE_LAB), "warn": 0, "fail": 0,
                               "unknown": 0}  # fmt: skip
    status, shown = host.doctor("--skip", "settings", "--skip", "runc-cves")
    assert status == 3
    assert {one["status"] for one in shown["findings"]} == {"ok", "unknown"}


def test_warning_is_a_failure_only_if_strict(host: Host) -> None:
    without = [word for name in OF_THE_LAB if name != "settings" for word in ("--skip", name)]
    assert host.doctor(*without)[0] == 0
    assert host.doctor(*without, "--strict")[0] == 1


@pytest.mark.parametrize("stage", Stage)
def test_each_stage_has_the_checks_of_those_before(host: Host, stage: Stage) -> None:
    found = host.wrong(stage)
    assert not found, "\n".join(map(str, found.values()))
    expected = {check.name for check in CHECKS if stage.includes(check.since)}
    assert set(host.findings(stage)) == expected


def test_image_build_needs_neither_aws_nor_the_service(host: Host) -> None:
    """Nothing of an instance is there yet, so nothing of it is asked."""
    before = len(host.fleet.sts.calls), len(host.fleet.lab.metadata.calls)
    launched = host.serving.log.stat().st_size
    status, shown = host.doctor("--at", "image", *_SKIP)
    assert (status, shown["at"]) == (0, "image")
    assert (len(host.fleet.sts.calls), len(host.fleet.lab.metadata.calls)) == before
    assert host.serving.log.stat().st_size == launched


def test_fix_repairs_what_is_safe_and_a_second_time_nothing(host: Host) -> None:
    for command in (DELETE_RULESET, *DELETE_ROUTING):
        subprocess.run(command, check=True, capture_output=True)
    assert host.doctor(*_SKIP)[0] == 1
    status, shown = host.doctor("--fix", *_SKIP)
    assert status == 0
    assert set(shown["changes"]) == {
        "added the routing rules of airlock0", "loaded table inet airlock",
    }  # fmt: skip
    assert host.doctor("--fix", *_SKIP)[1]["changes"] == []


def test_fix_creates_directories_and_the_network(host: Host, tmp_path: Path) -> None:
    engine = ("docker", "-H", host.fleet.lab.docker)
    text = host.fleet.config.read_text()
    host.change(r'(?m)^state = ".*"$', f'state = "{tmp_path}/state"')
    subprocess.run([*engine, "network", "rm", "airlock"], check=True, capture_output=True)
    changes = host.doctor("--fix", *_SKIP)[1]["changes"]
    host.fleet.config.write_text(text)
    assert f"created {tmp_path}/state" in changes
    assert any(line.startswith("created the Docker network airlock") for line in changes)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_doctor_records_nothing(host: Host) -> None:
    """The launchers that it starts bring no job, and its container runs none."""
    host.doctor()
    assert not host.fleet.records.exists() or host.fleet.records.read_text() == ""
    assert list((host.fleet.base / "state").glob("records/*")) == []


def test_doctor_leaves_nothing_of_its_container(host: Host) -> None:
    host.doctor()
    command = ["docker", "-H", host.fleet.lab.docker, "ps", "--all", "--quiet"]
    left = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert left == ""
    assert list(Path("/run/airlock/jobs").iterdir()) == []
