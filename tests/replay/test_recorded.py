"""A job of a real host, by its record: replayed, it prints the same and ends the same."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.control_plane import JobOrder
from tests.fakes.metadata import ACCESS_KEY_ID
from tests.lab.lab import ROLE
from tests.replay.conftest import Replays

pytestmark = pytest.mark.lab
COMMAND = (
    "cat README.md && buildkite-agent meta-data set colour green && "
    "buildkite-agent meta-data get colour && seq 1 200 && printf 'a\\000b\\377\\té' && "
    "ls /none || exit 3"
)
# Of lines that the agent and its commands print.
TIMES = re.compile(rb"\x1b_bk;t=\d+\x07|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
# Which of these git prints, and in which order, depends on the time that fetching takes.
PROGRESS = re.compile(rb"^(?:remote|Receiving objects): .*\n", re.MULTILINE)


def recorded(replays: Replays, command: str) -> tuple[Path, bytes]:
    """Run a job on the fleet's host; return its record and its log, as this developer's files."""
    fleet = replays.fleet
    with fleet.agent():
        result = fleet.control.completed(
            fleet.control.enqueue(JobOrder(env=fleet.env(command), agent="agent-1"))
        )
    assert result.exit_status == "3", result.log
    (record,) = (fleet.base / "state/records").glob("*.json")
    job = replays.developer.home / "job.json"
    shutil.copyfile(record, job)
    job.with_suffix(".log").write_bytes(result.log)
    return job, result.log


def timeless(output: bytes) -> bytes:
    """Return it without what depends on time."""
    return PROGRESS.sub(b"", TIMES.sub(b"", output))


def of_the_job(log: bytes) -> bytes:
    """Return what a job printed, of the agent's log, as `timeless` does.

    The agent runs the bootstrap on a terminal, which puts a carriage return before each line's end.
    Airlock's own lines come first in a log; a replay prints those elsewhere.
    """
    plain = timeless(log.replace(b"\r\n", b"\n"))
    begin = plain.index(b"~~~ Preparing working directory\n")
    assert b":lock:" not in plain[begin:]
    return plain[begin:]


def test_replay_prints_and_ends_as_the_job_did(replays: Replays) -> None:
    job, log = recorded(replays, COMMAND)
    done = replays.again(job, "--compare")
    assert done.returncode == 3
    assert timeless(done.stdout) == of_the_job(log)
    assert b"a\0b\377\t\xc3\xa9" in done.stdout
    assert b"\n# different: nothing\n" in done.stderr, done.stderr.decode()


def test_changed_image_is_the_one_difference(replays: Replays) -> None:
    job, log = recorded(replays, COMMAND)
    with replays.changed_image() as image:
        done = replays.again(job, "--compare", "--image", image)
    assert done.returncode == 3
    assert timeless(done.stdout) == of_the_job(log)
    assert b"\n# different: image\n" in done.stderr, done.stderr.decode()
    (row,) = [line for line in done.stderr.decode().splitlines() if line.startswith("# ≠")]
    assert row.split()[2:] == ["image", replays.fleet.lab.image, image]


def test_every_difference_is_seen(replays: Replays) -> None:
    job, _ = recorded(replays, COMMAND)
    done = replays.again(job, "--compare", "--command", "echo another; exit 4")
    assert done.returncode == 4
    assert b"different: exit status, digest of the log" in done.stderr, done.stderr.decode()


def test_developers_profile_gives_the_job_a_session_of_the_recorded_role(
    replays: Replays,
) -> None:
    """By the credential endpoint, which nothing but this job's container reaches."""
    fleet, home = replays.fleet, replays.developer.home
    fleet.policy(f'  - {{name: deploy, allow: {{role: "{ROLE}"}}}}\n')
    job, _ = recorded(replays, "exit 3")
    (home / ".aws").mkdir()
    keys = f"[ada]\naws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = of-ada\n"
    (home / ".aws/credentials").write_text(keys)
    before = len(fleet.sts.asked)
    script = (
        'curl -sf "http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" | jq -r .RoleArn; '
        "curl -s -m 2 http://169.254.170.2/; echo; "
        "curl -s -m 2 http://169.254.169.254/ || echo none"
    )
    replays.developer = replace(replays.developer, more={"AWS_ENDPOINT_URL_STS": fleet.sts.url})
    done = replays.again(job, "--profile", "ada", "--command", script)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    assert ROLE.encode() in done.stdout, done.stdout.decode()
    assert b"\nnone" in done.stdout
    (asked,) = fleet.sts.asked[before:]
    assert asked.tags["airlock:replay"]
    assert asked.session_name.startswith("replay-")
    assert f"assumed-role/storefront-deploy/{asked.session_name}".encode() in done.stderr
