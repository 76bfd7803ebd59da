"""The example of a BootstrapScriptUrl: its syntax, and each part that needs no instance."""

import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from tests.test_docs import ROOT

SCRIPT = ROOT / "agent-config/elastic-ci-stack/bootstrap"
LAUNCHER = 'bootstrap-script="/usr/libexec/airlock-launcher"'


def part(call: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run one function of the script, which does nothing by itself when it is sourced."""
    script = f'source {SCRIPT}; {call} "$@"'
    command = ["bash", "-c", script, "bash", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_script_is_valid_and_begins_when_it_is_read_from_standard_input(tmp_path: Path) -> None:
    """As the stack starts it: `bash </tmp/elastic_bootstrap`."""
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    (tmp_path / "mktemp").write_text("#!/bin/sh\necho began >&2\nexit 9\n")
    (tmp_path / "mktemp").chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    with SCRIPT.open() as script:
        done = subprocess.run(["bash"], stdin=script, capture_output=True, env=env, check=False)
    assert done.stderr == b"began\n"
    assert done.returncode == 9  # the stack replaces the instance


def test_archive_is_unpacked_only_if_it_is_the_one_that_the_script_names(tmp_path: Path) -> None:
    (tmp_path / "airlock.toml").write_text("[sandbox]\n")
    archive = tmp_path / "release.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(tmp_path / "airlock.toml", "airlock.toml")
    target = tmp_path / "unpacked"
    refused = part("unpacked", archive, target)
    assert refused.returncode == 1
    assert "has another sha256" in refused.stderr
    assert not target.exists()
    digest = sha256(archive.read_bytes()).hexdigest()
    assert part(f"sha256={digest}; unpacked", archive, target).returncode == 0
    assert (target / "airlock.toml").read_text() == "[sandbox]\n"


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    """The agent's configuration as the stack leaves it."""
    directory = tmp_path / "buildkite-agent"
    (directory / "hooks").mkdir(parents=True)
    (directory / "buildkite-agent.cfg").write_text('name="stack-i-1-%spawn"\ntoken="x"\n')
    for name in ("environment", "pre-command", "pre-exit", "post-checkout"):
        (directory / "hooks" / name).write_text("exit 53\n")
    return directory


def test_another_bootstrap_script_is_not_replaced(agent: Path) -> None:
    cfg = agent / "buildkite-agent.cfg"
    check = f"agent_config={agent}; unclaimed"
    assert part(check).returncode == 0
    cfg.write_text(f"{cfg.read_text()}{LAUNCHER}\n")
    assert part(check).returncode == 0
    cfg.write_text('bootstrap-script="/usr/local/bin/mine"\n')
    refused = part(check)
    assert refused.returncode == 1
    assert (
        'another bootstrap-script already: bootstrap-script="/usr/local/bin/mine"' in refused.stderr
    )


def test_none_of_the_stacks_hooks_is_left_and_the_operators_are(
    agent: Path, tmp_path: Path
) -> None:
    sudoers = tmp_path / "sudoers"
    sudoers.touch()
    done = part(f"agent_config={agent}; sudoers={sudoers}; without")
    assert done.returncode == 0, done.stderr
    assert [hook.name for hook in (agent / "hooks").iterdir()] == ["post-checkout"]
    assert not sudoers.exists()


def test_provisioning_gets_what_is_in_the_release(tmp_path: Path) -> None:
    provision = tmp_path / "images/ami/provision"
    provision.parent.mkdir(parents=True)
    provision.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    provision.chmod(0o755)
    least = ["--config", f"{tmp_path}/configuration/airlock.toml"]
    ours = ["--keep-docker", "--imds", "any"]
    assert part("provisioned", tmp_path).stdout.splitlines() == [*least, *ours]
    (tmp_path / "configuration/policies").mkdir(parents=True)
    policies = ["--policies", f"{tmp_path}/configuration/policies"]
    assert part("provisioned", tmp_path).stdout.splitlines() == [*least, *policies, *ours]
    provision.write_text("#!/bin/sh\nexit 3\n")
    assert part("provisioned", tmp_path).returncode == 3
