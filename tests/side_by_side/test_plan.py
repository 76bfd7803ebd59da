"""Every test runs, once, and the same way everywhere."""

from itertools import product
from pathlib import Path

import pytest

from tests.side_by_side.plan import (
    ALONE,
    IN_A_LAB,
    ON_THE_HOST,
    WITH_SYSTEMD,
    all_files,
    expected_seconds,
    known_seconds,
    labs_for,
    shards,
)

FILES = all_files()


def test_every_file_that_pytest_collects_is_known() -> None:
    assert "tests/side_by_side/test_plan.py" in FILES
    assert "tests/e2e/test_contract.py" in FILES
    assert len(FILES) > 100


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_every_file_is_in_exactly_one_shard(number: int) -> None:
    divided = shards(expected_seconds(FILES), number)
    assert len(divided) == number
    assert all(divided)
    assert sorted(file for shard in divided for file in shard) == FILES


def test_plan_does_not_depend_on_the_order_of_the_files() -> None:
    backwards = expected_seconds(reversed(FILES))
    assert shards(backwards, 3) == shards(expected_seconds(FILES), 3)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_shards_take_about_as_long(number: int) -> None:
    seconds = expected_seconds(FILES)
    loads = [sum(seconds[file] for file in shard) for shard in shards(seconds, number)]
    assert max(loads) - min(loads) <= max(seconds.values())


def test_every_combination_of_marks_is_in_exactly_one_stage() -> None:
    for values in product((False, True), repeat=3):
        marks = dict(zip(("lab", "host_namespaces", "systemd"), values, strict=True))
        stages = (IN_A_LAB, ON_THE_HOST, ALONE, WITH_SYSTEMD)
        chosen = [eval(stage, {}, marks) for stage in stages]  # noqa: S307
        assert chosen.count(True) == 1, marks


def test_durations_are_those_of_test_files() -> None:
    known = known_seconds()
    assert len(known) > 20
    assert {Path(file).name.partition("_")[0] for file in known} == {"test"}
    assert min(known.values()) >= 2


def test_a_file_without_duration_counts_if_it_needs_a_lab() -> None:
    listed = expected_seconds(["tests/lab/test_isolated.py", "tests/side_by_side/test_report.py"])
    assert list(listed.values()) == [20, 0]


@pytest.mark.parametrize(
    ("cpus", "gibibytes", "expected"), [(2, 20, 2), (2, 7, 1), (1, 2, 1), (16, 64, 4), (4, 12, 3)]
)
def test_labs_fit_the_machine(cpus: int, gibibytes: int, expected: int) -> None:
    assert labs_for(cpus, gibibytes << 30) == expected
