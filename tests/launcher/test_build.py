"""The programs in C are built with the wheel, and installed beside `airlock`."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.lab import launcher
from tests.launcher.peer import SECONDS, listening

ROOT = launcher.ROOT


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    options = ("--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", str(directory))
    pip("wheel", *options, str(ROOT))
    (built,) = directory.glob("*.whl")
    return built


def test_wheel_is_for_this_kind_of_machine(wheel: Path) -> None:
    assert wheel.name.startswith("buildkite_airlock-")
    assert wheel.name.endswith("-py3-none-linux_x86_64.whl") or "aarch64" in wheel.name
    with zipfile.ZipFile(wheel) as files:
        for program in (launcher.binary(), launcher.holder(), launcher.builder()):
            (name,) = (name for name in files.namelist() if name.endswith(f"/{program.name}"))
            assert name.endswith(f".data/scripts/{program.name}")
            assert files.read(name) == program.read_bytes()


def test_installed_launcher_works(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip(
        "--python",
        str(environment / "bin/python"),
        "install",
        "--no-index",
        "--no-deps",
        str(wheel),
    )
    program = environment / "bin/airlock-launcher"
    with (
        listening(tmp_path / "s") as peer,
        subprocess.Popen([program, "--socket", str(peer.path)]) as process,
        peer.accept() as connection,
    ):
        connection.request().close()
        connection.send(b"BE\x09")
        assert process.wait(SECONDS) == 9


def test_missing_compiler_is_named_with_what_to_install(tmp_path: Path) -> None:
    command = [ROOT / "launcher/build", tmp_path / "launcher"]
    env = {"PATH": "/usr/bin:/bin", "CC": "no-such-compiler"}
    failed = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "there is no no-such-compiler. Install gcc and libc6-dev (Debian)" in failed.stderr


@pytest.mark.parametrize("source", [launcher.source("launcher"), *launcher.SHARED])
def test_launcher_is_compiled_again_when_its_source_changes(source: Path) -> None:
    program = launcher.binary()
    built = program.stat().st_mtime_ns
    assert launcher.binary().stat().st_mtime_ns == built
    source.touch()
    assert launcher.binary().stat().st_mtime_ns > built
