"""Both files of the job's environment: what an agent writes arrives, anything else is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.buildkite.env_files import MAX_STRING, parse_json, parse_shell
from bootstrap.errors import AirlockError, CannotStart, Refused
from bootstrap.sandbox.environment import as_json, go_quoted

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
ENVIRONMENTS = st.dictionaries(NAMES, VALUES, max_size=8)


@given(ENVIRONMENTS)
def test_json_as_an_agent_writes_it(env: dict[str, str]) -> None:
    assert parse_json(json.dumps(env).encode()) == env


@given(ENVIRONMENTS)
def test_what_we_write_for_the_sandbox_reads_back(env: dict[str, str]) -> None:
    assert parse_json(as_json(env)) == env
    assert parse_shell(go_quoted(env)) == env


@given(st.binary(max_size=200))
def test_no_bytes_are_a_traceback(data: bytes) -> None:
    for parse in (parse_json, parse_shell):
        try:
            parse(data)
        except AirlockError as error:
            assert error.hint


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_no_json_is_a_traceback(document: object) -> None:
    try:
        env = parse_json(json.dumps(document).encode())
    except (CannotStart, Refused):
        return
    assert env == document


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (rb'A="plain"', "plain"),
        (rb'A="a\nb\tc\\d\"e"', 'a\nb\tc\\d"e'),
        (rb'A="\x41\u00e9\U0001f680\a\v"', "Aé🚀\a\v"),
        (rb'A="$HOME `id` $(id)"', "$HOME `id` $(id)"),
        ('A="naïve 🚀"'.encode(), "naïve 🚀"),
        (rb'A="x=y"', "x=y"),
        (rb'A="\xc3\xa9"', "é"),  # one escape per byte, as %q writes what is no rune
    ],
)
def test_go_quoting(line: bytes, value: str) -> None:
    assert parse_shell(line + b"\n") == {"A": value}


def test_bare_names_are_undefined() -> None:
    assert parse_shell(b'A="1"\nUNDEFINED\n\nB="2"\n') == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"A": "\xff"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"A": ' + b"1" * 5000 + b"}", "not JSON"),
        (b"[]", "expected an object"),
        (b'{"A": 1}', "expected a string"),
        (b'{"A": null}', "expected a string"),
        (b'{"A": "1", "A": "2"}', "twice"),
    ],
)
def test_what_no_agent_writes_as_json(data: bytes, says: str) -> None:
    with pytest.raises(CannotStart, match=says) as caught:
        parse_json(data)
    assert caught.value.exit_code == 125


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"A=plain", "cut short"),
        (b'A="cut', "cut short"),
        (b'A="', "cut short"),
        (rb'A="\q"', "unknown escape"),
        (rb'A="\ud800"', "no character"),
        (rb'A="\U00110000"', "no character"),
        (b'A="\xff"', "not UTF-8"),
        (rb'A="\xff"', "not UTF-8"),
        (b'A="1"\nA="2"', "twice"),
    ],
)
def test_what_no_agent_writes_as_shell(data: bytes, says: str) -> None:
    with pytest.raises(CannotStart, match=says):
        parse_shell(data)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("A=B", "x", "no variable name"),
        ("", "x", "no variable name"),
        ("1A", "x", "no variable name"),
        ("A B", "x", "no variable name"),
        ("BASH_FUNC_x%%", "() { :; }", "no variable name"),
        ("Ä", "x", "no variable name"),
        ("A\n", "x", "no variable name"),
        ("A", "x\0y", "NUL"),
        ("A", "\ud800", "surrogate"),
        ("A", "x" * 200_000, "at most 131071"),
    ],
)
def test_names_and_values_that_no_job_may_bring(name: str, value: str, says: str) -> None:
    with pytest.raises(Refused, match=says) as caught:
        parse_json(json.dumps({name: value}).encode())
    assert caught.value.exit_code == 77
    assert len(caught.value.problem) < 400


def test_the_largest_value_that_linux_can_carry() -> None:
    value = "x" * (MAX_STRING - 2)
    assert parse_json(json.dumps({"A": value}).encode()) == {"A": value}
