"""tests/lab/setup on a machine that has nothing of it yet."""

import subprocess
from pathlib import Path

from tests.images.scripts import program

SETUP = Path(__file__).with_name("setup")
LARGE = {"maven", "npm", "openjdk-17-jdk-headless", "chromium-driver", "valgrind"}


def wanted(directory: Path, *what: str) -> set[str]:
    """Return the packages that it would install, as somebody who is not root gets them named."""
    program(directory, "id", "echo 1000")
    program(directory, "python3", "exit 1")
    done = subprocess.run(
        ["/bin/bash", str(SETUP), *what], capture_output=True, text=True, check=False,
        env={"PATH": str(directory)},
    )  # fmt: skip
    assert done.returncode == 1
    _, found, packages = done.stderr.partition("run as root to install ")
    assert found, done.stderr
    return set(packages.split())


def test_rehearsal_installs_what_it_uses_and_no_compilers_of_others(tmp_path: Path) -> None:
    found = wanted(tmp_path / "bin", "rehearsal")
    assert {"qemu-system-x86", "e2fsprogs", "debootstrap", "docker.io", "gcc", "iproute2"} <= found
    assert not found & LARGE


def test_demo_and_all_tests_have_the_rest(tmp_path: Path) -> None:
    demo, everything = wanted(tmp_path / "bin", "demo"), wanted(tmp_path / "bin")
    assert demo < everything
    assert everything >= LARGE
    assert {"maven", "nftables", "curl", "util-linux"} <= demo
    assert "qemu-system-x86" not in everything
