"""docs/hosts.md: its scripts run as far as they can here, and its commands name what there is."""

import re
import subprocess
import sys
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from bootstrap.doctor.checks import network
from tests.images.scripts import AMI, program
from tests.images.test_auto_scaling import TEMPLATE
from tests.test_docs import ROOT

PAGE = (ROOT / "docs/hosts.md").read_text()
SCRIPTS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
USER_DATA, MASK = SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=["user data", "mask"])
def test_script_passes_shellcheck(tmp_path: Path, script: str) -> None:
    (tmp_path / "script").write_text(script)
    check = ["shellcheck", "--shell=bash", str(tmp_path / "script")]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """Hold a release whose `provision` prints its arguments, and an agent; `aws` copies from it."""
    served = tmp_path / "bucket"
    packed = tmp_path / "packed/airlock/images"
    packed.mkdir(parents=True)
    program(packed / "ami", "provision", 'printf "%s\\n" "$@"')
    served.mkdir()
    with tarfile.open(served / "airlock.tar.gz", "w:gz") as archive:
        archive.add(packed.parent, "airlock")
    (served / "buildkite-agent").write_text("an agent\n")
    program(tmp_path / "bin", "aws", f'cp {served}/"${{4##*/}}" "$5"')
    return served


def provisioned(tmp_path: Path, script: str) -> "subprocess.CompletedProcess[str]":
    (tmp_path / "var-tmp").mkdir(exist_ok=True)
    here = script.replace("/var/tmp/", f"{tmp_path}/var-tmp/")
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    return subprocess.run(
        ["bash", "-c", here], env=env, capture_output=True, text=True, check=False, timeout=30
    )


def test_user_data_provisions_from_what_it_knows_the_checksums_of(
    tmp_path: Path, bucket: Path
) -> None:
    script = USER_DATA
    for name in ("airlock.tar.gz", "buildkite-agent"):
        digest = sha256((bucket / name).read_bytes()).hexdigest()
        script = re.sub(rf"0{{64}}(?=  {re.escape(name)})", digest, script)
    done = provisioned(tmp_path, script)
    assert done.returncode == 0, done.stderr
    arguments = done.stdout.splitlines()[2:]  # sha256sum has a line for each
    assert arguments[::2] == ["--config", "--policies", "--agent-binary"]
    usage = subprocess.run(
        [str(AMI / "provision"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert not [option for option in arguments[::2] if f"  {option} " not in usage]
    assert Path(arguments[5]).read_text() == "an agent\n"


def test_user_data_provisions_nothing_else(tmp_path: Path, bucket: Path) -> None:
    assert bucket.is_dir()
    done = provisioned(tmp_path, USER_DATA)
    assert done.returncode == 1
    assert "--config" not in done.stdout


def test_deployment_names_the_parameters_of_the_template() -> None:
    (command,) = [line for block in COMMANDS for line in block.splitlines() if " deploy " in line]
    given = re.findall(r"(\w+)=", command.partition("--parameter-overrides ")[2])
    section = TEMPLATE.read_text().partition("Parameters:\n")[2].partition("\nResources:")[0]
    parameters = re.findall(r"^  (\w+):\n((?:    .*\n)+)", section + "\n", re.MULTILINE)
    needed = {name for name, body in parameters if "Default:" not in body}
    assert needed <= set(given) <= {name for name, _ in parameters}


def test_ecs_agent_is_the_unit_that_doctor_names() -> None:
    (check,) = [one for one in network.CHECKS if one.name == "ecs-agent"]
    assert check.what == "No ECS agent serves credentials at 169.254.170.2"
    assert re.fullmatch(r"systemctl mask --now ecs(\.service)?\n", MASK)


def test_admit_has_the_option_that_pods_need() -> None:
    command = [sys.executable, "-I", "-m", "bootstrap", "admit", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--final" in shown
    assert "airlock admit --final" in PAGE
