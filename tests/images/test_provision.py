"""images/ami/provision in parts; `make rehearse` runs the whole of it on a Debian 12."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.images.scripts import AMI, SCRIPTS, part, program

ROOT = AMI.parents[1]
OTHERS = (
    "images/job/build", "images/job/debian", "tests/lab/setup", "tests/rehearsal/build",
    "tests/rehearsal/manifest", "tests/rehearsal/report",
)  # fmt: skip


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
@pytest.mark.parametrize("path", [*(AMI / name for name in SCRIPTS), *map(ROOT.joinpath, OTHERS)])
def test_script_passes_shellcheck(path: Path) -> None:
    done = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


SYSTEMS = [
    ("debian", "12", "apt", {"python3", "python3-venv", "docker.io", "nftables", "procps"}),
    ("ubuntu", "22.04", "apt", {"python3.11", "python3.11-venv", "docker.io", "nftables"}),
    ("ubuntu", "24.04", "apt", {"python3", "python3-venv", "docker.io", "nftables"}),
    ("amzn", "2023", "dnf", {"python3.11", "docker", "nftables", "iproute", "procps-ng"}),
]


def platform(tmp_path: Path, name: str, version: str) -> str:
    release = tmp_path / "os-release"
    release.write_text(f'ID="{name}"\nVERSION_ID="{version}"\n')
    return f"os_release={release}; platform"


@pytest.mark.parametrize(("name", "version", "manager", "expected"), SYSTEMS)
def test_packages_are_those_of_the_distribution(
    tmp_path: Path, name: str, version: str, manager: str, expected: set[str]
) -> None:
    done = part("provision", platform(tmp_path, name, version) + '; echo $manager "${packages[@]}"')
    found, *packages = done.stdout.split()
    assert found == manager
    assert expected <= set(packages)
    assert len(packages) == len(set(packages))


@pytest.mark.parametrize("version", [("debian", "11"), ("fedora", "42"), ("amzn", "2")])
def test_another_distribution_is_refused(tmp_path: Path, version: tuple[str, str]) -> None:
    done = part("provision", platform(tmp_path, *version))
    assert done.returncode == 1
    assert "expected Debian 12, Ubuntu 22.04 or 24.04, or Amazon Linux 2023" in done.stderr
    assert f"this is {version[0]} {version[1]}" in done.stderr


@pytest.mark.parametrize("text", [None, "", "NAME=Arch\nID=arch\n", "ID=$(false)\n"])
def test_system_without_a_name_or_version_is_refused_in_one_line(
    tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "os-release").write_text(text)
    done = part("provision", f"os_release={tmp_path / 'os-release'}; platform")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    name = "arch" if "arch" in (text or "") else "unknown"
    assert line.startswith("airlock provision: expected Debian 12")
    assert line.endswith(f"this is {name} ")


def test_only_missing_packages_are_installed_and_a_failure_ends_it(tmp_path: Path) -> None:
    """On Amazon Linux, with programs in the place of rpm and dnf."""
    begin = platform(tmp_path, "amzn", "2023")
    program(tmp_path / "bin", "rpm", '[ "$3" != docker ] && [ "$3" != python3.11 ]')
    program(tmp_path / "bin", "dnf", f"echo $* >>{tmp_path}/installed")
    install = f'{begin}; installed "${{packages[@]}}"; echo "$changes"'
    done = part("provision", install, path=tmp_path / "bin")
    assert done.stdout.splitlines()[-1] == "1", done.stderr
    assert (tmp_path / "installed").read_text() == "install -y -q docker python3.11\n"
    program(tmp_path / "bin", "dnf", "exit 1")
    failed = part("provision", install, path=tmp_path / "bin")
    assert failed.returncode != 0
    assert "1" not in failed.stdout.split()
    assert failed.stderr == (
        "airlock provision: the packages docker python3.11 could not be installed, see above; "
        "does this host reach its repositories?\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files to root")
def test_settings_of_docker_that_are_there_stay(tmp_path: Path) -> None:
    """As on the Elastic CI Stack, which maps users."""
    settings = tmp_path / "daemon.json"
    merge = f"daemon_json={settings}; docker_engine; echo $changes"
    assert part("provision", merge).stdout.splitlines()[-1] == "1"
    ours = json.loads(settings.read_text())
    assert ours == json.loads((AMI / "daemon.json").read_text())
    assert part("provision", merge).stdout == "0\n"
    settings.write_text('{"userns-remap": "buildkite-agent", "icc": true}')
    assert part("provision", merge).stdout.splitlines()[-1] == "1"
    merged = json.loads(settings.read_text())
    assert merged == {**ours, "userns-remap": "buildkite-agent", "icc": True}
    assert part("provision", merge).stdout == "0\n"
    settings.write_text("{not json")
    assert part("provision", merge).returncode != 0
    assert settings.read_text() == "{not json"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('token="x"', 'token="x"\nbootstrap-script="/run/me"\n'),
        ("", 'bootstrap-script="/run/me"\n'),
        ('bootstrap-script="/other"\nname="a"\n', 'name="a"\nbootstrap-script="/run/me"\n'),
        ('  bootstrap-script = "/run/me"\n', 'bootstrap-script="/run/me"\n'),
        ('bootstrap-script="/run/me"\nname="a"\n', 'bootstrap-script="/run/me"\nname="a"\n'),
        ('# bootstrap-script="/other"\n',
         '# bootstrap-script="/other"\nbootstrap-script="/run/me"\n'),
        ('bootstrap-script="/run/me"\nbootstrap-script="/other"\n', 'bootstrap-script="/run/me"\n'),
    ],
)  # fmt: skip
def test_agents_setting_is_the_only_line_of_its_name(
    tmp_path: Path, before: str, after: str
) -> None:
    cfg = tmp_path / "buildkite-agent.cfg"
    cfg.write_text(before)
    done = part("provision", f"setting {cfg} bootstrap-script /run/me")
    assert done.returncode == 0, done.stderr
    assert cfg.read_text() == after


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--imds", "some"), "--imds is root or any, not 'some'"),
        (("--agent-repository", "deb x y z"), "--agent-repository needs --agent-key FILE"),
        (("--nothing", "x"), "unknown argument '--nothing'"),
        (("--config",), "--config needs a value"),
    ],
)
def test_mistake_in_the_command_line_changes_nothing(
    arguments: tuple[str, ...], expected: str
) -> None:
    done = subprocess.run(
        [str(AMI / "provision"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode in (1, 2)
    assert expected in done.stderr
    assert done.stdout == ""
