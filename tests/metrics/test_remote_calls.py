"""Calls of AWS and answers of the cache are counted where they are made."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart, NoAnswer
from bootstrap.host.cache import Cache
from bootstrap.metrics import report
from tests.aws.given import Clock, failure, impatient
from tests.credentials.given import ROLE, host, request
from tests.fakes.simulator import loopback
from tests.fakes.sts import StrictSts, Trust

Counted = Callable[[], dict[str, float]]


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    """What was reported since the start of the test or the last look, by metric and labels."""
    reader = report.create(tmp_path)

    def read() -> dict[str, float]:
        found: Counter[str] = Counter()
        for line in os.read(reader, 1 << 20).splitlines():
            for name, labels, amount in json.loads(line):
                found[" ".join([name, *labels])] += 1 if name.endswith("_seconds") else amount
        return dict(found)

    return read


@pytest.fixture
def sts() -> Iterator[StrictSts]:
    with StrictSts(loopback(), {ROLE: Trust()}) as sts:
        yield sts


def test_each_try_counts_with_its_result(sts: StrictSts, tmp_path: Path, counted: Counted) -> None:
    sts.fail_with("Throttling", times=1)
    sts.fail_with("InternalFailure", times=1, status=500)
    impatient(host(tmp_path, sts.url)).assume(request())
    found = counted()
    assert found.pop("aws_call_seconds sts") == 3
    assert found == {
        "aws_calls sts throttled": 1,
        "aws_calls sts transient": 1,
        "aws_calls sts ok": 1,
    }


@pytest.mark.parametrize(
    ("role", "result"),
    [("arn:aws:iam::111122223333:role/absent", "denied"), ("not an ARN", "error")],
)
def test_final_failure_counts_once(
    sts: StrictSts, tmp_path: Path, counted: Counted, role: str, result: str
) -> None:
    failure(host(tmp_path, sts.url), role=role)
    assert counted()[f"aws_calls sts {result}"] == 1


def test_endpoint_that_nobody_listens_at_counts_as_transient(
    tmp_path: Path, counted: Counted
) -> None:
    with loopback() as taken:
        port = taken.getsockname()[1]
    failure(host(tmp_path, f"http://127.0.0.1:{port}"))
    assert counted()["aws_calls sts transient"] >= 1


def test_answers_of_the_cache_count_by_where_they_come_from(
    tmp_path: Path, counted: Counted
) -> None:
    clock = Clock()
    cache = Cache(
        tmp_path / "policies", fresh=30, stale=300, now=clock, clock=clock, sleep=clock.sleep
    )
    clock.now = 1000.0

    def unreachable(_: float) -> str:
        raise NoAnswer("no answer", hint="")

    cache.get("key", lambda _: "value", patience=5)
    cache.get("key", unreachable, patience=5)
    clock.now += 100
    cache.get("key", unreachable, patience=5)
    clock.now += 1000
    with pytest.raises(CannotStart, match="no answer"):
        cache.get("key", unreachable, patience=5)
    assert counted() == {
        "cache_answers fetched": 1, "cache_answers cached": 1, "cache_answers stale": 1,
        "stale_policy_seconds": 1, "cache_answers failed": 1,
    }  # fmt: skip
