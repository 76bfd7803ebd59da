"""What an image says of itself, in its labels, does nothing to the developer who has it."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.replay.conftest import Replays
from tests.replay.unprotected import without

pytestmark = pytest.mark.lab

# The sweep as it was: what a label says is a token, whoever made the container.
AS_IT_WAS = """
from bootstrap.replay import clearing
clearing._token_of = lambda thing, _places: thing["Labels"].get(clearing.LABEL)
"""


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    archive = tmp_path / "empty.tar"
    with tarfile.open(archive, "w"):
        pass
    return archive


def container_with(replays: Replays, archive: Path, **labels: str) -> str:
    """Create a container as a developer does who tries an image with these labels."""
    docker = ["docker", "-H", replays.developer.docker]
    changes = [f'--change=LABEL "airlock.{name}"="{text}"' for name, text in labels.items()]
    image = _printed([*docker, "import", *changes, str(archive)])
    return _printed([*docker, "create", image, "/nothing"])


def _printed(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _thesis(replays: Replays) -> Path:
    path = replays.developer.home / "documents/thesis"
    path.parent.mkdir()
    path.write_text("four years of work")
    for made in (path.parent, path):
        os.chown(made, replays.developer.uid, replays.developer.uid)
    return path


@pytest.mark.parametrize("protected", [True, False])
def test_label_that_is_a_path_deletes_nothing(
    replays: Replays, empty: Path, *, protected: bool
) -> None:
    thesis, developer = _thesis(replays), replays.developer
    labels = {"replay": str(thesis.parent), "replay-owner": str(developer.uid)}
    made = container_with(replays, empty, **labels)
    arguments = replays.arguments(replays.record("true"))
    try:
        done = developer.run(*arguments) if protected else without(replays, AS_IT_WAS, arguments)
        assert done.returncode == 0, done.stderr.decode()
        assert thesis.exists() == protected
    finally:
        _printed(["docker", "-H", developer.docker, "rm", made])


def test_label_without_a_token_keeps_no_replay_from_running(replays: Replays, empty: Path) -> None:
    developer = replays.developer
    made = container_with(replays, empty, **{"replay-owner": str(developer.uid)})
    try:
        done = replays.run("echo ran")
        assert done.returncode == 0, done.stderr.decode()
    finally:
        _printed(["docker", "-H", developer.docker, "rm", made])


def test_container_of_the_developers_with_a_token_of_a_replay_stays(
    replays: Replays, empty: Path
) -> None:
    developer = replays.developer
    made = container_with(
        replays, empty, **{"replay": "0190-abcd", "replay-owner": str(developer.uid)}
    )
    assert replays.run("true").returncode == 0
    assert _printed(["docker", "-H", developer.docker, "rm", made])
