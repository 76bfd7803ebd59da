"""images/ami/release: the archive for hosts, with a pip that fetches nothing."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from bootstrap import __version__
from tests.images.scripts import AMI, program

PIP = """[ "$1" = -m ] || exit 1
while [ $# -gt 0 ]; do
  case $1 in --dest | --wheel-dir) mkdir -p "$2"; target=$2 ;; wheel) name=buildkite_airlock-1 ;;
  --requirement) cmp "$2" "$LOCK" || exit 1 ;; esac
  shift
done
touch "$target/${name:-boto3-1}-py3-none-any.whl\""""


def made(tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    program(tmp_path / "bin", "python", PIP)
    output, python = str(tmp_path / "airlock.tar.gz"), str(tmp_path / "bin/python")
    return subprocess.run(
        [str(AMI / "release"), "--output", output, "--python", python, *arguments],
        capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "LOCK": str(AMI.parents[1] / "requirements.lock")},
    )  # fmt: skip


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    directory = tmp_path / "my"
    (directory / "policies").mkdir(parents=True)
    (directory / "airlock.toml").write_text('[sandbox]\nimage = "x"\n')
    (directory / "policies/storefront.yaml").touch()
    (directory / "token").write_text("not for the archive")
    return directory


def test_archive_has_what_provisioning_needs_and_the_operators_files(
    tmp_path: Path, configuration: Path
) -> None:
    done = made(tmp_path, "--configuration", str(configuration))
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / "airlock.tar.gz") as archive:
        members = {member.name: member for member in archive.getmembers() if member.isfile()}
        version = archive.extractfile("airlock/version")
        assert version
        assert version.read().decode().strip() == __version__
    names = {name.removeprefix("airlock/") for name in members}
    needed = {path.relative_to(AMI.parents[1]) for path in AMI.rglob("*") if path.is_file()}
    assert {str(path) for path in needed} <= names
    assert {
        "requirements.lock", "agent-config/hooks/pre-bootstrap",
        "agent-config/systemd/airlock.service", "wheels/boto3-1-py3-none-any.whl",
        "configuration/airlock.toml", "configuration/policies/storefront.yaml",
    } <= names  # fmt: skip
    assert not [name for name in names if Path(name).name == "token"]
    assert members["airlock/images/ami/provision"].mode & 0o111 == 0o111


def test_same_content_gives_the_same_archive(tmp_path: Path) -> None:
    first = made(tmp_path).stdout
    assert len(first.split()[0]) == 64
    assert made(tmp_path).stdout == first


def test_directory_without_a_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    done = made(tmp_path, "--configuration", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "has no airlock.toml" in done.stderr
    assert not (tmp_path / "airlock.tar.gz").exists()


def test_mistakes_are_named_before_anything_is_fetched(tmp_path: Path) -> None:
    absent = made(tmp_path, "--configuration", str(tmp_path / "absent"))
    assert "copy agent-config/airlock.toml there" in absent.stderr
    python = made(tmp_path, "--python", "python3.99")
    assert python.returncode == 1
    assert "there is no program python3.99; name the hosts' Python" in python.stderr
    assert not (tmp_path / "airlock.tar.gz").exists()
