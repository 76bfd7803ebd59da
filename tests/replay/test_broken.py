"""What a developer may get wrong, as a table: each ends in one sentence and a documented status.

Nothing here needs Docker. tests/replay/test_endings.py has what does.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.replay.test_job import compiled
from tests.replay.test_read import ENV, RECORD

ENV_JSON = json.dumps(ENV)
NO_REPOSITORY = json.dumps({name: value for name, value in ENV.items() if name != "BUILDKITE_REPO"})
STEPS = "steps:\n- {label: test, command: a}\n- {label: test, command: b}\n- {key: c, command: c}\n"


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _unused(path: Path) -> None:
    """Leave a socket at which nobody listens any more."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """One mistake. `content` is what `input` in the working directory holds, or how it is made."""

    content: str | bytes | Callable[[Path], None] = ENV_JSON
    arguments: tuple[str, ...] = ()
    source: str = "input"
    env: tuple[tuple[str, str], ...] = ()
    status: int = 78
    says: str
    to_do: str


NAMES = "Name a job's record, a copy of its BUILDKITE_ENV_FILE"
INPUTS = {
    "record, cut short": Broken(
        content=json.dumps(RECORD)[:300], says="may be cut short", to_do="Copy it again"
    ),
    "newer schema": Broken(
        content=json.dumps({**RECORD, "schema": 9, "version": "7.1"}),
        says="its schema is 9, and this version of Airlock reads records up to 3",
        to_do="Use Airlock 7.1, which wrote it, or a newer one.",
    ),
    "line without =": Broken(
        content='CI="true"\nfoo bar\n', says="its line 2 is not NAME=\"value\": 'foo bar'",
        to_do="Copy the agent's file as it is",
    ),
    "line without quotes": Broken(
        content="CI=true\nA=b\n", says="the line of b'CI' is not NAME=\"value\"", to_do=NAMES
    ),
    "empty": Broken(content="", says="input is empty", to_do=NAMES),
    "directory": Broken(content=Path.mkdir, says="is a directory, expected a file", to_do=NAMES),
    "named pipe": Broken(content=_pipe, says="is not a regular file", to_do="on standard input"),
    "device": Broken(source="/dev/zero", says="is not a regular file", to_do="on standard input"),
    "socket": Broken(content=_unused, says="is not a regular file", to_do="on standard input"),
    "program": Broken(
        content=b"\x7fELF\x02\x01\x01\0\0", says="is neither the record nor the environment",
        to_do="say which with --kind record, env, url, step.",
    ),
    "absent": Broken(source="none", says="none cannot be read: No such file", to_do=NAMES),
    "standard input that is empty": Broken(source="-", says="standard input is empty", to_do=NAMES),
    "no repository": Broken(
        content=NO_REPOSITORY, says="input does not have BUILDKITE_REPO",
        to_do="Give it as shown above",
    ),
    "unknown step": Broken(
        content=STEPS, arguments=("--step", "d"),
        says="it has no step 'd', but 1 (test), 2 (test), 3 (c)", to_do="Name one of them",
    ),
    "ambiguous step": Broken(
        content=STEPS, arguments=("--step", "test"),
        says="2 of its steps are 'test': 1 (test), 2 (test)", to_do="by its number with --step",
    ),
    "no step named": Broken(
        content=STEPS, arguments=("--kind", "step"), to_do="Say which with --step",
        says="it has 3 steps, expected one: 1 (test), 2 (test), 3 (c)",
    ),
    "step of what has none": Broken(
        arguments=("--step", "a"), says="it has no list of steps", to_do="leave them out",
    ),
    "URL of no job": Broken(
        source="https://example.com/a", says="is no job", to_do="Copy it from the page of the job."
    ),
    "URL without a token": Broken(
        source="https://buildkite.com/acme/storefront/builds/42#0190a",
        says="BUILDKITE_API_TOKEN", to_do="read_job_env",
    ),
}  # fmt: skip
OPTIONS = {
    "variable without a name": Broken(
        arguments=("--env", "=x"), says="--env '': that is no name", to_do="Write --env NAME=VALUE"
    ),
    "variable that is not set": Broken(
        arguments=("--env", "GONE"), says="this environment has no GONE", to_do="export"
    ),
    "secret that is not set": Broken(
        arguments=("--secret", "GONE"), says="this environment has no GONE", to_do="export"
    ),
    "nothing to compare": Broken(
        arguments=("--compare",), says="is not the record of a job", to_do="leave --compare out"
    ),
    "no log": Broken(
        arguments=("--compare", "--log", "none"), to_do="leave it out",
        says="the job's log none cannot be read: No such file",
    ),
    "agent that is another program": Broken(
        arguments=("--agent", sys.executable), says="is no buildkite-agent", to_do="download"
    ),
    "no agent": Broken(
        arguments=("--agent", "none"), says="there is no program at none", to_do="download"
    ),
    "engine elsewhere": Broken(
        arguments=("--docker", "tcp://192.0.2.1:2375"), says="expected a socket of this machine",
        to_do="with --docker",
    ),
}  # fmt: skip
# These come after the agent, which is the one that tests can have: see `agent`.
MACHINES = {
    "no image": Broken(
        says="does not have the image that the job ran in", to_do="Name it with --image"
    ),
    "no engine": Broken(
        arguments=("--docker", "unix:///none.sock"), status=125,
        says="there is no Docker Engine at /none.sock: No such file", to_do="Install Docker Engine",
    ),
    "engine that has ended": Broken(
        arguments=("--docker", "unix://{cwd}/input"), content=_unused, status=125,
        says="does not answer at unix://", to_do="systemctl start docker",
    ),
    "file in place of the engine": Broken(
        arguments=("--docker", "unix:///etc/passwd"), says="/etc/passwd is not a socket",
        to_do="with --docker",
    ),
    "results below a file": Broken(
        arguments=("--output", "input"), says="the job's artifacts cannot go to input/",
        to_do="with --output",
    ),
    "results where nothing can be made": Broken(
        arguments=("--output", "/proc/here"), says="cannot go to /proc/here/", to_do="--output"
    ),
    "no place for a replay's own files": Broken(
        env=(("XDG_STATE_HOME", "/proc"),), says="the directory of replays /proc/airlock",
        to_do="XDG_STATE_HOME", status=125,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--shell", "--shell-on-failure"), "not allowed with argument --shell"),
        (("--until", "checkout", "--command", "a"), "--command is about the command, which does"),
        (("--until", "checkout", "--compare"), "--compare is about the command, which does not"),
        (("--until", "command"), "invalid choice: 'command'"),
        (("--log", "file"), "--log is for --compare alone"),
        (("--image", ""), "argument --image: expected a value, got an empty text"),
        (("--checkout", ""), "argument --checkout: expected a value, got an empty text"),
        (("--output", " "), "argument --output: expected a value, got an empty text"),
        (("--command", ""), "argument --command: expected a value, got an empty text"),
        (("--assume", "deploy"), "argument --assume: expected a role's ARN, such as arn:aws:iam::"),
        (("--dns", "resolver"), "argument --dns: invalid IPv4Address value: 'resolver'"),
        (("--shel",), 'did you mean "--shell"?'),
        (("another",), "unrecognized arguments: another"),
    ],
)
def test_wrong_command_line(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "bootstrap", "replay", "job.json", *arguments], cwd=tmp_path,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    *_, problem, hint = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert problem.startswith("airlock replay: error: ")
    assert says in problem
    assert hint == "See `airlock replay --help`."


@pytest.mark.parametrize("name", [*INPUTS, *OPTIONS])
def test_mistake_is_one_sentence(tmp_path: Path, name: str) -> None:
    broken = {**INPUTS, **OPTIONS}[name]
    ends_as_it_says(tmp_path, broken)


@pytest.mark.parametrize("name", MACHINES)
def test_mistake_about_the_machine_is_one_sentence(tmp_path: Path, name: str) -> None:
    agent = compiled(tmp_path, "buildkite-agent version 3.138.1", "-static")
    broken = MACHINES[name]
    if name != "no image":
        broken = replace(broken, source="{record}")
    ends_as_it_says(tmp_path, broken, "--agent", str(agent))


def ends_as_it_says(tmp_path: Path, broken: Broken, *more: str) -> None:
    cwd, home = tmp_path / "cwd", tmp_path / "home"
    cwd.mkdir()
    home.mkdir()
    made = cwd / "input"
    if callable(broken.content):
        broken.content(made)
    else:
        content = broken.content
        made.write_bytes(content.encode() if isinstance(content, str) else content)
    record = tmp_path / "record.json"
    record.write_text(json.dumps(RECORD))
    source = broken.source.format(record=record)
    arguments = [one.format(cwd=cwd) for one in (*broken.arguments, *more)]
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin", **dict(broken.env)}
    done = subprocess.run(
        [sys.executable, "-I", "-m", "bootstrap", "replay", source, *arguments], cwd=cwd, env=env,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == broken.status, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("# ")]  # notes
    assert lines[0].startswith("airlock: "), done.stderr
    assert broken.says in lines[0]
    assert broken.to_do in lines[-1]
    assert "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "bug of Airlock" not in done.stderr
    assert [path.name for path in cwd.iterdir()] in (["input"], [])
    assert [path for path in home.rglob("*") if not path.is_dir()] == []
