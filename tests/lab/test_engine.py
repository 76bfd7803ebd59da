"""The lab's engine can be killed, stopped and started again under a running container."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.engine import CGROUP, OURS, Engine, answers, clear_control_groups, eventually
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab


@pytest.fixture
def dockerd(lab: Lab) -> Iterator[Engine]:
    assert lab.engine, "stop this machine's own Docker Engine: tests do not inject faults into it"
    yield lab.engine
    lab.engine.restored()


def docker(lab: Lab, *arguments: str) -> str:
    done = subprocess.run(
        ["docker", "-H", lab.docker, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def container(lab: Lab) -> Iterator[str]:
    name = docker(lab, "run", "-d", "--init", "--network=none", lab.image, "sleep", "60")
    yield name
    docker(lab, "rm", "-f", name)


@pytest.mark.parametrize("live_restore", [True, False])
@pytest.mark.parametrize("way", ["kill", "terminate"])
def test_container_survives_restart_only_with_live_restore(
    lab: Lab, dockerd: Engine, way: str, *, live_restore: bool, request: pytest.FixtureRequest
) -> None:
    dockerd.terminate()
    dockerd.start(live_restore=live_restore)
    container = request.getfixturevalue("container")
    getattr(dockerd, way)()
    assert not answers(OURS)
    dockerd.start(live_restore=live_restore)
    expected = "true" if live_restore else "false"
    assert docker(lab, "inspect", "-f", "{{.State.Running}}", container) == expected


def test_stopped_engine_answers_again_when_continued(lab: Lab, dockerd: Engine) -> None:
    dockerd.stop()
    assert not answers(OURS)
    dockerd.cont()
    eventually(lambda: answers(OURS), "dockerd answers again")


def test_lab_removes_control_groups_that_an_earlier_one_of_its_name_left() -> None:
    """In any one hierarchy: a container whose start was interrupted is left in some of them."""
    name = f"{CGROUP.removesuffix('.slice')}-test.slice"
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    parent = Path("/sys/fs/cgroup", "" if unified else "systemd", name)
    (parent / "container/of-the-job").mkdir(parents=True)
    (parent / "another").mkdir()
    clear_control_groups(name)
    assert not parent.exists()
