"""The cache of one host: who fetches, who waits, and what those who wait get."""

import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import CannotStart, NoAnswer, WrongConfiguration
from bootstrap.host.cache import HOLD, SHORT, Answer, Cache
from bootstrap.host.lock import locked
from tests.lab.engine import eventually


class Time:
    """Both clocks of a cache: time passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Service:
    """Counts its calls, and answers with `answer` or raises it."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.patience: list[float] = []

    def __call__(self, patience: float) -> Any:
        self.patience.append(patience)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def cache(path: Path, time: Time, *, fresh: float = 30, stale: float = 0) -> Cache:
    def now() -> float:
        return time.now

    return Cache(path, fresh=fresh, stale=stale, now=now, clock=now, sleep=time.sleep)


def away() -> NoAnswer:
    return NoAnswer("SSM is away", hint="wait", details=("503",))


def value(answer: Answer) -> Any:
    assert answer.stale is None
    return answer.value


def test_a_file_of_another_version_does_not_count_and_is_replaced(tmp_path: Path) -> None:
    """It may be there after an update of Airlock on a host that keeps running."""
    key = hashlib.sha256(b"k").hexdigest()[:32]
    (tmp_path / key).write_text(json.dumps({"key": "k", "at": 1.0, "value": "old"}))
    (tmp_path / f"{key}.failed").write_text(json.dumps({"at": 1.0}))
    for _ in range(2):
        assert value(cache(tmp_path, Time()).get("k", Service("new"), patience=1)) == "new"


def test_a_stale_value_is_served_with_its_age_and_only_as_long_as_configured(
    tmp_path: Path,
) -> None:
    time = Time()
    here = cache(tmp_path / "cache", time, stale=60)
    assert value(here.get("key", Service(["first"]), patience=60)) == ["first"]
    time.now = 1089
    assert here.get("key", Service(away()), patience=60) == Answer(value=["first"], stale=89)
    time.now = 1091
    with pytest.raises(NoAnswer, match="SSM is away"):
        here.get("key", Service(away()), patience=0)
    time.now = 900  # a clock that was set back
    with pytest.raises(NoAnswer, match="SSM is away"):
        here.get("key", Service(away()), patience=0)


def test_a_stale_value_costs_one_try_and_then_none_for_some_seconds(tmp_path: Path) -> None:
    time, service = Time(), Service(["old"])
    here = cache(tmp_path, time, stale=3600)
    here.get("key", service, patience=60)
    time.now += 31
    service.answer = away()
    for _ in range(20):
        assert here.get("key", service, patience=60).stale is not None
    assert service.patience == [60, 0.0], "one further call, and that a single try"
    time.now += 2 * HOLD
    service.answer = ["new"]
    assert value(here.get("key", service, patience=60)) == ["new"]


def test_a_stale_value_is_served_while_another_process_tries(tmp_path: Path) -> None:
    time = Time()
    here = cache(tmp_path, time, stale=3600)
    here.get("key", Service(["old"]), patience=60)
    time.now += 31
    before = time.now
    with locked(next(tmp_path.glob("*.lock"))):
        answer = here.get("key", Service(["never asked"]), patience=60)
    assert answer.value == ["old"]
    assert time.now - before <= SHORT + 1


@pytest.mark.parametrize("failure", [WrongConfiguration("x", hint=""), KeyError("bug")])
def test_other_failures_are_not_shared(tmp_path: Path, failure: Exception) -> None:
    here = cache(tmp_path, Time(), stale=3600)
    with pytest.raises(type(failure)):
        here.get("key", Service(failure), patience=60)
    assert value(here.get("key", Service(["mine"]), patience=60)) == ["mine"]


def test_a_failure_is_shared_for_some_seconds_with_its_kind_text_and_hint(tmp_path: Path) -> None:
    time, service = Time(), Service(away())
    with pytest.raises(NoAnswer):
        cache(tmp_path, time).get("key", service, patience=60)
    for _ in range(20):
        with pytest.raises(NoAnswer) as shared:
            cache(tmp_path, time).get("key", service, patience=60)
        assert (shared.value.problem, shared.value.hint) == ("SSM is away", "wait")
        assert shared.value.details == ("503",)
    assert len(service.patience) == 1
    time.now += 2 * HOLD
    service.answer = ["back"]
    assert value(cache(tmp_path, time).get("key", service, patience=60)) == ["back"]


def test_the_failure_of_a_short_try_is_not_that_of_a_long_one(tmp_path: Path) -> None:
    """`airlock admit` gives up sooner than `airlock bootstrap`, which follows at once."""
    time = Time()
    with pytest.raises(NoAnswer):
        cache(tmp_path, time).get("key", Service(away()), patience=20)
    assert value(cache(tmp_path, time).get("key", Service(["there"]), patience=60)) == ["there"]


def test_a_denial_is_shared_and_no_stale_value_is_served(tmp_path: Path) -> None:
    time, service = Time(), Service(["old"])
    here = cache(tmp_path, time, stale=3600)
    here.get("key", service, patience=60)
    time.now += 31
    service.answer = CannotStart("AccessDenied", hint="add a statement")
    for _ in range(3):
        with pytest.raises(CannotStart, match="AccessDenied") as denied:
            here.get("key", service, patience=60)
        assert not isinstance(denied.value, NoAnswer)
    assert len(service.patience) == 2


def test_nobody_waits_longer_than_its_patience(tmp_path: Path) -> None:
    time = Time()
    here = cache(tmp_path, time)
    here.get("key", Service(1), patience=60)
    time.now += 31
    before = time.now
    with (
        locked(next(tmp_path.glob("*.lock"))),
        pytest.raises(NoAnswer, match="has been fetching key for 60 s"),
    ):
        here.get("key", Service(2), patience=60)
    assert 60 <= time.now - before < 61


def test_a_damaged_cache_entry_is_fetched_again(tmp_path: Path) -> None:
    here = cache(tmp_path, Time(), stale=60)
    here.get("key", Service(1), patience=60)
    for path in tmp_path.iterdir():
        path.write_text("{")
    assert value(here.get("key", Service(2), patience=60)) == 2


def at_once(path: Path, answer: Callable[[], Any], *, fresh: float) -> tuple[int, list[Any]]:
    """Return the number of calls and the outcomes if 16 ask while the first call is answered."""
    calls: list[int] = []
    waiting, everybody = [0], threading.Event()

    def fetch(_: float) -> Any:
        calls.append(1)
        everybody.wait(10)
        return answer()

    def sleep(seconds: float) -> None:
        waiting[0] += 1
        if len(calls) and waiting[0] >= 100:
            everybody.set()
        threading.Event().wait(seconds)

    def one(_: int) -> Any:
        try:
            return Cache(path, fresh=fresh, stale=0, sleep=sleep).get("k", fetch, patience=60).value
        except NoAnswer as failed:
            return failed.problem

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(one, range(16)))
    return len(calls), outcomes


def test_concurrent_readers_cause_one_call(tmp_path: Path) -> None:
    assert at_once(tmp_path, lambda: "answer", fresh=30) == (1, ["answer"] * 16)


def test_concurrent_readers_without_a_cache_cause_few_calls(tmp_path: Path) -> None:
    """Whoever waits for a call that began before its own wait needs the next one's answer."""
    calls, outcomes = at_once(tmp_path, lambda: "answer", fresh=0)
    assert outcomes == ["answer"] * 16
    assert calls <= 3


def test_those_who_wait_share_one_failure(tmp_path: Path) -> None:
    def fail() -> None:
        raise away()

    assert at_once(tmp_path, fail, fresh=30) == (1, ["SSM is away"] * 16)


def test_a_waiter_goes_on_as_soon_as_the_lock_is_free(tmp_path: Path) -> None:
    entry = tmp_path / "cache"
    Cache(entry, fresh=0, stale=0).get("key", lambda _: 1, patience=60)
    results: list[Any] = []

    def wait() -> None:
        results.append(Cache(entry, fresh=0, stale=0).get("key", lambda _: 2, patience=60).value)

    thread = threading.Thread(target=wait)
    with locked(next(entry.glob("*.lock"))):
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    eventually(lambda: results == [2], "the waiter fetches", 5)
    thread.join()
