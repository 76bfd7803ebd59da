"""Errors as JSON, bugs without a traceback, colours only on a terminal, progress on one."""

import errno
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap import colour
from bootstrap.failures import bug, is_json_wanted, unwritten
from bootstrap.progress import working
from tests.lab.engine import eventually
from tests.test_cli import AIRLOCK, ROOT, airlock


@pytest.mark.parametrize("option", [("--format", "json"), ("--format=json",), ("--json",)])
@pytest.mark.parametrize("verb", ["lint", "report", "who-can"])
def test_an_error_is_json_where_output_is(
    tmp_path: Path, verb: str, option: tuple[str, ...]
) -> None:
    absent = str(tmp_path / "absent")
    more = {
        "lint": (absent,),
        "report": (absent, "--output", str(tmp_path / "x")),
        "who-can": ("role", "--policies", absent),
    }
    done = airlock("policy", verb, *more[verb], *option)
    assert (done.returncode, done.stdout) == (78, "")
    assert json.loads(done.stderr) == {
        "error": {
            "message": f"the policies in {absent} cannot be read: No such file or directory",
            "hint": "Name a directory of <pipeline slug>.yaml documents.",
            "exit": 78,
            "details": [],
        }
    }


def test_mistakes_of_documents_are_details_of_the_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("pipeline: [\n")
    done = airlock("policy", "who-can", "x", "--policies", str(tmp_path), "--format", "json")
    (detail,) = json.loads(done.stderr)["error"]["details"]
    assert detail.startswith(f"{tmp_path}/a.yaml:")


def test_a_wrong_command_line_is_json_too() -> None:
    done = airlock("policy", "who-can", "--format", "json")
    assert done.returncode == 2
    error = json.loads(done.stderr)["error"]
    assert (error["exit"], error["hint"]) == (2, "See `airlock policy who-can --help`.")
    assert "NAME" in error["message"]


def test_options_are_not_abbreviated() -> None:
    """An abbreviation changes its meaning with the next option that is added."""
    done = airlock("policy", "lint", "--form", "json")
    assert done.returncode == 2
    assert "unrecognized arguments: --form" in done.stderr


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_unknown_option_is_an_error_of_its_verb(form: str) -> None:
    done = airlock("policy", "explain", "--brnch", "main", "--format", form)
    assert done.returncode == 2
    for part in ('unrecognized arguments: --brnch; did you mean "--branch"?',
                 "See `airlock policy explain --help`."):  # fmt: skip
        assert part in done.stderr.replace('\\"', '"')
    assert ("usage: airlock policy explain " in done.stderr) == (form == "text")
    extra = airlock("policy", "schema", "policy", "more")
    assert "airlock policy schema: error: unrecognized arguments: more\n" in extra.stderr


@pytest.mark.parametrize(
    "arguments",
    [("lint", "DIR"), ("who-can", "x", "--policies", "DIR"), ("explain", "--policies", "DIR"),
     ("report", "DIR", "--output", "x")],
)  # fmt: skip
def test_a_directory_and_a_configuration_exclude_each_other(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Guardrails and signed identity of that configuration would not count, without a word."""
    named = (str(tmp_path) if one == "DIR" else one for one in arguments)
    done = airlock("policy", *named, "--config", str(tmp_path / "airlock.toml"))
    assert done.returncode == 2
    assert (
        "error: --config is not read where a directory is named: its guardrails.yaml counts, and "
        "else a host's defaults. Leave one of the two out\n"
    ) in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_descriptor_is_no_bug(closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{AIRLOCK} policy schema {closed}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_what_it_starts_has_standard_descriptors_too() -> None:
    """A child whose 0 to 2 are closed opens its next files as them."""
    opened = " && ".join(f"test -e /proc/$$/fd/{number}" for number in range(3))
    program = f"""import os
from bootstrap import cli
cli._open_standard()
os.execv("/bin/sh", ["sh", "-c", "{opened}"])"""
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program]
    assert subprocess.run(closed, check=False, cwd=ROOT).returncode == 0


def test_output_that_is_not_complete_is_named() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [str(AIRLOCK), "policy", "schema", "--json"], stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    error = json.loads(done.stderr)["error"]
    assert (done.returncode, error["exit"]) == (70, 70)
    assert error["message"] == "standard output cannot be written: No space left on device"
    assert error["hint"] == "What was printed is not complete. Run it again where there is space."


@pytest.mark.parametrize(
    ("number", "expected", "hint"),
    [
        (errno.ENOSPC, "standard output cannot be written: No space left on device", "printed"),
        (errno.EIO, "standard output cannot be written: Input/output error", "printed"),
        (errno.ECONNREFUSED, "[Errno 111] Connection refused", "report it"),
        (errno.EMFILE, "[Errno 24] Too many open files", "report it"),
    ],
)
def test_only_errors_of_writing_are_called_errors_of_the_output(
    number: int, expected: str, hint: str
) -> None:
    error = unwritten(OSError(number, os.strerror(number)))
    assert (error.problem, error.exit_code) == (expected, 70)
    assert hint in error.hint


@pytest.mark.parametrize(
    "argv", [["policy", "lint", "--format", "json", "x"], ["x", "--format=json"], ["--json"]]
)
def test_json_is_wanted_where_the_arguments_say_so(argv: list[str]) -> None:
    assert is_json_wanted(argv)


@pytest.mark.parametrize(
    "argv", [[], ["policy", "lint", "json"], ["--format"], ["--format", "text", "json"]]
)
def test_other_arguments_want_text(argv: list[str]) -> None:
    assert not is_json_wanted(argv)


CRASH = """import sys
from bootstrap import cli
from bootstrap.commands.policy import schema
def fail(**_): raise KeyError("secret-value")
schema.schema = fail
sys.argv = ["airlock", "policy", "schema", *sys.argv[1:]]
sys.exit(cli.main())"""


@pytest.mark.parametrize("option", [(), ("--format", "json")])
def test_a_bug_ends_with_70_and_no_traceback(option: tuple[str, ...]) -> None:
    program = [sys.executable, "-c", CRASH, *option]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 70
    assert "a bug of Airlock: KeyError" in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret-value" not in done.stderr
    assert "bootstrap/cli.py:" in done.stderr


def test_the_error_of_a_bug_names_only_our_own_lines() -> None:
    try:
        json.loads("{")
    except ValueError as unexpected:
        error = bug(unexpected)
    assert error.exit_code == 70
    assert error.details == ()


LINT = "x.yaml:3: error [mistake] unknown"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (LINT, "x.yaml:3: \x1b[31merror\x1b[0m [mistake] unknown"),
        ("airlock: no", "\x1b[31mairlock:\x1b[0m no"),
        ("+ a gains b", "\x1b[32m+ a gains b\x1b[0m"),
        ("a - b: an error here", "a - b: an error here"),
        ('  "- a": 1', '  "- a": 1'),
    ],
)
def test_only_what_commands_report_is_coloured(line: str, expected: str) -> None:
    assert colour.painted(line) == expected
    assert colour.painted(f"{line}\nplain") == f"{expected}\nplain"


@given(st.text())
def test_colours_change_no_text(text: str) -> None:
    painted = colour.painted(text)
    for code in ("\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"):
        painted, text = painted.replace(code, ""), text.replace(code, "")
    assert painted == text


def on_terminal(**env: str) -> str:
    """Return what a failing command prints on a terminal."""
    main, theirs = pty.openpty()
    command = [str(AIRLOCK), "policy", "lint", "/absent"]
    path = {"PATH": os.environ["PATH"]}
    subprocess.run(command, stdout=theirs, stderr=theirs, env={**path, **env}, check=False)
    os.close(theirs)
    printed = os.read(main, 65536).decode()
    os.close(main)
    return printed


def test_colours_are_for_terminals_whose_user_wants_them() -> None:
    assert "\x1b[31mairlock:" in on_terminal(TERM="xterm")
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in on_terminal(**env)
    assert "\x1b" not in airlock("policy", "lint", "/absent").stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_work_shows_a_line_that_is_cleared() -> None:
    stream = Terminal()
    with working("reading policies", stream=stream, every=0.01):
        eventually(lambda: "reading policies … 0 s" in stream.getvalue(), "a line")
    assert stream.getvalue().endswith("\r\x1b[K")


def test_short_work_and_other_outputs_show_nothing() -> None:
    stream = Terminal()
    with working("reading", stream=stream):
        pass
    plain = io.StringIO()
    with working("reading", stream=plain, every=0.0):
        pass
    assert (stream.getvalue(), plain.getvalue()) == ("", "")
