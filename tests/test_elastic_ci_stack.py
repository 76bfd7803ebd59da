"""The example of a BootstrapScriptUrl: its syntax, and each part that needs no instance."""

import os
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from tests.test_docs import ROOT, commands_below

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
    (tmp_path / "dnf").write_text("#!/bin/sh\necho began with $*\nexit 9\n")
    (tmp_path / "dnf").chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    with SCRIPT.open() as script:
        done = subprocess.run(["bash"], stdin=script, capture_output=True, env=env, check=False)
    assert done.stdout.startswith(b"began with install -y -q python3.11 nftables")
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


def test_host_gets_its_configuration_policies_and_units(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("airlock.toml", "policies/storefront.yaml", "systemd/airlock.service"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    done = part("host", source, tmp_path / "etc", tmp_path / "units")
    assert done.returncode == 0, done.stderr
    for path in ("etc/airlock.toml", "etc/policies/storefront.yaml", "units/airlock.service"):
        assert (tmp_path / path).stat().st_mode & 0o777 == 0o644


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    """The agent's configuration as the stack leaves it."""
    directory = tmp_path / "buildkite-agent"
    (directory / "hooks").mkdir(parents=True)
    (directory / "buildkite-agent.cfg").write_text('name="stack-i-1-%spawn"\ntoken="x"\n')
    for name in ("environment", "pre-command", "pre-exit"):
        (directory / "hooks" / name).write_text("exit 53\n")
    return directory


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files to root")
def test_agent_starts_the_launcher_and_none_of_the_stacks_hooks_is_left(agent: Path) -> None:
    done = part("agent", ROOT / "agent-config/hooks", agent)
    assert done.returncode == 0, done.stderr
    assert (agent / "buildkite-agent.cfg").read_text().splitlines()[-1] == LAUNCHER
    (hook,) = (agent / "hooks").iterdir()
    assert (hook.name, hook.stat().st_mode & 0o777) == ("pre-bootstrap", 0o755)
    again = part("agent", ROOT / "agent-config/hooks", agent)
    assert again.returncode == 1
    assert "has a bootstrap-script already" in again.stderr


PIP = """#!/bin/sh
mkdir -p release/wheels
[ "$3" = download ] || touch release/wheels/buildkite_airlock-1-py3-none-any.whl
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the operator's own files, and a pip that needs no package index."""
    made = tmp_path / "checkout"
    for name in ("launcher", "agent-config", "requirements.lock"):
        made.mkdir(exist_ok=True)
        (made / name).symlink_to(ROOT / name)
    for name in ("my/airlock.toml", "my/policies/storefront.yaml"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(name)
    (made / "python3.11").write_text(PIP)
    (made / "python3.11").chmod(0o755)
    return made


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files to root")
def test_archive_that_the_page_makes_has_what_the_script_installs(
    tmp_path: Path, checkout: Path, agent: Path
) -> None:
    env = {"PATH": f"{checkout}:/usr/bin:/bin"}
    for command in commands_below("install.md", "On the Elastic CI Stack"):
        made = subprocess.run(["bash", "-ec", command], cwd=checkout, env=env, check=True,
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
    digest, release = made.stdout.split()[0], tmp_path / "release"
    calls = (
        (f"sha256={digest}; unpacked", checkout / "airlock.tar.gz", release),
        ("host", release, tmp_path / "etc", tmp_path / "units"),
        ("agent", release, agent),
    )
    for call in calls:
        done = part(*call)
        assert done.returncode == 0, (call, done.stderr)
    assert (tmp_path / "etc/policies/storefront.yaml").read_text() == "my/policies/storefront.yaml"
    units = {path.name for path in (ROOT / "agent-config/systemd").iterdir()}
    assert {path.name for path in (tmp_path / "units").iterdir()} == units
    wheels = {path.name for path in (release / "wheels").iterdir()}
    assert wheels == {"buildkite_airlock-1-py3-none-any.whl"}
    assert os.access(release / "airlock-launcher", os.X_OK)
    assert (release / "requirements.lock").is_file()
