"""A step of a pipeline.yml becomes the environment that Buildkite would send."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given as generated
from hypothesis import strategies as st

from bootstrap.errors import Refused
from bootstrap.job.assemble import claims_of
from bootstrap.replay.inputs.from_step import read
from bootstrap.replay.inputs.needed import completed, require_complete
from bootstrap.replay.model import ReplayInput
from tests.replay.test_matrix import ANY

GIVEN = {
    "BUILDKITE_REPO": "git@github.com:acme/storefront.git",
    "BUILDKITE_COMMIT": "3c44caebd2fcfca65b567fe290a1e31485d54f5b",
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_ORGANIZATION_SLUG": "acme",
    "BUILDKITE_PIPELINE_SLUG": "storefront",
}
PIPELINE = """
env: {MODE: live, GREETING: "$MODE-$BUILDKITE_BRANCH"}
agents: {queue: builders}
secrets: [NPM_TOKEN]
steps:
  - label: ":hammer: Build"
    key: build
    commands: [make, "make test $MODE $$HOME"]
    env: {MODE: step, COUNT: 3, FLAG: true}
    plugins:
      - docker#v5.13.0: {image: "node:$MODE"}
      - ./.buildkite/plugins/own
    artifact_paths: [a/*, b/*]
    timeout_in_minutes: 7
    agents: {queue: large, os-name: linux}
    secrets: {API_KEY: the-key}
  - wait
  - group: Tests
    key: tests
    steps:
      - {label: "{{matrix}}", command: "test {{matrix}}", matrix: [a, b], key: unit}
      - {command: rake, parallelism: 3}
  - {block: Release, key: release}
  - {label: Deploy, command: "deploy $TARGET ${OTHER:-x}"}
"""


def step(name: str | None, text: str = PIPELINE, **options: Mapping[str, str]) -> ReplayInput:
    given = options.get("given", GIVEN)
    found = read(
        text, "pipeline.yml", step=name, combination=options.get("combination", {}), given=given
    )
    return completed(found, given)


def test_a_step_becomes_a_jobs_environment() -> None:
    found = step("build")
    env = found.env
    assert not found.missing
    assert env["BUILDKITE_COMMAND"] == "make\nmake test live $HOME"
    assert env["BUILDKITE_LABEL"] == ":hammer: Build"
    assert (env["MODE"], env["COUNT"], env["FLAG"]) == ("step", "3", "true")
    assert env["GREETING"] == "live-main"
    assert env["BUILDKITE_ARTIFACT_PATHS"] == "a/*;b/*"
    assert env["BUILDKITE_TIMEOUT"] == "7"
    assert env["BUILDKITE_AGENT_META_DATA_QUEUE"] == "large"
    assert env["BUILDKITE_AGENT_META_DATA_OS_NAME"] == "linux"
    assert json.loads(env["BUILDKITE_PLUGINS"]) == [
        {"github.com/buildkite-plugins/docker-buildkite-plugin#v5.13.0": {"image": "node:live"}},
        {"./.buildkite/plugins/own": None},
    ]
    assert json.loads(env["BUILDKITE_SECRETS_CONFIG"]) == [
        {"key": "NPM_TOKEN", "environment_variable": "NPM_TOKEN"},
        {"key": "the-key", "environment_variable": "API_KEY"},
    ]
    assert found.unknown == ("API_KEY", "NPM_TOKEN")
    claims = claims_of(env, process_env={})
    assert (claims.pipeline, claims.facts["branch"].value) == ("storefront", "main")  # type: ignore[union-attr]


def test_what_is_assumed_is_named_and_what_is_given_is_not() -> None:
    found = step("build", given={**GIVEN, "BUILDKITE_SOURCE": "schedule"})
    assert "BUILDKITE_JOB_ID" in found.assumed
    assert "BUILDKITE_SOURCE" not in found.assumed
    assert found.env["BUILDKITE_SOURCE"] == "schedule"
    assert step("build").env["BUILDKITE_JOB_ID"] == step("build").env["BUILDKITE_JOB_ID"]
    assert step("build").env["BUILDKITE_JOB_ID"] != step("Deploy").env["BUILDKITE_JOB_ID"]


def test_what_is_missing_is_asked_for_by_name_with_an_example() -> None:
    found = step("Deploy", given={})
    examples = {piece.name: piece.example for piece in found.missing}
    assert examples["BUILDKITE_BRANCH"] == '--env BUILDKITE_BRANCH="$(git branch --show-current)"'
    assert examples["TARGET"].startswith("--env TARGET=")
    assert examples.keys() == {*GIVEN, "TARGET"}, "OTHER has a default"
    with pytest.raises(Exception, match="TARGET") as refused:
        require_complete(found)
    assert len(refused.value.details) == len(examples)  # type: ignore[attr-defined]
    whole = step("Deploy", given={**GIVEN, "TARGET": "prod"})
    require_complete(whole)
    assert whole.env["BUILDKITE_COMMAND"] == "deploy prod x"


def test_a_text_that_was_uploaded_is_taken_as_it_is() -> None:
    text = """
env: {HERE: "$PWD ${X}"}
steps: [{key: "a$b", command: "echo $HOME $$ ${TARGET:-x} {{matrix}}", matrix: [one]}]
"""
    found = read(text, "1.yml", step=None, combination={}, given=GIVEN, interpolate=False)
    assert found.missing == ()
    assert found.env["BUILDKITE_COMMAND"] == "echo $HOME $$ ${TARGET:-x} one"
    assert (found.env["HERE"], found.env["BUILDKITE_STEP_KEY"]) == ("$PWD ${X}", "a$b")


def test_a_matrix_and_parallel_jobs_are_chosen() -> None:
    assert [piece.name for piece in step("unit").missing] == ["matrix"]
    found = step("unit", combination={"": "b"})
    assert found.env["BUILDKITE_COMMAND"] == "test b"
    assert found.env["BUILDKITE_LABEL"] == "b"
    assert (found.env["BUILDKITE_GROUP_KEY"], found.env["BUILDKITE_GROUP_LABEL"]) == (
        "tests", "Tests",
    )  # fmt: skip
    (piece,) = step("3").missing
    assert (piece.name, piece.example) == (
        "BUILDKITE_PARALLEL_JOB", "--env BUILDKITE_PARALLEL_JOB=0",
    )  # fmt: skip
    assert "0 to 2" in piece.why
    whole = step("3", given={**GIVEN, "BUILDKITE_PARALLEL_JOB": "2"})
    assert (whole.missing, whole.env["BUILDKITE_PARALLEL_JOB"]) == ((), "2")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("nothing", PIPELINE, r"no step 'nothing', but 1 \(build\), 2 \(unit\), 3, 4 \(Deploy\)"),
        ("release", PIPELINE, "no step 'release'"),
        ("0", PIPELINE, "no step '0'"),
        (None, PIPELINE, "has 4 steps, expected one: 1"),
        ("x", "steps: [{command: a, label: x}, {command: b, label: x}]", "2 of its steps are 'x'"),
        ("x", "steps: [wait]", "no step with a command"),
        ("1", "steps: {command: a}", "no list of steps"),
        ("1", "- command: {a: b}", "`command`: expected text"),
        ("1", "- command: 'a ${'", "after"),
        ("1", "env: [A]\nsteps: [{command: a}]", "`env` is not a mapping"),
        ("1", "- {command: a, plugins: 7}", "`plugins`"),
        ("1", "- {command: a, secrets: 7}", "`secrets`"),
        ("1", "- {command: a, agents: 7}", "`agents`"),
    ],
)
def test_a_wrong_step_or_pipeline_is_an_error(name: str, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        step(name, text)


def test_a_name_that_no_job_may_bring_is_refused_as_by_a_host() -> None:
    with pytest.raises(Refused, match="A B"):
        step("1", "- {command: a, env: {A B: c}}")


def test_numbers_begin_at_one_and_keys_come_before_them() -> None:
    text = "steps: [{command: a, key: '2'}, {command: b}, {command: c, label: '3'}]"
    assert step("2", text).env["BUILDKITE_COMMAND"] == "a"
    assert step("1", text).env["BUILDKITE_COMMAND"] == "a"
    assert step("3", text).env["BUILDKITE_COMMAND"] == "c"


KEYS = ["command", "commands", "plugins", "env", "agents", "matrix", "secrets", "parallelism",
        "label", "key", "artifact_paths", "timeout_in_minutes"]  # fmt: skip


@generated(st.dictionaries(st.sampled_from(KEYS), ANY, max_size=6), ANY, ANY)
def test_no_step_is_a_surprise(of: dict[str, Any], env: Any, agents: Any) -> None:
    text = yaml.safe_dump({"env": env, "agents": agents, "steps": [{"command": "a"} | of]})
    try:
        found = step("1", text)
    except ValueError as wrong:
        assert str(wrong)
    except Refused as refused:
        assert refused.problem
    else:
        assert claims_of({**found.env, **GIVEN}, process_env={}).pipeline == "storefront"
