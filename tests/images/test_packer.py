"""images/ami/airlock.pkr.hcl: valid for both distributions and architectures, and as hardened."""

import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import hcl2
import pytest

from tests.images.scripts import program
from tests.test_docs import ROOT

TEMPLATE = ROOT / "images/ami/airlock.pkr.hcl"
# What Packer 1.6, the version of Debian 12, does not know yet. A newer one would need a plugin.
NEWER = (r"^packer \{.*?^\}\n", r"^  metadata_options \{.*?^  \}\n", r"^  imds_support.*?\n")


needs_packer = pytest.mark.skipif(not shutil.which("packer"), reason="needs packer")


def validated(tmp_path: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    text = TEMPLATE.read_text()
    for part in NEWER:
        text, count = re.subn(part, "", text, flags=re.DOTALL | re.MULTILINE)
        assert count == 1
    (tmp_path / "airlock.pkr.hcl").write_text(text)
    (tmp_path / "in-a-build").write_bytes(TEMPLATE.with_name("in-a-build").read_bytes())
    (tmp_path / "configuration").mkdir()
    for name in ("release", "key"):
        (tmp_path / name).touch()
    given = {
        "release": str(tmp_path / "release"), "agent_key": str(tmp_path / "key"),
        "configuration": str(tmp_path / "configuration"), "agent_repository": "deb … stable main",
        **variables,
    }  # fmt: skip
    flags = [part for name, value in given.items() for part in ("-var", f"{name}={value}")]
    command = ["packer", "validate", *flags, str(tmp_path)]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


@needs_packer
@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
@pytest.mark.parametrize("distribution", ["al2023", "ubuntu2404"])
def test_template_is_valid(tmp_path: Path, distribution: str, arch: str) -> None:
    done = validated(tmp_path, distribution=distribution, arch=arch)
    assert done.returncode == 0, done.stdout


@needs_packer
def test_agent_is_one_binary_where_its_packages_have_no_signature(tmp_path: Path) -> None:
    (tmp_path / "agent").touch()
    binary = {"agent_key": "", "agent_repository": "", "agent_binary": str(tmp_path / "agent")}
    done = validated(tmp_path, distribution="al2023", **binary)
    assert done.returncode == 0, done.stdout


PROVISION = """#!/bin/sh
echo "$@" >>ROOT/arguments
echo 'airlock provision: nothing to change'
"""


@pytest.mark.parametrize(
    ("repository", "agent"),
    [
        ("", ["--agent-binary", "tmp/agent"]),
        ("deb x y z", ["--agent-repository", "deb", "x", "y", "z", "--agent-key", "tmp/agent"]),
    ],
)
def test_build_provisions_twice_with_the_agent_that_was_named(
    tmp_path: Path, repository: str, agent: list[str]
) -> None:
    """The script itself, below another root."""
    script = TEMPLATE.with_name("in-a-build").read_text()
    for directory in ("tmp", "var", "etc"):
        (tmp_path / directory).mkdir()
        script = re.sub(rf"(?<![\w/])/{directory}\b", f"{tmp_path}/{directory}", script)
    provision = tmp_path / "packed/airlock/images/ami/provision"
    provision.parent.mkdir(parents=True)
    provision.write_text(PROVISION.replace("ROOT", str(tmp_path)))
    provision.chmod(0o755)
    with tarfile.open(tmp_path / "tmp/airlock.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "packed/airlock", "airlock")
    (tmp_path / "etc/machine-id").write_text("0123\n")
    for name in ("systemctl", "cloud-init"):
        program(tmp_path / "bin", name, "exit 0")
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "AGENT_REPOSITORY": repository}
    subprocess.run(["bash", "-c", script], env=env, check=True, timeout=30, capture_output=True)
    config = ["--config", f"{tmp_path}/tmp/configuration/airlock.toml"]
    named = [f"{tmp_path}/{word}" if word == "tmp/agent" else word for word in agent]
    assert (tmp_path / "arguments").read_text().splitlines() == [" ".join([*config, *named])] * 2
    assert (tmp_path / "etc/machine-id").read_text() == ""
    assert not list((tmp_path / "tmp").glob("a*"))


@needs_packer
@pytest.mark.parametrize(("name", "value"), [("distribution", "centos"), ("arch", "aarch64")])
def test_other_values_are_refused_with_those_that_are_expected(
    tmp_path: Path, name: str, value: str
) -> None:
    done = validated(tmp_path, **{name: value})
    assert done.returncode != 0
    assert re.search(r"Expected (al2023 or ubuntu2404|x86_64 or arm64)", done.stdout), done.stdout


def test_metadata_service_takes_no_version_1_and_answers_no_container() -> None:
    found: dict[str, Any] = hcl2.loads(TEMPLATE.read_text())
    (source,) = found["source"]
    text = repr(source)
    assert re.search(r"imds_support\W+v2.0", text)
    assert re.search(r"http_tokens\W+required", text)
    assert re.search(r"http_put_response_hop_limit'?: 1\b", text)
    assert re.search(r"'encrypted'?: '?[Tt]rue", text)
