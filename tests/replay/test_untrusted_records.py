"""A record from somebody else: what it may ask of the developer's machine."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.replay.conftest import LIMITS, Replays
from tests.replay.unprotected import without

pytestmark = pytest.mark.lab

NO_LIMITS = {"memory": 0, "pids": 0, "open_files": LIMITS["open_files"]}
ANY_LIMIT = "from bootstrap.replay import machine; machine._is_limit = lambda *_: True"
SHOWN = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; true"


def record(replays: Replays, command: str, spec: dict[str, Any], **env: str) -> Path:
    path = replays.record(command, **env)
    document = json.loads(path.read_text())
    document["events"][0]["spec"] = spec
    path.write_text(json.dumps(document))
    return path


def test_record_cannot_take_away_the_limits(replays: Replays) -> None:
    done = replays.again(record(replays, SHOWN, NO_LIMITS))
    assert done.returncode == 78
    assert b"limits memory to 0" in done.stderr
    assert b"\n4096" in replays.again(record(replays, SHOWN, dict(LIMITS))).stdout
    arguments = replays.arguments(record(replays, SHOWN, NO_LIMITS))
    unlimited = without(replays, ANY_LIMIT, arguments)
    assert b"\nmax" in unlimited.stdout, unlimited.stderr.decode()


def of_developer(replays: Replays, path: str) -> Path:
    """Create a directory of the developer's with a file in it, and return it."""
    directory = replays.developer.home / path
    directory.mkdir(parents=True)
    (directory / "thesis").write_text("four years of work")
    for made in (directory, *directory.relative_to(replays.developer.home).parents):
        os.chown(replays.developer.home / made, replays.developer.uid, replays.developer.uid)
    return directory


def test_job_cannot_have_a_directory_of_the_developers_moved(replays: Replays) -> None:
    env = json.loads(replays.record("true").read_text())["env"]
    place = f"{env['BUILDKITE_ORGANIZATION_SLUG']}/{env['BUILDKITE_PIPELINE_SLUG']}"
    mine, home = of_developer(replays, place), replays.developer.home
    agent = env["BUILDKITE_AGENT_NAME"]
    swap = (
        f"cd /; mv $BUILDKITE_BUILD_PATH/{agent} /tmp/; ln -s {home} $BUILDKITE_BUILD_PATH/{agent}"
    )
    done = replays.run(swap, "--keep")
    assert done.returncode == 0
    assert b"the job has put a symbolic link at builds/" in done.stderr, done.stderr.decode()
    assert (mine / "thesis").exists()


@pytest.mark.parametrize("link", ["", "JOB", "JOB/artifacts", "JOB/pipelines"])
def test_repository_cannot_have_artifacts_written_elsewhere(replays: Replays, link: str) -> None:
    """A developer is in a repository that has a link where replays write."""
    mine = of_developer(replays, ".ssh")
    upload = "echo mine > key; buildkite-agent artifact upload key; "
    pipeline = "echo 'steps: [{command: a}]' | buildkite-agent pipeline upload"
    job = replays.record(f"{upload}{pipeline}")
    path = replays.developer.home / "airlock-replay" / link.replace("JOB", job.stem)
    of_developer(replays, str(path.parent.relative_to(replays.developer.home) / "other"))
    path.symlink_to(mine)
    done = replays.again(job)
    assert done.returncode == 78
    assert [one.name for one in mine.rglob("*")] == ["thesis"], done.stdout.decode()
    assert b"it is a symbolic link" in done.stderr


def test_output_that_cannot_be_written_is_one_sentence(replays: Replays) -> None:
    done = replays.run("true", "--output", "/proc/1/airlock")
    assert done.returncode == 78
    assert b"the job's artifacts cannot go to /proc/1/airlock/" in done.stderr
    assert replays.remains() == []
