"""What can be wrong with a machine or an image ends in one sentence and a documented status."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.registry import Registry
from tests.replay.conftest import Replays

pytestmark = pytest.mark.lab
GONE = "127.0.0.1:1/ci/gone@sha256:" + "0" * 64


def test_without_docker(replays: Replays) -> None:
    done = replays.run("true", "--docker", "unix:///none.sock")
    assert done.returncode == 125
    assert b"there is no Docker Engine at /none.sock" in done.stderr


def test_without_permission_on_the_socket(replays: Replays) -> None:
    replays.developer = replace(replays.developer, in_group=False)
    done = replays.run("true")
    assert done.returncode == 78
    assert b"may not use Docker's socket" in done.stderr
    assert b"can become root on this machine" in done.stderr


def test_image_that_is_gone_from_a_registry_that_does_not_answer(replays: Replays) -> None:
    done = replays.run("true", "--image", GONE)
    assert done.returncode == 125
    assert b"is not on this machine" in done.stderr
    assert b"docker pull" in done.stderr
    assert done.stderr.count(b"Traceback") == 0
    assert replays.remains() == []


def test_image_of_a_registry_that_wants_a_login(replays: Replays) -> None:
    with Registry(socket.create_server(("127.0.0.1", 0)), {"ci": "secret"}) as registry:
        image = registry.push("ci/job", "1", {"file": b""})
        done = replays.run("true", "--image", image)
    assert done.returncode == 125
    assert f"`docker pull {image}` uses your own login".encode() in done.stderr
    assert replays.remains() == []


def test_without_an_agent(replays: Replays) -> None:
    job = replays.record("true")
    done = replays.developer.run("replay", str(job))
    assert done.returncode == 78
    assert b"there is no buildkite-agent on PATH" in done.stderr


def test_image_without_a_shell_ends_at_once(replays: Replays, tmp_path: Path) -> None:
    image = replays.empty_image(tmp_path)
    done = replays.run("true", "--image", image)
    assert done.returncode == 125
    assert replays.remains() == []
