"""What the rehearsal needs of a machine, and how its parts end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.engine import eventually
from tests.rehearsal import steps
from tests.rehearsal.steps import CannotRehearse, alone, require, run
from tests.test_docs import ROOT

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@as_root
def test_too_little_space_is_named_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "NEEDED", 1 << 60)
    with pytest.raises(CannotRehearse, match=f"GiB are free at {tmp_path}, expected"):
        require(tmp_path)


@as_root
def test_machine_without_namespaces_is_refused(tmp_path: Path) -> None:
    """As root in a container that has no capability for them."""
    code = (
        "from pathlib import Path; from tests.rehearsal.steps import require;"
        f"require(Path({str(tmp_path)!r}))"
    )
    command = ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert "CannotRehearse: namespaces cannot be made here" in done.stderr
    assert "Operation not permitted" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("os.geteuid", 1000, "expected root, .* use sudo"),
        ("platform.machine", "aarch64", "expected an x86_64 machine, this is aarch64"),
    ],
)
def test_other_machine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object, expected: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(name, lambda: value)
    with pytest.raises(CannotRehearse, match=expected):
        require(tmp_path)


def test_second_rehearsal_waits_for_the_first(tmp_path: Path) -> None:
    named = pytest.raises(CannotRehearse, match=f"another rehearsal runs in {tmp_path}")
    with alone(tmp_path), named, alone(tmp_path):
        pass
    with alone(tmp_path) as lock:
        assert lock > 2


def test_lock_is_held_as_long_as_a_part_runs(tmp_path: Path) -> None:
    """Also when the rehearsal itself was killed."""
    with alone(tmp_path) as lock:
        part = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(lock,))
    with pytest.raises(CannotRehearse, match="another rehearsal"), alone(tmp_path):
        pass
    part.communicate()
    with alone(tmp_path):
        assert part.returncode == 0


def test_failed_part_is_named() -> None:
    with pytest.raises(CannotRehearse, match="pip could not"):
        run(["false"], what="pip could not")
    run(["true"], what="never")


REHEARSAL = """
import sys
from tests.rehearsal.steps import BOUND, run
try:
    run([*BOUND, *sys.argv[1:]], what="")
except KeyboardInterrupt:
    print("interrupted")
"""
CLEARS = """
import pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
pathlib.Path(sys.argv[1], "runs").touch()
signal.sigwait({signal.SIGINT})
pathlib.Path(sys.argv[1], "cleared").touch()
"""


def started(*part: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", REHEARSAL, *part]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT
    )


def test_interrupted_part_may_end_by_itself(tmp_path: Path) -> None:
    with started(sys.executable, "-c", CLEARS, str(tmp_path)) as process:
        eventually((tmp_path / "runs").exists, "the part runs")
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert output == "interrupted\n"
    assert (tmp_path / "cleared").exists()


def test_part_ends_with_the_rehearsal_when_that_is_killed(tmp_path: Path) -> None:
    script = f"echo $$ >{tmp_path}/pid; mv {tmp_path}/pid {tmp_path}/runs; sleep 600"
    with started("sh", "-c", script) as process:
        eventually((tmp_path / "runs").exists, "the part runs")
        process.kill()
    pid = int((tmp_path / "runs").read_text())
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the part ends")
    assert process.returncode == -signal.SIGKILL
