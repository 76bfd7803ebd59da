"""What a container has used up: of real directories in memory, and as the kernel counts."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootstrap.sandbox import limits
from bootstrap.sandbox.limits import Limits, Used

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")


@contextmanager
def with_directories(mounts: Mapping[Path, str], script: str = "true") -> Iterator[int]:
    """Yield a process in whose mounts, and no others, these are in memory."""
    made = "".join(
        f"mkdir -p {path} && mount -t tmpfs -o {options} tmpfs {path} && "
        for path, options in mounts.items()
    )
    command = ["unshare", "--mount", "sh", "-c", f"{made}{script} && echo ready && exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.kill()


@needs_root
@pytest.mark.parametrize(
    ("options", "is_full"),
    [
        ("size=512k", False),
        ("size=512k,nr_inodes=0", False),  # as many as there is memory for: none are counted
        ("size=128k", True),
        ("size=512k,nr_inodes=1", True),
    ],
)
def test_a_directory_is_full_without_space_or_without_inodes(
    tmp_path: Path, options: str, *, is_full: bool
) -> None:
    place = tmp_path / "data"
    with with_directories({place: options}) as pid:
        found = Limits(pid, (str(place),))
        assert found.used() == Used(full=(str(place),) if is_full else ())
        found.close()


@needs_root
def test_what_was_full_is_known_when_the_container_has_ended(tmp_path: Path) -> None:
    place = tmp_path / "data"
    with with_directories({place: "size=1m"}, f"head -c 900k /dev/zero >{place}/log") as pid:
        found = Limits(pid, (str(place), "/nowhere"))
    assert found.used() == Used(full=(str(place),))
    found.close()
    assert found.used() == Used()


@needs_root
def test_a_link_of_the_image_is_not_followed(tmp_path: Path) -> None:
    place, link = tmp_path / "data", tmp_path / "link"
    link.symlink_to(place)
    with with_directories({place: "size=128k"}) as pid:
        for path in (link, link / "below"):
            found = Limits(pid, (str(path),))
            assert found.used() == Used()
            found.close()


def opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = opened()
    for paths in (("/nowhere",), (str(tmp_path), str(tmp_path / "no/such")), ("/proc/self/no",)):
        found = Limits(os.getpid(), paths)
        assert opened() - before <= 1
        found.close()
        assert opened() == before


@pytest.mark.parametrize(
    ("counted", "used"),
    [
        # Version 2 (Documentation/admin-guide/cgroup-v2.rst) and version 1 (v1/memory.rst).
        ({"memory.events": "low 0\noom 5\noom_kill 2\noom_group_kill 9\n"}, Used(killed=2)),
        ({"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"}, Used(killed=3)),
        ({"pids.events": "max 7\n"}, Used(refused_forks=7)),
        ({"pids.events": "max many\n", "memory.events": "oom_kill\n"}, Used()),
        ({"memory.events": "", "pids.events": ""}, Used()),
        ({}, Used()),
    ],
)
def test_what_the_kernel_counts_in_either_version_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Mapping[str, str], used: Used
) -> None:
    monkeypatch.setattr(limits, "_GROUPS", tmp_path)
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for file, text in counted.items():
            if not controllers or file.partition(".")[0] in controllers.split(","):
                directory = tmp_path / controllers / path[1:]
                directory.mkdir(parents=True, exist_ok=True)
                (directory / file).write_text(text)
    found = Limits(os.getpid(), ())
    assert found.used() == used
    found.close()
