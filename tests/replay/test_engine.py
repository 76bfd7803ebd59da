"""Which engine a replay uses, and which it refuses in one sentence."""

from pathlib import Path

import pytest

from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.replay import engine
from bootstrap.replay.model import Kind, ReplayInput
from bootstrap.replay.options import Options

KERNEL = "6.1.0"
INFO = {
    "OperatingSystem": "Debian GNU/Linux 12",
    "KernelVersion": KERNEL,
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=default", "name=userns"],
}
VERSION = {"Components": [{"Name": "Engine"}, {"Name": "containerd"}]}


def test_engine_that_root_runs_is_suitable() -> None:
    assert engine.unsuitable(INFO, VERSION, KERNEL) == ""


@pytest.mark.parametrize(
    ("info", "version", "why"),
    [
        ({}, {"Components": [{"Name": "Podman Engine"}]}, "podman's socket"),
        ({"OperatingSystem": "Docker Desktop"}, VERSION, "Docker Desktop"),
        ({"SecurityOptions": ["name=seccomp", "name=rootless"]}, VERSION, "rootless Docker"),
        ({"SecurityOptions": ["name=selinux"]}, VERSION, "uses SELinux"),
        ({"KernelVersion": "5.10.0"}, VERSION, "on the kernel 5.10.0, and this is 6.1.0"),
    ],
)
def test_other_engines_are_not(
    info: dict[str, object], version: dict[str, object], why: str
) -> None:
    assert why in engine.unsuitable({**INFO, **info}, version, KERNEL)


def test_engine_is_the_options_then_the_environments_then_the_machines() -> None:
    env = {"DOCKER_HOST": "unix:///run/user/1000/docker.sock"}
    assert engine.url("unix:///tmp/d.sock", env) == "unix:///tmp/d.sock"
    assert engine.url(None, env) == "unix:///run/user/1000/docker.sock"
    assert engine.url(None, {}) == "unix:///var/run/docker.sock"


@pytest.mark.parametrize("url", ["tcp://10.0.0.1:2376", "ssh://build@host", "unix://relative"])
def test_engine_on_another_machine_is_a_wrong_configuration(url: str) -> None:
    with pytest.raises(WrongConfiguration, match="expected a socket of this machine"):
        engine.url(url, {})


def test_machine_without_docker_cannot_start(tmp_path: Path) -> None:
    with (
        pytest.raises(CannotStart, match=r"there is no Docker Engine at .*none\.sock"),
        engine.connected(f"unix://{tmp_path}/none.sock"),
    ):
        pass


def test_image_that_is_not_known_has_to_be_named() -> None:
    found = ReplayInput(kind=Kind.ENV, source="job-env", env={})
    options = Options(docker=engine.DEFAULT)
    with pytest.raises(WrongConfiguration, match="job-env does not have the image") as unknown:
        engine.reference(found, options)
    assert "--image" in unknown.value.hint
    assert engine.reference(found, Options(docker=engine.DEFAULT, image="ci:1")) == "ci:1"
