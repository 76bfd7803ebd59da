"""Every kind of input is recognised, and a wrong one ends in one sentence."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import AirlockError, Refused, WrongConfiguration
from bootstrap.replay.inputs.content import MAX_CONTENT
from bootstrap.replay.inputs.given import assignments, combination
from bootstrap.replay.inputs.needed import summary
from bootstrap.replay.inputs.read import read_input
from bootstrap.replay.inputs.recognised import kind_of
from bootstrap.replay.model import InputOptions, Kind
from bootstrap.sandbox.environment import as_json, go_quoted
from tests.job.given import JOB_ID, job_env, without

ENV = {**job_env(), "NPM_TOKEN": "npm-secret", "LINES": 'a\nb "c" $d'}
RECORD: dict[str, Any] = {
    "schema": 2, "version": "0.9.0", "started": "2026-11-26T04:00:00Z", "job": JOB_ID,
    "env": {**job_env(), "NPM_TOKEN": None, "BUILDKITE_REPO": "https://***@git.example.com/a.git"},
    "masked": ["BUILDKITE_COMMAND", "GONE"],
    "agent_env": {"BUILDKITE_SHELL": "/bin/bash -e -c", "X": None},
    "events": [
        {"event": "admitted", "rule": "deploy", "policy": {"sha256": "ab"}, "reasons": []},
        {
            "event": "sandbox", "image": "sha256:1234", "reference": "ci/node:22",
            "digests": ["other/node@sha256:99", "ci/node@sha256:5678"],
            "timings": {"start": 0.5, "odd": "x"}, "spec": {"memory": 1},
            "versions": {"kernel": "6"},
        },
        {
            "event": "ended", "status": {"kind": "exit", "code": 3, "whose": "job"},
            "ended": {"kind": "exited", "code": 3, "out_of_memory": None},
        },
    ],
}  # fmt: skip


def read(source: object, environ: dict[str, str] | None = None, **options: Any) -> Any:
    return read_input(str(source), environ or {}, InputOptions(**options))


def written(tmp_path: Path, content: bytes | str, name: str = "input") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (as_json(ENV), Kind.ENV),
        (go_quoted(ENV), Kind.ENV),
        (b"\n" + json.dumps({"env": ENV}).encode(), Kind.ENV),
        (json.dumps({"steps": [{"command": "make"}], "env": {}}).encode(), Kind.STEP),
        (b"steps:\n- command: make\n", Kind.STEP),
        (b"- command: make\n", Kind.STEP),
    ],
)
def test_a_kind_is_recognised_by_its_content(tmp_path: Path, content: bytes, kind: Kind) -> None:
    found = read(written(tmp_path, content))
    assert found.kind is kind
    if kind is Kind.ENV:
        assert found.env == ENV
        assert (found.missing, found.unknown, found.assumed) == ((), (), ())


def test_a_record_says_what_happened_and_what_it_does_not_hold(tmp_path: Path) -> None:
    found = read(written(tmp_path, json.dumps(RECORD), "j.json"))
    assert found.kind is Kind.RECORD
    assert found.env["BUILDKITE_REPO"] == "https://git.example.com/a.git"
    assert found.unknown == ("BUILDKITE_COMMAND", "NPM_TOKEN")
    assert summary(found) == ("not known, because they were secret: BUILDKITE_COMMAND, NPM_TOKEN",)
    assert found.image == "ci/node@sha256:5678"
    assert found.ended is not None
    assert (found.ended.code, found.ended.whose, found.ended.how) == (3, "job", "exited")
    assert found.run is not None
    assert found.run.decision["rule"] == "deploy"
    assert (found.run.schema, found.run.image_id) == (2, "sha256:1234")
    assert found.run.timings == {"start": 0.5}
    assert found.run.agent == {"BUILDKITE_SHELL": "/bin/bash -e -c"}
    assert found.log is None
    log = written(tmp_path, "the log", "j.log")
    assert read(tmp_path / "j.json").log == log
    assert read(tmp_path / "j.json", log=tmp_path / "other").log == tmp_path / "other"


def test_what_is_given_is_known(tmp_path: Path) -> None:
    given_values = {"NPM_TOKEN": "mine", "BUILDKITE_BRANCH": "dev"}
    found = read(written(tmp_path, json.dumps(RECORD)), given=given_values)
    assert found.unknown == ("BUILDKITE_COMMAND",)
    assert found.env["NPM_TOKEN"] == "mine"
    assert "mine" not in repr(found) + repr(InputOptions(given=given_values))
    assert found.env["BUILDKITE_BRANCH"] == "dev"


def test_a_record_of_the_first_schema_is_read(tmp_path: Path) -> None:
    old = {
        "version": "0.1.0", "started": "x", "env": {**job_env(), "T": None},
        "admitted": {"rule": "deploy", "reasons": []},
        "room": {"image": "sha256:12", "laps": {"start": 1}}, "end": {"status": {"code": 4}},
    }  # fmt: skip
    found = read(written(tmp_path, json.dumps(old)))
    assert found.kind is Kind.RECORD
    assert found.run is not None
    assert (found.run.schema, found.run.image_id, found.run.timings) == (
        1,
        "sha256:12",
        {"start": 1},
    )
    assert found.run.decision["rule"] == "deploy"
    assert found.ended is not None
    assert found.ended.code == 4


def test_a_job_that_lacks_what_it_needs_says_so(tmp_path: Path) -> None:
    env = without(job_env(), "BUILDKITE_REPO", "BUILDKITE_AGENT_NAME")
    found = read(written(tmp_path, as_json(env)))
    assert [piece.name for piece in found.missing] == ["BUILDKITE_REPO"]
    assert found.assumed == ("BUILDKITE_AGENT_NAME",)
    assert not read(tmp_path / "input", given={"BUILDKITE_REPO": "git@x.example:a"}).missing


def test_what_a_working_copy_says_is_assumed_where_nothing_else_is_known(tmp_path: Path) -> None:
    fallback = {"BUILDKITE_REPO": "git@git.example.com:of/mine.git", "BUILDKITE_BRANCH": "mine"}
    env = without(job_env(), "BUILDKITE_REPO")
    found = read(written(tmp_path, as_json(env)), fallback=fallback)
    assert found.env["BUILDKITE_REPO"] == fallback["BUILDKITE_REPO"]
    assert found.env["BUILDKITE_BRANCH"] == env["BUILDKITE_BRANCH"]
    assert (found.missing, found.assumed) == ((), ("BUILDKITE_REPO",))
    step = written(tmp_path, 'steps: [{command: "deploy $BUILDKITE_BRANCH"}]', "pipeline.yml")
    found = read(step, fallback=fallback)
    assert found.env["BUILDKITE_COMMAND"] == "deploy mine"
    assert "BUILDKITE_BRANCH" not in [piece.name for piece in found.missing]
    given_values = {"BUILDKITE_BRANCH": "given"}
    assert read(step, fallback=fallback, given=given_values).env["BUILDKITE_COMMAND"] == (
        "deploy given"
    )


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(as_json(ENV)))
    monkeypatch.setattr(sys, "stdin", stream)
    assert read("-").source == "standard input"


WRONG = [
    (b"", "is empty"),
    (b" \n", "is empty"),
    (json.dumps(RECORD).encode()[:300], "may be cut short"),
    (json.dumps({**RECORD, "schema": 9}).encode(), "its schema is 9, and this version of Airlock"),
    (json.dumps({**RECORD, "schema": "2"}).encode(), "its schema is '2', expected a number"),
    (json.dumps({**RECORD, "env": {"A": 1}}).encode(), "neither text nor null"),
    (json.dumps({"env": {"A": 1}}).encode(), "is int, not text"),
    (json.dumps({"A": 1}).encode(), "is neither the record nor the environment"),
    (b'{"A": "b", "A": "c"}', "is in it twice"),
    (b'A="b\nC="d"', "the line of"),
    (b'A="\\q"', "unknown escape"),
    (b'A="\xff"', "is not UTF-8"),
    (b"\x7fELF\x02\x01\x01\0\0\0", "is neither the record nor the environment"),
    (b"hello", "is neither the record nor the environment"),
    (b"{" * 100_000, "cut short"),
    (b'{"a":' * 100_000, "too deeply"),
    (b"steps:\n\t- x", "is not YAML"),
    (b"steps: []\n", "no step with a command"),
]


@pytest.mark.parametrize(("content", "problem"), WRONG)
def test_a_wrong_input_is_one_sentence(tmp_path: Path, content: bytes, problem: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(WrongConfiguration, match=problem) as raised:
        read(path)
    assert raised.value.problem.startswith(str(path))
    assert "\n" not in raised.value.problem
    assert raised.value.hint


def test_a_name_that_no_job_may_bring_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="A=B"):
        read(written(tmp_path, b'{"A=B": "x"}'))
    with pytest.raises(Refused, match="NUL"):
        read(written(tmp_path, as_json(ENV)), given={"A": "\0"})


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    with large.open("wb") as file:
        file.truncate(1 << 30)
    for path, what in (
        (pipe, "is not a regular file"), (tmp_path, "is a directory"), (large, "more than 32 MiB"),
        (tmp_path / "none", "No such file"), ("/dev/zero", "is not a regular file"),
        (f"{tmp_path}\0", "NUL byte"), (tmp_path / "x" / ("y" * 300), "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(WrongConfiguration, match=what):
            read(path)


def test_an_endless_standard_input_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/zero").open("rb") as zeros:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(zeros))
        with pytest.raises(WrongConfiguration, match=f"{MAX_CONTENT >> 20} MiB"):
            read("-")


def test_an_option_that_says_nothing_about_the_input_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, as_json(ENV))
    with pytest.raises(WrongConfiguration, match="--step and --matrix say nothing"):
        read(path, step="x", kind=Kind.ENV)
    with pytest.raises(WrongConfiguration, match="--no-interpolation says nothing"):
        read(path, interpolate=False)
    with pytest.raises(WrongConfiguration, match="--api-url says nothing"):
        read(path, api_url="https://api.example.com")
    with pytest.raises(WrongConfiguration, match="is not a URL"):
        read(path, kind=Kind.URL)
    with pytest.raises(WrongConfiguration, match="not a JSON object"):
        read(written(tmp_path, b'A="b"'), kind=Kind.RECORD)


def test_variables_and_matrix_values_are_given_by_options() -> None:
    assert assignments(["A=b=c", "HOME", "E="], {"HOME": "/x"}) == {
        "A": "b=c", "HOME": "/x", "E": "",
    }  # fmt: skip
    with pytest.raises(WrongConfiguration, match="this environment has no GONE"):
        assignments(["GONE"], {})
    assert combination(["os=linux", "=a=b"]) == {"os": "linux", "": "a=b"}
    assert combination(["linux"]) == {"": "linux"}


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_content_is_a_kind_or_none(content: bytes) -> None:
    try:
        assert kind_of(content) in {None, Kind.ENV, Kind.RECORD, Kind.STEP}
    except ValueError as wrong:
        assert content.lstrip().startswith(b"{"), wrong


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from([*RECORD, "admitted", "room", "end", "session"])


@given(st.dictionaries(KEYS, JSON, max_size=5), st.lists(JSON, max_size=2))
def test_no_record_is_a_surprise(tmp_path_factory: Any, changed: Any, events: Any) -> None:
    record = {**RECORD, **changed}
    if isinstance(record.get("events"), list):
        record["events"] = [*record["events"], *events]
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(record))
    try:
        found = read(path, kind=Kind.RECORD)
    except AirlockError as refused:
        assert isinstance(refused, WrongConfiguration | Refused)
    else:
        assert all(isinstance(value, str) for value in found.env.values())
