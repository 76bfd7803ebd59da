"""The jobs that a matrix stands for, and which of them is meant."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.replay.inputs.matrix import applied, choice, combinations

NAMED = {
    "setup": {"os": ["linux", "mac"], "version": [1, 2]},
    "adjustments": [
        {"with": {"os": "mac", "version": 2}, "skip": True},
        {"with": {"os": "bsd", "version": 9}},
    ],
}


def test_a_list_is_one_dimension_without_a_name() -> None:
    assert combinations(["a", 1, True]) == [{"": "a"}, {"": "1"}, {"": "true"}]


def test_adjustments_add_and_remove() -> None:
    found = [(one["os"], one["version"]) for one in combinations(NAMED)]
    assert found == [("linux", "1"), ("linux", "2"), ("mac", "1"), ("bsd", "9")]


def test_what_is_open_is_asked_for_by_name_with_an_example() -> None:
    values, pieces = choice(NAMED, {"os": "linux"})
    assert values == {}
    assert [(p.name, p.example) for p in pieces] == [("matrix.version", "--matrix version=1")]
    assert "1, 2" in pieces[0].why
    assert choice(NAMED, {"os": "mac"}) == ({"os": "mac", "version": "1"}, ()), "only one is left"
    assert choice(["a b", "c"], {})[1][0].example == "--matrix 'a b'"


@pytest.mark.parametrize(
    ("matrix", "asked", "problem"),
    [
        (NAMED, {"os": "mac", "version": "2"}, "has no os=mac version=2, but os=linux version=1"),
        (NAMED, {"arch": "x"}, "has no dimension 'arch', but os, version"),
        (NAMED, {"": "linux"}, "has named dimensions, but os, version"),
        (["a"], {"os": "a"}, "has no dimension 'os', but values"),
        ({"setup": {"a": list(range(300)), "b": list(range(300))}}, {}, "more than 10000"),
        ({"setup": {"a": [1]}, "adjustments": [{"with": {"b": 1}}]}, {}, "every dimension"),
        ({"setup": 7}, {}, "neither a list nor"),
        ({"setup": {"a": 7}}, {}, "is not a list"),
        ({"setup": {"a": [[1]]}}, {}, "expected text"),
        ([], {}, "has no , but nothing"),
    ],
)
def test_a_wrong_matrix_or_value_is_an_error(
    matrix: object, asked: dict[str, str], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        choice(matrix, asked)


def test_tokens_are_replaced_in_values_and_unknown_ones_stay() -> None:
    step: dict[str, Any] = {
        "command": "make {{matrix.os}} {{ matrix.version }} {{matrix}}",
        "plugins": [{"docker#v5": {"image": "{{matrix.os}}:1"}}],
        "{{matrix.os}}": 7,
    }
    assert applied(step, {"os": "linux", "version": "1"}) == {
        "command": "make linux 1 {{matrix}}",
        "plugins": [{"docker#v5": {"image": "linux:1"}}],
        "{{matrix.os}}": 7,
    }


VALUES = st.lists(st.text(max_size=4), min_size=1, max_size=4, unique=True)


@given(st.dictionaries(st.text(min_size=1, max_size=4), VALUES, min_size=1, max_size=3))
def test_every_combination_can_be_chosen_and_is_the_product(setup: dict[str, list[str]]) -> None:
    every = combinations({"setup": setup})
    assert len(every) == len(list(product(*setup.values())))
    for one in every:
        assert choice({"setup": setup}, one) == (one, ())


ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["setup", "adjustments", "with", "skip", "os", ""]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(ANY, st.dictionaries(st.sampled_from(["", "os"]), st.text(max_size=2), max_size=2))
def test_no_matrix_is_a_surprise(matrix: Any, asked: dict[str, str]) -> None:
    try:
        values, pieces = choice(matrix, asked)
    except ValueError as wrong:
        assert str(wrong)
    else:
        assert values or pieces or combinations(matrix) == [{}]
