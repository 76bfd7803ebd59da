"""A job, replayed by a user who has nothing but Docker's socket."""

import pytest

from tests.replay.conftest import Replays

pytestmark = pytest.mark.lab


def test_output_and_status_are_the_jobs(replays: Replays) -> None:
    job = replays.record("echo received; cat README.md; exit 7")
    done = replays.developer.run(*replays.arguments(job))
    assert done.returncode == 7, done.stderr.decode()
    assert b"received" in done.stdout
    assert b"a storefront" in done.stdout
