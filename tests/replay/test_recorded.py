"""A job of a real host, by its record: replayed, it prints the same and ends the same."""

import shutil
from pathlib import Path

import pytest

from tests.fakes.control_plane import JobOrder
from tests.replay.conftest import Replays

pytestmark = pytest.mark.lab
COMMAND = (
    "cat README.md && buildkite-agent meta-data set colour green && "
    "buildkite-agent meta-data get colour && seq 1 200 && exit 3"
)


def recorded(replays: Replays, command: str) -> tuple[Path, bytes]:
    """Run a job on the fleet's host; return its record and its log, as this developer's files."""
    fleet = replays.fleet
    with fleet.agent():
        result = fleet.control.completed(
            fleet.control.enqueue(JobOrder(env=fleet.env(command), agent="agent-1"))
        )
    assert result.exit_status == "3", result.log.decode()
    (record,) = (fleet.base / "state/records").glob("*.json")
    job = replays.developer.home / "job.json"
    shutil.copyfile(record, job)
    job.with_suffix(".log").write_bytes(result.log)
    return job, result.log


def test_replay_prints_and_ends_as_the_job_did(replays: Replays) -> None:
    job, log = recorded(replays, COMMAND)
    done = replays.again(job, "--compare")
    (replays.fleet.base / "replayed.log").write_bytes(done.stdout)
    assert done.returncode == 3
    assert b"different: nothing" in done.stderr, done.stderr.decode() + log.decode()


def test_every_difference_is_seen(replays: Replays) -> None:
    job, _ = recorded(replays, COMMAND)
    done = replays.again(job, "--compare", "--command", "echo another; exit 4")
    assert done.returncode == 4
    assert b"different: exit status, digest of the log" in done.stderr, done.stderr.decode()
