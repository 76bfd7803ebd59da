"""images/ami/airlock.pkr.hcl: valid for both distributions and architectures, and as hardened."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest

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
