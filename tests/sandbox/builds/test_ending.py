"""BuildKit ends with its job; what it has printed last is shown without secrets."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bootstrap.log import JobLog
from bootstrap.sandbox.builds.builder import last_of
from bootstrap.sandbox.builds.ending import Ended, Ending
from bootstrap.sandbox.limits import Used
from bootstrap.secret import Secret

USED = Used(killed=3)


def nobody_asks() -> tuple[int, bool] | None:
    raise AssertionError("the engine is asked about a BuildKit that Airlock has killed")


@contextmanager
def process() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with subprocess.Popen(["sleep", "60"]) as made:
        descriptor = os.pidfd_open(made.pid)
        try:
            yield made, descriptor
        finally:
            os.close(descriptor)
            made.kill()


def test_it_is_killed_as_soon_as_the_job_has_ended() -> None:
    with process() as (job, of_job), process() as (buildkit, of_buildkit):
        asked: list[int | None] = []

        def used() -> Used:
            asked.append(buildkit.poll())
            return USED

        ending = Ending(of_job, of_buildkit, used=used, outcome=nobody_asks)
        job.terminate()
        assert buildkit.wait(10) == -signal.SIGKILL, "nobody has closed anything yet"
        assert ending.close() == Ended(used=USED)
        assert asked == [None], "what it has used up is looked at before it is killed"


def test_one_that_has_ended_before_is_distinguished() -> None:
    with process() as (job, of_job), process() as (buildkit, of_buildkit):
        ending = Ending(of_job, of_buildkit, used=Used, outcome=lambda: (2, False))
        buildkit.terminate()
        buildkit.wait()
        job.terminate()
        job.wait()
        assert ending.close() == Ended(early=True, code=2)


def test_what_one_has_used_up_is_looked_at_as_soon_as_it_ends() -> None:
    """Later the engine has removed what counts it."""
    looked, counted = threading.Event(), [USED]

    def used() -> Used:
        looked.set()
        return counted.pop()

    with process() as (job, of_job), process() as (buildkit, of_buildkit):
        ending = Ending(of_job, of_buildkit, used=used, outcome=lambda: (137, False))
        buildkit.kill()
        assert looked.wait(10)
        assert job.poll() is None
        ended = ending.close()
        assert ended == Ended(early=True, code=137, used=USED)
        assert ended.by_memory


def test_the_engine_says_what_the_kernel_counts_no_more() -> None:
    with process() as (_, of_job), process() as (buildkit, of_buildkit):
        ending = Ending(of_job, of_buildkit, used=Used, outcome=lambda: (137, True))
        buildkit.kill()
        buildkit.wait()
        assert ending.close() == Ended(early=True, code=137, used=Used(killed=1))


@pytest.mark.parametrize(
    "other",
    [
        Ended(used=USED),
        Ended(early=True, used=USED),
        Ended(early=True, code=2, used=USED),
        Ended(early=True, code=137),
    ],
)
def test_other_ends_are_not_taken_for_that_of_memory(other: Ended) -> None:
    """A step was killed before, or BuildKit by somebody."""
    assert not other.by_memory


def test_an_engine_that_hangs_keeps_nobody_waiting() -> None:
    answered = threading.Event()

    def hangs() -> tuple[int, bool]:
        answered.wait(60)
        return 0, False

    with process() as (_, of_job), process() as (buildkit, of_buildkit):
        ending = Ending(of_job, of_buildkit, used=lambda: USED, outcome=hangs)
        buildkit.kill()
        buildkit.wait()
        began = time.monotonic()
        assert ending.close() == Ended(early=True, used=USED)
        assert time.monotonic() - began < 3
        answered.set()


def test_it_does_not_outlive_a_start_that_failed() -> None:
    with process() as (job, of_job), process() as (buildkit, of_buildkit):
        ending = Ending(of_job, of_buildkit, used=Used, outcome=nobody_asks)
        assert ending.close() == Ended()
        assert buildkit.wait(10) == -signal.SIGKILL
        assert job.poll() is None


@pytest.fixture
def output() -> Iterator[int]:
    descriptor = os.memfd_create("buildkitd")
    yield descriptor
    os.close(descriptor)


KEY = "-----BEGIN KEY-----\nAAAAB3NzaC1yc2E\n-----END KEY-----"


def test_no_part_of_a_secret_is_in_the_end_of_its_log(output: int) -> None:
    """A secret may have several lines, and may lie where the shown part begins."""
    log = JobLog(lambda _: None)
    log.mask(Secret(KEY), Secret("correct-horse-battery-staple"))
    rest = "x" * 360
    os.write(output, f"{KEY}\ncorrect-horse-battery-staple {rest} the reason".encode())
    shown = last_of(output, log.masked)
    assert shown.endswith("the reason")
    assert len(shown) <= 400
    for part in ("AAAA", "END KEY", "staple", "battery"):
        assert part not in shown


def test_the_end_of_a_long_log_is_shown(output: int) -> None:
    os.write(output, b"noise\n" * 20_000 + b"\x1b[31mthe reason\x1b[0m")
    shown = last_of(output, str)
    assert shown.endswith("the reason�[0m")
    assert shown.isprintable()
