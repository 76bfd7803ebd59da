"""Promise 2: nothing in a job's environment changes what runs on the host.

Each attack is also made on an ordinary program, where it has to succeed.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.simulator import Call, Reply, Simulator, loopback
from tests.lab.lab import ROLE, Fleet

pytestmark = pytest.mark.lab

POLICY = f"  - {{name: all, allow: {{role: '{ROLE}'}}}}\n"


class Mallory(Simulator):
    """A server of the attacker that records every call."""

    def answer(self, _: Call) -> Reply:
        return Reply(status=404)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trap:
    """A directory and a server that a job's variables point to. `sprung` lists who used them."""

    path: Path
    mallory: Mallory

    @property
    def sprung(self) -> list[str]:
        return [str(path) for path in self.path.glob("sprung*")] + [
            f"{call.method} {call.path}" for call in self.mallory.calls
        ]

    def variables(self, kind: str) -> dict[str, str]:
        url, path = self.mallory.url, str(self.path)
        return {
            "path": {"PATH": f"{path}/bin:/usr/bin:/bin"},
            "python": {
                "PYTHONPATH": f"{path}/python",
                "PYTHONSTARTUP": f"{path}/python/sitecustomize.py",
                "PYTHONHOME": f"{path}/python",
                "PYTHONINSPECT": "1",
                "PYTHONUSERBASE": path,
            },
            "shell": {"BASH_ENV": f"{path}/bin/nft", "ENV": f"{path}/bin/nft", "IFS": "/"},
            "docker": {
                "DOCKER_HOST": url.replace("http", "tcp"),
                "DOCKER_CONFIG": path,
                "DOCKER_CONTEXT": "mallory",
            },
            "aws": {
                "AWS_ENDPOINT_URL": url,
                "AWS_ENDPOINT_URL_STS": url,
                "AWS_ACCESS_KEY_ID": "AKIAMALLORY",
                "AWS_SECRET_ACCESS_KEY": "mallory",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": url,
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/credentials",
                "AWS_DATA_PATH": path,
            },
            "proxy": {
                name: url
                for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
                for name in (upper, upper.lower())
            },
            "home": {"HOME": path, "XDG_CONFIG_HOME": path, "TMPDIR": f"{path}/absent"},
            "libraries": {
                "OPENSSL_CONF": f"{path}/pipe",  # a program that opens it hangs
                "SSL_CERT_FILE": f"{path}/absent",
                "REQUESTS_CA_BUNDLE": f"{path}/absent",
                "GCONV_PATH": path,
                "LOCPATH": path,
                "RES_OPTIONS": "attempts:0",
                "PYDANTIC_DISABLE_PLUGINS": "0",
            },
        }[kind]


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Trap]:
    path = tmp_path / "trap"
    (path / "bin").mkdir(parents=True)
    (path / "python").mkdir()
    os.mkfifo(path / "pipe")
    (path / ".aws").mkdir()
    (path / ".aws/config").write_text("[default]\nregion = mallory-1\n")
    for program in ("nft", "ip", "nsenter", "unshare", "sh", "rm", "stat", "mount", "env"):
        file = path / "bin" / program
        file.write_text(f'#!/bin/sh\n: >"{path}/sprung-{program}"\n')
        file.chmod(0o755)
    (path / "python/sitecustomize.py").write_text(f"open('{path}/sprung-python', 'w').close()\n")
    with Mallory(loopback()) as mallory:
        yield Trap(path=path, mallory=mallory)


@pytest.mark.parametrize(
    "kind", ["path", "python", "shell", "docker", "aws", "proxy", "home", "libraries"]
)
def test_job_variables_do_not_affect_host_programs(fleet: Fleet, trap: Trap, kind: str) -> None:
    """Airlock reaches the start of the job with the rule's own role; the job itself may fail."""
    fleet.policy(POLICY)
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("true", **trap.variables(kind)))
        fleet.control.finished(job, 60)
    assert trap.sprung == []
    assert [asked.role for asked in fleet.sts.asked] == [ROLE]
    assert b"checks of its isolation passed" in job.log, job.log.decode()


def ordinary(*argv: str, env: Mapping[str, str]) -> None:
    subprocess.run(argv, env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, check=False)


def test_ordinary_program_is_steered_by_job_variables(trap: Trap) -> None:
    ordinary("sh", "-c", "nft list tables", env=trap.variables("path"))
    ordinary(sys.executable, "-c", "pass", env={"PYTHONPATH": f"{trap.path}/python"})
    assert {Path(path).name for path in trap.sprung} == {"sprung-sh", "sprung-python"}
    call = "boto3.client('sts', region_name='us-east-1').get_caller_identity()"
    ordinary(sys.executable, "-c", f"import boto3; {call}", env=trap.variables("aws"))
    assert "POST /" in trap.sprung


def test_ordinary_program_hangs_on_openssl_configuration_of_job(trap: Trap) -> None:
    variables = {"OPENSSL_CONF": f"{trap.path}/pipe"}
    program = [sys.executable, "-I", "-c", "import hashlib; hashlib.new('sha256')"]
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(program, env=variables, timeout=3, check=False)


def test_airlock_without_isolated_mode_runs_python_code_of_job(fleet: Fleet, trap: Trap) -> None:
    script = f"{sys.executable} -m bootstrap bootstrap --config {fleet.config}"
    with fleet.agent(bootstrap_script=script):
        job = fleet.control.enqueue(fleet.env("true", PYTHONPATH=f"{trap.path}/python"))
        fleet.control.finished(job, 60)
    assert trap.sprung == [f"{trap.path}/sprung-python"]


LOADER = {"LD_DEBUG": "libs"}
ALLOW_LIST = (
    "--enable-environment-variable-allowlist",
    "--allowed-environment-variables",
    "^LANG$",
)


def test_loader_variables_with_agent_allow_list_are_refused(fleet: Fleet, trap: Trap) -> None:
    loader = {**LOADER, "LD_DEBUG_OUTPUT": f"{trap.path}/sprung"}
    with fleet.agent(*ALLOW_LIST):
        job = fleet.control.enqueue(fleet.env("true", **loader))
        assert fleet.control.finished(job) == ("-1", "", "agent_refused")
    assert trap.sprung == []


def test_without_the_allow_list_they_act_on_the_host(fleet: Fleet, trap: Trap) -> None:
    """docs/limits.md#loader-variables: without the service. With it: test_promise_2_launcher.py."""
    loader = {**LOADER, "LD_DEBUG_OUTPUT": f"{trap.path}/sprung"}
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("true", **loader))
        fleet.control.finished(job, 60)
    assert trap.sprung, "LD_DEBUG_OUTPUT has written no file"
