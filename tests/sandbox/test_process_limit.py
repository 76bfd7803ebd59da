"""Which file counts refused processes, and what happens where there is none."""

import os
from pathlib import Path

import pytest

from bootstrap.sandbox.process_limit import events_file, watched
from tests.lab.engine import eventually

# As /proc/PID/cgroup shows a container: version 1, both, and version 2 (cgroups(7)).
V1 = "12:cpu,cpuacct:/docker/ab\n9:pids:/docker/ab\n1:name=systemd:/docker/ab\n"
HYBRID = f"{V1}0::/system.slice/docker.service\n"
V2 = "0::/system.slice/docker-ab.scope\n"


@pytest.mark.parametrize(
    ("membership", "expected"),
    [
        (V1, "pids/docker/ab/pids.events"),
        (HYBRID, "pids/docker/ab/pids.events"),
        (V2, "system.slice/docker-ab.scope/pids.events"),
        ("0::/a:b\n", "a:b/pids.events"),
        ("", "pids.events"),
    ],
)
def test_events_file_of_each_version(membership: str, expected: str) -> None:
    assert events_file(membership, Path("/g")) == Path("/g", expected)


def own(cgroups: Path) -> Path:
    path = events_file(Path("/proc/self/cgroup").read_text(), cgroups)
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize(("text", "reached"), [("max 0\n", False), ("max 2\n", True)])
def test_refusals_before_the_watch_count(tmp_path: Path, text: str, *, reached: bool) -> None:
    own(tmp_path).write_text(text)
    with watched(os.getpid(), tmp_path) as limit:
        assert limit is not None
        if reached:
            eventually(lambda: limit.reached, "the count is read", 5)
    assert limit.reached is reached


def test_process_without_count_or_without_life_is_not_watched(tmp_path: Path) -> None:
    with watched(os.getpid(), tmp_path / "absent") as limit:
        assert limit is None
    with watched(int(Path("/proc/sys/kernel/pid_max").read_text()) + 1) as limit:
        assert limit is None
