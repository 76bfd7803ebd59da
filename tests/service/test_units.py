"""The units: systemd accepts them, and they fit each other, the code and the documentation."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bootstrap.host.config import parse
from bootstrap.service.lanes import IDLE
from tests.service import as_unit
from tests.service.units import DIRECTORY, SERVICE, SOCKET, unit
from tests.test_docs import ROOT

OPERATIONS = ROOT / "docs" / "operations.md"
# Each gives the service a mount namespace of its own.
MOUNT_NAMESPACE = {
    "BindPaths", "BindReadOnlyPaths", "ExecPaths", "InaccessiblePaths", "MountFlags",
    "NoExecPaths", "PrivateDevices", "PrivateIPC", "PrivateMounts", "PrivateTmp", "ProcSubset",
    "ProtectControlGroups", "ProtectHome", "ProtectKernelLogs", "ProtectKernelModules",
    "ProtectKernelTunables", "ProtectProc", "ProtectSystem", "ReadOnlyPaths", "ReadWritePaths",
    "RootDirectory", "RootImage", "TemporaryFileSystem", "DynamicUser", "LogNamespace",
    "CacheDirectory", "ConfigurationDirectory", "LogsDirectory", "RuntimeDirectory",
    "StateDirectory",
}  # fmt: skip


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_every_unit(tmp_path: Path) -> None:
    program = shutil.which("true")
    for path in DIRECTORY.iterdir():
        text = path.read_text().replace("/opt/airlock/bin/airlock", str(program))
        (tmp_path / path.name).write_text(text)
    units = sorted(str(path) for path in tmp_path.iterdir())
    # Those of other packages may be missing or wrong on this machine.
    verify = ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", *units]
    found = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.service")), ids=lambda path: path.name)
def test_command_exists_with_its_arguments(path: Path) -> None:
    program, *arguments = unit(path)["Service"]["ExecStart"].split()
    assert program == "/opt/airlock/bin/airlock"
    command = [sys.executable, "-I", "-m", "bootstrap", *arguments, "--help"]
    usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert usage.startswith(f"usage: airlock {arguments[0]}")


def test_socket_is_the_one_of_the_configuration_and_its_group_the_agents() -> None:
    example = tomllib.loads((ROOT / "agent-config" / "airlock.toml").read_text())
    service = parse(example, SOCKET).service
    settings = unit(SOCKET)["Socket"]
    assert settings["ListenStream"] == str(service.socket)
    assert [settings["SocketGroup"]] == list(service.agents)
    assert settings["SocketMode"] == "0660"
    timer_unit = unit(DIRECTORY / "airlock-gc.service")["Unit"]
    assert timer_unit["ConditionPathExists"] == f"!{service.socket}"


def test_service_and_its_processes_outlive_what_they_have_to() -> None:
    settings = unit(SERVICE)["Service"]
    assert settings["KillMode"] == "process"
    assert settings["OOMPolicy"] == "continue"
    assert settings["Restart"] == "always"
    assert unit(SERVICE)["Unit"]["StartLimitIntervalSec"] == "0"
    assert settings["WatchdogSignal"] == "SIGKILL"  # SIGABRT would write credentials to the disk


def test_service_has_no_mount_namespace() -> None:
    assert not MOUNT_NAMESPACE & unit(SERVICE)["Service"].keys()


def test_every_restriction_is_applied_in_the_lab() -> None:
    """What as_unit does not know, tests/service/test_confined.py would run without."""
    limits = {"NoNewPrivileges", "MemoryDenyWriteExecute", "LimitCORE", "LimitNOFILE", "UMask"}
    known = {*as_unit.OTHERS, *as_unit.FILTERS, *limits, "CapabilityBoundingSet"}
    assert unit(SERVICE)["Service"].keys() <= known


def test_documentation_explains_every_capability_and_no_other() -> None:
    section = OPERATIONS.read_text().partition("## The unit")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `(CAP_\w+)` \|", section, re.MULTILINE)
    assert explained == unit(SERVICE)["Service"]["CapabilityBoundingSet"].split()


def test_chores_are_as_considerate_as_the_timers() -> None:
    assert int(unit(DIRECTORY / "airlock-gc.service")["Service"]["Nice"]) == IDLE
