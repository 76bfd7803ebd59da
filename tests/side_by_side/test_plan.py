"""Every test runs, once, and the same way everywhere."""

import pytest

from tests.side_by_side.plan import (
    IN_A_LAB,
    ON_THE_HOST,
    ROOT,
    all_files,
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
    divided = shards(FILES, known_seconds(), number)
    assert len(divided) == number
    assert all(divided)
    assert sorted(file for shard in divided for file in shard) == FILES


def test_plan_does_not_depend_on_the_order_of_the_files() -> None:
    assert shards(reversed(FILES), known_seconds(), 3) == shards(FILES, known_seconds(), 3)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_shards_take_about_as_long(number: int) -> None:
    seconds = known_seconds()
    loads = [
        sum(seconds.get(file, 5) for file in shard) for shard in shards(FILES, seconds, number)
    ]
    assert max(loads) - min(loads) <= max(seconds.values())


def test_every_combination_of_marks_is_in_exactly_one_stage() -> None:
    for lab in (False, True):
        for host_namespaces in (False, True):
            marks = {"lab": lab, "host_namespaces": host_namespaces}
            chosen = [eval(stage, {}, marks) for stage in (IN_A_LAB, ON_THE_HOST)]  # noqa: S307
            assert sorted(chosen) == [False, True], marks


def test_durations_name_files_and_are_worth_a_line() -> None:
    assert all(seconds >= 2 for seconds in known_seconds().values())
    assert all((ROOT / file).suffix == ".py" for file in known_seconds())


@pytest.mark.parametrize(
    ("cpus", "gibibytes", "expected"), [(2, 20, 2), (2, 7, 1), (1, 2, 1), (16, 64, 4), (4, 12, 3)]
)
def test_labs_fit_the_machine(cpus: int, gibibytes: int, expected: int) -> None:
    assert labs_for(cpus, gibibytes << 30) == expected
