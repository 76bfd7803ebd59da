"""The glob against an equivalent regular expression, and lists of globs."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.policy.glob import any_matches, beginnings, matches

FEW = st.text("ab/*", max_size=12)


@given(FEW, st.text("ab/", max_size=20))
def test_a_glob_matches_as_the_equivalent_regular_expression_does(pattern: str, value: str) -> None:
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
def test_a_similar_value_does_not_match(pattern: str, value: str) -> None:
    assert not matches(pattern, value)


def test_a_hostile_pattern_on_a_hostile_value_takes_no_time() -> None:
    """A backtracking engine would not finish this."""
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
def test_a_list_matches_by_its_patterns_and_negations(
    patterns: list[str],
    values: list[str],
    holds: bool,  # noqa: FBT001
) -> None:
    assert any_matches(patterns, values) is holds


@given(patterns=st.lists(st.text("aA_*", max_size=5), max_size=5), value=st.text("aA_", max_size=6))
def test_what_matches_has_one_of_the_beginnings(patterns: list[str], value: str) -> None:
    if any(matches(pattern, value) for pattern in patterns):
        assert value.startswith(beginnings(patterns))
    assert not value.startswith(beginnings(["b*", "bb*b"]))
