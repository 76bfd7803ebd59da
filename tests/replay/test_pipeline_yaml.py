"""A pipeline's YAML is read as the real agent reads it, and never without bounds."""

import json
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.replay.inputs.pipeline_yaml import MAX_DEPTH, load, text_of
from tests.replay.agent import uploaded

SCALARS = [
    "yes",
    "no",
    "on",
    "True",
    "FALSE",
    "~",
    "null",
    "NULL",
    "",
    "1",
    "-1",
    "+1",
    "0",
    "010",
    "0o17",
    "0x1F",
    "0b11",
    "1_000",
    "089",
    "1.10",
    "1.",
    ".5",
    "-.5",
    "1e3",
    "1E-3",
    "1.2.3",
    "12:30:45",
    "0x",
    "1e",
    "9223372036854775807",
    "9223372036854775808",
    "1e21",
    "1e20",
    "0.00001",
    "1-2",
    "2020-01-02",
    "2020-1-2",
    "2020-13-01",
    "'1'",
    "a: b: c",
    "=",
    "<<",
    "- a",
    "1a",
    "0b",
    "_1",
    "1__0",
    "00",
    "0_7",
    "08_1",
    "-0",
    "-0x10",
    "-010",
    "+.5",
    "1.5e",
    "12e03",
    "-",
    "+",
    ".",
    "1_",
    "nullable",
    "trueish",
    "12a",
    "1.5.x",
    "~x",
    "2020-01-02x",
    "<<x",
    ".0E0",
    "1_.5",
    "+_1",
    "1..2",
    "1e+5_0",
]
MERGES = """
base: &base {a: 1, b: 2}
other: &other {b: 3, c: 4}
one: {<<: *base, b: own}
two: {<<: [*base, *other], d: 5}
three: {b: own, <<: *other}
nested: &nested {<<: *base, e: 6}
four: {<<: *nested}
steps: [{command: x}]
"""


def plain(value: Any) -> Any:
    """Return the value with text in the place of all scalars, as Buildkite's variables are."""
    match value:
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case _:
            return text_of(value)


@pytest.mark.parametrize("scalar", SCALARS)
def test_a_scalar_is_the_agents(scalar: str) -> None:
    text = f"steps: [{{command: x}}]\nvalue: {scalar}\n"
    sent = uploaded(text, {})
    try:
        found = load(text)
    except ValueError:
        assert sent is None
    else:
        assert plain(found) == plain(sent)


def test_merge_keys_are_the_agents() -> None:
    assert load(MERGES) == uploaded(MERGES, {})
    assert load(MERGES)["two"] == {"a": 1, "b": 2, "c": 4, "d": 5}


# Without a sign after the base, as in `0b-1`, which Go's YAML takes for a number.
NUMBERS = st.from_regex(r"(?!.*0[bo][-+])(?!-{1,3}\Z)[0-9+._eExob-]{1,8}", fullmatch=True)


@settings(max_examples=60)
@given(st.lists(NUMBERS, min_size=30, max_size=60))
def test_what_looks_like_a_number_is_the_agents(texts: list[str]) -> None:
    text = "steps: [{command: x}]\nvalues:\n" + "".join(f"  - {one}\n" for one in texts)
    sent = uploaded(text, {})
    assert sent is not None
    assert list(zip(texts, plain(load(text)["values"]), strict=True)) == list(
        zip(texts, plain(sent["values"]), strict=True)
    )


def bomb(levels: int, alias: str) -> str:
    lines = ["a0: &a0 {x0: 1, y0: 2}"]
    lines += [f"a{n}: &a{n} {alias.format(n - 1)}" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        bomb(60, "{{l: *a{0}, r: *a{0}}}"),
        bomb(60, "[*a{0}, *a{0}]"),
        bomb(60, "{{<<: [*a{0}, *a{0}], z: 1}}"),
        "&a [*a]",
        "&a {b: *a}",
        "&a {<<: *a, b: 1}",
        "[" * 5000,
        "{a: " * 5000,
        "- " * 5000,
        "a: " + "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2),
        "{<<: [" + "*a, " * 3 + "], a: &a {}}",
        "a: !!binary aGk=",
        "a: !!set {b}",
        "a: !!omap [b: c]",
        "a: !!bool x",
        "a: !!int x",
        "a: !!int ''",
        "a: !!timestamp x",
        "? [a]\n: b",
        "\0",
        "a: \x07",
        "a: !!python/object:os.system x",
        "%YAML 9.9\n---\na",
        "--- a\n--- b",
        "a: 'x",
        "<<: 1",
        "? {a: b}\n: c",
    ],
)
def test_what_is_no_pipeline_is_an_error_at_once(text: str) -> None:
    started = time.monotonic()
    try:
        load(text)
    except ValueError as wrong:
        assert str(wrong)
    assert time.monotonic() - started < 10


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "replace")))
def test_no_text_is_a_surprise(text: str) -> None:
    try:
        found = load(text)
    except ValueError as wrong:
        assert str(wrong)
    else:
        assert found is None or isinstance(found, str | int | float | dict | list)


WORDS = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")) | st.just("\n"), max_size=20)
PLAIN = st.recursive(
    WORDS | st.booleans() | st.integers(-(2**40), 2**40) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=10,
)


@given(PLAIN)
def test_what_is_written_is_what_is_read(value: Any) -> None:
    assert load(json.dumps(value, ensure_ascii=False)) == value


@pytest.mark.parametrize("opened", ["[", "- ", "{a: ", "? "])
@pytest.mark.parametrize("depth", [1_000, 200_000])
def test_nesting_without_end_is_an_error(opened: str, depth: int) -> None:
    """In a process of its own: it would be killed for want of stack."""
    program = (
        "from bootstrap.replay.inputs.pipeline_yaml import load\n"
        f"try: load({opened!r} * {depth})\n"
        "except ValueError as wrong: print(wrong)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "nested too deeply" in done.stdout or "it is not YAML" in done.stdout
