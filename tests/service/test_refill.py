"""Networks are prepared when no job starts, and also if jobs never cease to start."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.sandbox.ahead import making
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network import addresses
from bootstrap.service import control
from bootstrap.service.refill import LONGEST, PAUSE, Refill
from bootstrap.service.turns import AT_ONCE
from bootstrap.service.workers import STARTING, Workers

STARTS = st.lists(
    st.tuples(st.integers(1, 8), st.booleans()), min_size=1, max_size=200
)  # the half seconds between two looks, and whether jobs start then


def test_it_waits_for_a_second_after_the_last_start() -> None:
    refill = Refill()
    assert refill.due(10.0, starting=False, last=0.0) is None
    assert refill.due(10.0, starting=False, last=9.5) == 9.5 + PAUSE
    assert refill.due(10.2, starting=False, last=9.5) is None


def test_it_waits_while_jobs_start() -> None:
    refill = Refill()
    assert refill.due(10.0, starting=True, last=10.0) == 10.0 + PAUSE
    assert refill.due(12.0, starting=True, last=10.0) == 12.0 + PAUSE
    assert refill.due(12.5, starting=False, last=12.4) == 12.4 + PAUSE


def test_it_waits_no_longer_than_that_and_anew_after_each_time() -> None:
    refill = Refill()
    dues = [refill.due(float(now), starting=True, last=float(now)) for now in range(10, 100)]
    assert dues[-1] == 10.0 + LONGEST
    refill.began()
    assert refill.due(101.0, starting=True, last=101.0) == 101.0 + PAUSE


@given(STARTS)
def test_it_is_never_due_while_jobs_start_nor_ever_too_late(
    looks: list[tuple[float, bool]],
) -> None:
    refill, now, due, since, last = Refill(), 0.0, float("inf"), None, 0.0
    for pause, starting in looks:
        now += pause / 2
        if due <= now:  # it runs
            assert since is not None
            assert now - last >= PAUSE or now - since >= LONGEST
            refill.began()
            due, since = float("inf"), None
        last = now if starting else last
        found = refill.due(now, starting=starting, last=last)
        if found is not None:
            due, since = found, last if since is None else since
        assert since is None or due <= since + LONGEST


def test_a_job_starts_until_it_has_its_address(tmp_path: Path) -> None:
    assert not making.a_job_starts(tmp_path)
    job = tmp_path / "jobs" / "a"
    job.mkdir(parents=True)
    assert making.a_job_starts(tmp_path)
    running = Running(id="c", name="n", pid=os.getpid(), address="198.18.0.2", gateway="198.18.0.1")
    addresses.write(job, addresses.record_of(job, running, None))
    assert not making.a_job_starts(tmp_path)


def test_a_job_that_takes_no_step_does_not_hold_up_the_networks(tmp_path: Path) -> None:
    job = tmp_path / "jobs" / "a"
    job.mkdir(parents=True)
    before = time.time() - making.STARTING
    os.utime(job, (before, before))
    assert not making.a_job_starts(tmp_path)


def test_it_is_known_whether_a_job_is_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers()
    assert not workers.starting
    for pid in (1, 2):
        workers.add(pid, 2000)
        workers.reported(pid, control.TURN)
        workers.let_start()
    assert workers.starting
    workers.reported(1, control.BEGUN)
    assert workers.starting
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + STARTING + 1)
    assert not workers.starting, "it waits for something else"
    monkeypatch.undo()
    assert workers.starting
    workers.remove(2)
    assert not workers.starting


def test_a_job_that_waits_for_its_turn_is_one_that_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers()
    for pid in range(AT_ONCE + 1):
        workers.add(pid, 2000)
        workers.reported(pid, control.TURN)
    workers.let_start()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + STARTING + 1)
    assert workers.starting
    for pid in range(AT_ONCE + 1):
        workers.reported(pid, control.BEGUN)
    assert not workers.starting
