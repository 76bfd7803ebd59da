"""Variables in pipelines are replaced as the real agent replaces them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.replay.inputs.interpolation import MAX_DEPTH, MAX_TEXT, Variables, interpolated
from tests.replay.agent import uploaded

ENV = {"A": "one", "EMPTY": "", "LONG": "0123456789", "É": "accent"}
CASES = [
    "$A", "${A}", "$A-x", "${A}x", "$$A", "\\$A", "\\\\$A", "$(A)", "$", "a$", "$1", "$ A", "$-",
    "${EMPTY:-d}", "${EMPTY-d}", "${NONE-d}", "${NONE:-d}", "${NONE:-$A}", "${NONE:-${A}}",
    "${A:-$NONE}", "${LONG:2}", "${LONG:2:3}", "${LONG:-3}", "${LONG: -3}", "${LONG: -3:2}",
    "${LONG:1:-1}", "${LONG:20}", "${LONG:2:90}", "${LONG:8:-9}", "${A?x}", "${EMPTY?x}", "$É",
    "${NONE:-a\\}b}", "${NONE:-$$}", "$$${A}", "$${A}", "$$$A", "é$A", "${LONG: 1 : 2 }",
]  # fmt: skip
WRONG = ["${", "${}", "${A", "${A:", "${A:x}", "${A:1:x}", "${A!}", "${1}", "${NONE?why}", "${A:-"]


def ours(text: str) -> tuple[str, list[str]]:
    variables = Variables(known=ENV)
    return interpolated(text, variables), list(variables.lacking)


def theirs(texts: list[str]) -> list[str] | None:
    steps = [{"command": text} for text in texts]
    found = uploaded(json.dumps({"steps": steps}), ENV)
    return None if found is None else [step["command"] for step in found["steps"]]


def test_each_form_is_as_the_agents() -> None:
    assert [ours(text)[0] for text in CASES] == theirs(CASES)


@pytest.mark.parametrize("text", WRONG)
def test_what_the_agent_refuses_is_an_error(text: str) -> None:
    assert theirs([text]) is None
    if "NONE" in text:  # the agent has no value; here it is asked for
        assert ours(text)[1] == ["NONE"]
        return
    with pytest.raises(ValueError, match=r"expected|has no }"):
        ours(text)


PIECES = st.sampled_from(
    ["$", "{", "}", "A", "NONE", "LONG", "EMPTY", ":", "-", "?", "\\", "(", "1", "9", " ", "x"]
)


@settings(max_examples=25)
@given(st.lists(st.lists(PIECES, max_size=12).map("".join), min_size=20, max_size=60))
def test_any_text_is_as_the_agents(texts: list[str]) -> None:
    results: list[str] = []
    usable: list[str] = []
    wrong: list[str] = []
    for text in texts:
        try:
            found, lacking = ours(text)
        except ValueError:
            wrong.append(text)
            continue
        if "?" not in text or not lacking:
            usable.append(text)
            results.append(found)
    assert theirs(usable) == results
    if wrong:
        assert theirs(wrong[:1]) is None, wrong[0]


def test_only_what_is_needed_is_asked_for_once_and_in_order() -> None:
    assert ours("$X ${Y:-$Z} ${A:-$W} $X ${V-} ${U:1}")[1] == ["X", "Z", "U"]


@given(st.text())
def test_no_text_is_a_surprise(text: str) -> None:
    try:
        found, _ = ours(text)
    except ValueError as wrong:
        assert str(wrong)
    else:
        assert "$" in text or found == text


def test_depth_and_length_are_bounded() -> None:
    with pytest.raises(ValueError, match="deeper"):
        ours("${N:-" * (MAX_DEPTH + 2) + "}" * (MAX_DEPTH + 2))
    with pytest.raises(ValueError, match="characters"):
        interpolated("$A" * 5000, Variables(known={"A": "x" * (MAX_TEXT // 4000)}))
