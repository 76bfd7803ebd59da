"""When chores are due: one at a time, regularly, and with growing pauses while they fail."""

import pytest

from bootstrap.service.schedule import Chore, Schedule

PREPARE = Chore(name="prepare", every=300.0, limit=180.0)
GC = Chore(name="gc", every=3600.0, limit=600.0, first=60.0)
METER = Chore(name="meter", every=1.0)


def schedule(*chores: Chore, spread: float = 0.0) -> Schedule:
    return Schedule(chores, 0.0, spread=lambda: spread)


def run(found: Schedule, now: float, *, succeeded: bool = True) -> str | None:
    name = found.start(now)
    found.ended(now, succeeded=succeeded)
    return name


def test_chores_are_due_at_first_in_order_and_then_regularly() -> None:
    found = schedule(PREPARE, GC)
    assert run(found, 0.0) == "prepare"
    assert found.start(59.0) is None
    assert run(found, 60.0) == "gc"
    assert found.wake(60.0) == 240.0
    assert run(found, 300.0) == "prepare"


def test_one_runs_at_a_time() -> None:
    found = schedule(PREPARE, GC)
    assert found.start(100.0) == "prepare"
    assert found.start(100.0) is None
    assert found.running == "prepare"
    found.ended(110.0, succeeded=True)
    assert found.start(110.0) == "gc"


def test_chore_that_takes_longer_than_it_may_is_overdue() -> None:
    found = schedule(PREPARE)
    found.start(0.0)
    assert (found.is_overdue(179.9), found.wake(100.0)) == (False, 80.0)
    assert found.is_overdue(180.0)
    found.ended(181.0, succeeded=False)
    assert not found.is_overdue(1000.0)


def test_chore_that_is_asked_for_runs_then_and_the_last_call_counts() -> None:
    found = schedule(PREPARE)
    run(found, 0.0)
    found.ask("prepare", 10.0)
    found.ask("prepare", 20.0)
    assert found.wake(10.0) == 10.0
    assert found.start(10.0) is None
    assert found.start(20.0) == "prepare"
    found.ask("prepare", 30.0)  # while it runs: once more
    found.ended(25.0, succeeded=True)
    assert run(found, 30.0) == "prepare"
    assert found.start(329.0) is None
    assert run(found, 330.0) == "prepare"


def test_failing_chore_is_not_asked_for() -> None:
    found = schedule(PREPARE)
    run(found, 0.0, succeeded=False)
    found.ask("prepare", 1.0)
    assert found.start(4.9) is None
    assert found.start(5.0) == "prepare"


def test_chore_without_a_limit_is_never_overdue() -> None:
    found = schedule(METER)
    found.start(0.0)
    assert not found.is_overdue(1e9)
    assert found.wake(1e9) == 3600.0


@pytest.mark.parametrize("chore", [PREPARE, GC, METER], ids=lambda chore: chore.name)
def test_failing_chore_comes_back_soon_and_then_later_and_later(chore: Chore) -> None:
    found = schedule(chore)
    now, pauses = chore.first, []
    for _ in range(30):
        assert run(found, now, succeeded=False) == chore.name
        pauses.append(found.wake(now))
        now += pauses[-1]
    assert pauses[:4] == [5.0, 10.0, 20.0, 40.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == max(chore.every, 600.0)


def test_success_ends_the_growth_of_pauses() -> None:
    found = schedule(PREPARE)
    run(found, 0.0, succeeded=False)
    run(found, 5.0)
    assert found.wake(5.0) == 300.0
    run(found, 305.0, succeeded=False)
    assert found.wake(305.0) == 5.0


def test_hosts_of_a_fleet_spread_their_chores() -> None:
    assert 300.0 < _next(0.4) < _next(0.8) <= 330.0


def _next(spread: float) -> float:
    found = schedule(PREPARE, spread=spread)
    run(found, 0.0)
    return found.wake(0.0)


def test_chore_that_is_postponed_does_not_run_before_that() -> None:
    found = schedule(PREPARE)
    found.postpone("prepare", 3.0)
    assert found.wake(0.0) == 3.0
    assert found.start(2.9) is None
    assert run(found, 3.0) == "prepare"
    found.ask("prepare", 10.0)
    found.postpone("prepare", 20.0)
    assert found.start(19.9) is None
    assert run(found, 20.0) == "prepare"
    assert found.wake(20.0) == PREPARE.every, "it is postponed once"
