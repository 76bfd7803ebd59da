"""A directory is looked at only if it is the container's own tmpfs, whatever its path leads to."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootstrap.log import JobLog
from bootstrap.sandbox.model import Breached, Ended, Exited
from bootstrap.sandbox.supervision import fullness
from bootstrap.sandbox.supervision.fullness import Fullness
from tests.lab.engine import eventually

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


@contextmanager
def container(root: Path, script: str) -> Iterator[int]:
    """Run a process that has `root` as its root directory, after `script` has prepared it."""
    for name in ("usr", "proc"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    prepare = f"set -e; cd {root}; mount --rbind /usr usr; mount -t proc proc proc\n{script}\n"
    run = f"exec chroot {root} sh -c 'echo ready; exec sleep 60'"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", prepare + run]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.kill()


def found(pid: int, state: Path) -> tuple[str, ...]:
    looking = Fullness(pid, state)
    looking.look()
    looking.close()
    looking.close()  # does nothing
    return looking.found


MOUNT = "mkdir tmp; mount -t tmpfs -o size=1m lab tmp"


@needs_root
def test_full_directory_in_memory_is_found_with_its_size_also_after_the_end(tmp_path: Path) -> None:
    with container(tmp_path / "root", MOUNT) as pid:
        looking = Fullness(pid, tmp_path)
        looking.look()
        before = looking.found
        subprocess.run(["dd", "if=/dev/zero", f"of=/proc/{pid}/root/tmp/f", "bs=1M", "count=2"],
                       check=False, capture_output=True)  # fmt: skip
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the process has ended")
    looking.close()
    assert before == ()
    (sentence,) = looking.found
    assert sentence.startswith("/tmp, in memory, was full: it holds 1 MiB and ")
    assert sentence.endswith(" inodes. sandbox.tmp in airlock.toml sets the size")


@needs_root
def test_directory_without_free_inodes_is_full(tmp_path: Path) -> None:
    few = "mkdir tmp; mount -t tmpfs -o size=9m,nr_inodes=3 lab tmp; touch tmp/a tmp/b"
    with container(tmp_path / "root", few) as pid:
        assert "it holds 9 MiB and 3 inodes" in found(pid, tmp_path)[0]


@needs_root
@pytest.mark.parametrize(
    "script",
    [
        "ln -s {host} tmp",  # followed from the host, it leads to a directory of the host
        "mkdir real; mount -t tmpfs -o size=9m lab real; ln -s {host} tmp",
        "mkdir tmp",
    ],
)
def test_link_that_leads_out_of_the_container_is_not_followed(tmp_path: Path, script: str) -> None:
    host = tmp_path / "host"
    host.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "lab", str(host)], check=True)
    try:
        subprocess.run(["dd", "if=/dev/zero", f"of={host}/f", "bs=1M", "count=2"],
                       check=False, capture_output=True)  # fmt: skip
        with container(tmp_path / "root", script.format(host=host)) as pid:
            if "ln" in script:
                assert os.statvfs(f"/proc/{pid}/root/tmp").f_bavail == 0  # what following it finds
            assert found(pid, tmp_path) == ()
    finally:
        subprocess.run(["umount", str(host)], check=True)


@needs_root
def test_container_that_has_ended_already_is_no_failure(tmp_path: Path) -> None:
    assert found(2**22 + 1, tmp_path) == ()


def explained(ended: Ended) -> str:
    lines: list[bytes] = []
    fullness.explain(ended, ("/tmp was full. sandbox.tmp sets it",), JobLog(lines.append))
    return b"".join(lines).decode()


def test_explanation_is_for_failures_of_the_job_only() -> None:
    assert "/tmp was full. sandbox.tmp sets it" in explained(Exited(code=1, out_of_memory=False))
    assert "The exit status is the job's own" in explained(Exited(code=1, out_of_memory=False))
    assert explained(Exited(code=0, out_of_memory=False)) == ""
    assert explained(Breached(why="the ruleset was changed")) == ""
