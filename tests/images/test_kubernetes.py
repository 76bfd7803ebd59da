"""agent-config/kubernetes: the manifests fit each other; tests/e2e/test_kubernetes.py runs them."""

import subprocess
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.host.config import load
from tests.test_docs import ROOT

KUBERNETES = ROOT / "agent-config/kubernetes"
# Required of every object, by its kind, beside apiVersion, kind and metadata.name.
KINDS = {
    "ConfigMap": ("v1", "data"),
    "NetworkPolicy": ("networking.k8s.io/v1", "spec"),
    "ServiceAccount": ("v1", "metadata"),
}
MANIFESTS = sorted(set(KUBERNETES.glob("*.yaml")) - {KUBERNETES / "values.yaml"})
# Of agent-stack-k8s, commit a5d56d1d: internal/controller/config/{config,agent_config}.go.
SETTINGS = {"queue", "image", "prohibit-kubernetes-plugin", "agent-config", "pod-spec-patch"}
AGENT_SETTINGS = {"hooks-path", "hooksVolume"}


def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / name).read_text())
    return found


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_object_is_one_of_kubernetes(path: Path) -> None:
    found = document(path.name)
    version, part = KINDS[found["kind"]]
    assert found["apiVersion"] == version
    assert part in found
    assert found["metadata"]["namespace"] == "ci-deploy"
    assert found["metadata"]["name"]


def test_values_are_settings_of_the_controller() -> None:
    config = document("values.yaml")["config"]
    assert set(config) == SETTINGS
    assert set(config["agent-config"]) == AGENT_SETTINGS
    assert "@sha256:" in config["image"]


def test_no_step_changes_its_pod_and_no_pod_starts_without_the_hook() -> None:
    config = document("values.yaml")["config"]
    assert config["prohibit-kubernetes-plugin"] is True
    volume, hooks = config["agent-config"]["hooksVolume"], document("hooks.yaml")
    assert volume["configMap"]["name"] == hooks["metadata"]["name"]
    assert volume["configMap"]["defaultMode"] & 0o111, "the agent runs it"
    assert "optional" not in volume["configMap"]
    assert list(hooks["data"]) == ["pre-bootstrap"]


def test_pods_have_the_service_account_that_has_the_role() -> None:
    patch, account = (
        document("values.yaml")["config"]["pod-spec-patch"],
        document("service-account.yaml"),
    )
    assert patch["serviceAccountName"] == account["metadata"]["name"]
    assert patch["automountServiceAccountToken"] is account["automountServiceAccountToken"] is False


def test_hook_passes_shellcheck_and_ends_with_airlocks_status(tmp_path: Path) -> None:
    hook = tmp_path / "pre-bootstrap"
    hook.write_text(document("hooks.yaml")["data"]["pre-bootstrap"])
    done = subprocess.run(["shellcheck", str(hook)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for status in (0, 77, 78, 125):
        text = hook.read_text().replace("/opt/airlock/bin/python3", f"(exit {status}) # ")
        hook.with_name("as-if").write_text(text)
        ran = subprocess.run(["sh", str(hook.with_name("as-if"))], check=False)
        assert ran.returncode == status, "also if there is nothing to print"


def test_airlock_reads_its_configuration(tmp_path: Path) -> None:
    path = tmp_path / "airlock.toml"
    path.write_bytes((KUBERNETES / "airlock.toml").read_bytes())
    path.chmod(0o644)
    assert load(path).policy.mode == "enforce"
    assert tomllib.loads(path.read_text())["policy"]["store"] == "file:/etc/airlock/policies"


def test_image_has_what_a_release_has_and_what_the_hook_starts() -> None:
    lines = (KUBERNETES / "Dockerfile").read_text()
    release = (ROOT / "images/ami/release").read_text()
    for name in ("wheels", "requirements.lock"):
        assert f"/tmp/airlock/{name}" in lines
        assert name in release
    assert "--require-hashes" in lines
    assert "/etc/airlock/policies" in lines
    assert "python3 -m venv /opt/airlock " in lines


@pytest.mark.parametrize(
    ("address", "reached"),
    [("169.254.169.254", False), ("169.254.170.2", False), ("10.0.3.7", False), ("1.1.1.1", True)],
)
def test_pods_reach_the_internet_and_no_private_network(address: str, *, reached: bool) -> None:
    spec = document("network-policy.yaml")["spec"]
    assert (spec["podSelector"], spec["ingress"]) == ({}, [])
    blocks = [
        to["ipBlock"] for rule in spec["egress"] for to in rule["to"] if "ipBlock" in to
    ]  # fmt: skip
    found = any(
        ip_address(address) in ip_network(block["cidr"])
        and not any(ip_address(address) in ip_network(one) for one in block.get("except", []))
        for block in blocks
    )
    assert found is reached
