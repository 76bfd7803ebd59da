"""tests/rehearsal/build where something is missing, fails or is interrupted."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.images.scripts import program
from tests.lab.engine import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces")
BUILD = Path(__file__).with_name("build")
LISTED = "Debian main bookworm http://mirror.example.com/debian/"


@contextmanager
def building(directory: Path, debootstrap: str) -> Iterator[subprocess.Popen[str]]:
    """Run it with a program in the place of debootstrap, in a session as a terminal has."""
    program(directory / "bin", "debootstrap", debootstrap)
    program(directory / "bin", "apt-get", f"echo '{LISTED}'")
    command = [str(BUILD), str(directory), str(directory / "release")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={"PATH": f"{directory / 'bin'}:{os.environ['PATH']}"},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def remains(directory: Path) -> list[str]:
    """Return the mounts below a directory, and the processes that name it."""
    found = [one for one in Path("/proc/mounts").read_text().splitlines() if str(directory) in one]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if str(directory).encode() in words:
            found.append(words.decode(errors="replace"))
    return found


def test_reason_and_the_mirror_are_in_what_it_prints(tmp_path: Path) -> None:
    fails = 'echo "E: Failed getting release file $*"; exit 1'
    with building(tmp_path, fails) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "now: a Debian 12 with kernel and systemd (two to five minutes, once)" in output
    assert "in the step: a Debian 12 with kernel" in errors
    assert f"bookworm {tmp_path}/base http://mirror.example.com/debian/" in errors
    assert errors.splitlines()[-1].startswith("Is there a network, and does /etc/apt name a mirror")
    assert errors.count("failed in line") == 1


def test_other_failure_is_not_taken_for_the_network(tmp_path: Path) -> None:
    with building(tmp_path, "echo 'E: no space'; exit 1") as process:
        _, errors = process.communicate(timeout=60)
    assert errors.splitlines()[-1] == "E: no space"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_build_leaves_neither_mount_nor_process(tmp_path: Path, number: int) -> None:
    """As Ctrl-C, the end of a CI job and an end without warning, while packages are fetched."""
    base = tmp_path / "base"
    runs = f"mkdir -p {base} && mount -t tmpfs left {base} && touch {tmp_path}/runs && sleep 600"
    with building(tmp_path, runs) as process:
        eventually((tmp_path / "runs").exists, "debootstrap runs", 60)
        os.killpg(process.pid, number)
        output, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "failed" not in errors
    assert "now: a Debian" in output
    eventually(lambda: not remains(tmp_path), "nothing is left")
    assert not list((tmp_path / "base").iterdir())
