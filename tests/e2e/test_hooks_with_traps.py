"""An agent's own hooks inside the sandbox, written as the Elastic CI Stack's: `set -E`, ERR trap.

The stack's `environment` ends with 53 at the first command that fails, so nothing that runs with
it may: neither the bootstrap's own shell around it nor the job's environment.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_agents_user import agent, done
from tests.lab.lab import Lab
from tests.lab.ways import SERVICE, Host, host

pytestmark = pytest.mark.lab

STRICT = """#!/usr/bin/env bash
set -Eeuo pipefail
failed() { echo "the hook failed in line $1"; exit 53; }
trap 'failed $LINENO' ERR
"""


@pytest.fixture(scope="module")
def here(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(lab, SERVICE, tmp_path_factory.mktemp("traps"), settings="hooks = true") as made:
        yield made


def hook(here: Host, name: str, text: str) -> Path:
    """Give the agent `name` an environment hook; return the directory, which only it can read."""
    directory = here.base / name / "hooks"
    directory.mkdir(parents=True)
    (directory / "environment").write_text(f"{STRICT}{text}\n")
    (directory / "environment").chmod(0o755)
    return directory


def test_strict_hook_that_needs_nothing_of_the_host_runs_and_its_exports_count(here: Host) -> None:
    script = "export FROM_HOOK=yes; cache=$(mktemp -d); export DOCKER_CONFIG=$cache"
    directory = hook(here, "strict", script)
    with agent(here, "strict") as running:
        directory.chmod(0o755)
        result = done(here, running, 'echo "hook=$FROM_HOOK"; test -d "$DOCKER_CONFIG"')
    assert result.ending == ("0", "", ""), result.log.decode()
    assert b"hook=yes" in result.log


@pytest.mark.parametrize(
    ("name", "command", "status"),
    # A file that is missing ends bash itself, without its trap, also outside of a sandbox.
    [("docker", "docker ps", 53), ("sudo", "sudo -n true", 53), ("file", "source ~/cfn-env", 1)],
)
def test_strict_hook_that_needs_the_host_ends_the_job_with_its_own_status(
    here: Host, name: str, command: str, status: int
) -> None:
    directory = hook(here, name, command)
    with agent(here, name) as running:
        directory.chmod(0o755)
        result = done(here, running, "echo never")
    assert result.ending[0] == str(status), result.log.decode()
    assert (b"the hook failed in line" in result.log) == (status == 53)
    assert b"\nnever" not in result.log
