"""The glob against a regular expression that is slower but obvious."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.policy.glob import any_matches, matches

FEW = st.text("ab/*", max_size=12)


@given(FEW, st.text("ab/", max_size=20))
def test_it_is_what_the_regular_expression_says(pattern: str, value: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value, re.DOTALL)
    assert matches(pattern, value) == bool(expected)


@given(st.text())
def test_a_value_without_stars_matches_itself(value: str) -> None:
    assert matches(value.replace("*", "-"), value.replace("*", "-"))


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("main", "Main"),
        ("main", "main\n"),
        ("main", " main"),
        ("release/*", "release"),
        ("a*a", "a"),
        ("*.x", "x"),
        ("m?in", "main"),
        ("[m]ain", "main"),
        (".*", "anything"),
        ("main", "m\u0430in"),
    ],
)
def test_what_does_not_match(pattern: str, value: str) -> None:
    assert not matches(pattern, value)


def test_a_hostile_pattern_meets_a_hostile_value() -> None:
    """With a backtracking engine this would take longer than the universe has."""
    assert not matches("*a" * 60 + "b", "a" * 100_000)


@pytest.mark.parametrize(
    ("patterns", "values", "holds"),
    [
        (["main"], ["main"], True),
        (["main", "dev"], ["dev"], True),
        (["!main"], ["dev"], True),
        (["!main"], ["main"], False),
        (["*", "!main"], ["main"], False),
        (["!main", "*"], ["main"], False),
        (["*", "!release/*"], ["feature"], True),
        (["a"], ["a", "b"], True),
        (["a", "!b"], ["a", "b"], False),
        ([], ["main"], False),
        (["*"], [], False),
        (["!x"], [], False),
        ([""], [""], True),
    ],
)
def test_lists(patterns: list[str], values: list[str], holds: bool) -> None:  # noqa: FBT001
    assert any_matches(patterns, values) is holds
