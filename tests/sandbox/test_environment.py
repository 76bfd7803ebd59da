"""The environment inside: the job's variables, the agent's, and Airlock's."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.job.assemble import AGENT_NAMES, assemble
from bootstrap.job.model import Job
from bootstrap.sandbox.environment import (
    OUTSIDE,
    SHELL_OWN,
    SandboxEnvironment,
    exports,
    group,
    passwd,
    sandbox_environment,
)
from bootstrap.secret import Secret
from tests.job.given import TOKEN, job_env, process_env

NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,12}", fullmatch=True).map("V_{}".format)
# Every byte but NUL: what is not UTF-8 is a lone surrogate, as os.environ has it.
VALUES = st.binary(max_size=80).map(lambda value: os.fsdecode(value.replace(b"\0", b"")))
VALUES |= st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80)


def job(agent: Mapping[str, str] | None = None, **env: Any) -> Job:
    return assemble(job_env(**env), process_env(**(agent or {})))


def composed(of: Job, secrets: Mapping[str, Secret] | None = None) -> SandboxEnvironment:
    granted: dict[str, str | Secret] = {"AWS_REGION": "us-east-1", **(secrets or {})}
    return sandbox_environment(of, job_env=of.claims.env, granted=granted, home="/home/a")


@pytest.mark.parametrize("shell", ["sh", "bash"])
@settings(max_examples=40, deadline=None)
@given(env=st.dictionaries(NAMES, VALUES, max_size=6))
def test_exports_sourced_by_shell_give_back_every_value(shell: str, env: dict[str, str]) -> None:
    script = exports(env) + b"env -0\n"
    done = subprocess.run([shell, "-s"], input=script, capture_output=True, check=True, env={})
    seen = dict(item.split(b"=", 1) for item in done.stdout.split(b"\0") if item)
    assert {name: os.fsdecode(seen[name.encode()]) for name in env} == env


def test_agent_values_have_the_paths_of_the_container() -> None:
    variables = composed(job()).variables
    assert variables["BUILDKITE_AGENT_ACCESS_TOKEN"] == TOKEN
    assert variables["BUILDKITE_AGENT_ENDPOINT"] == "https://agent.example.com/v3"
    assert variables["BUILDKITE_BUILD_PATH"] == "/var/lib/buildkite-agent/builds"
    assert variables["BUILDKITE_BIN_PATH"] == "/opt/airlock/bin"
    assert variables["BUILDKITE_HOOKS_PATH"] == "/airlock/agent-hooks"
    assert variables["HOME"] == "/home/a"


def test_with_a_gateway_neither_token_nor_address_of_buildkite_is_inside() -> None:
    routing = {"BUILDKITE_REQUEST_HEADER_BUILDKITE_STACK": "acme"}
    of = job(routing)
    variables = sandbox_environment(
        of, job_env={**of.claims.env, "BUILDKITE_AGENT_ACCESS_TOKEN": "the job's"}, granted={},
        home="/home/a", agent_api=("http://127.0.0.1:1", Secret("worthless")),
    ).variables  # fmt: skip
    assert variables["BUILDKITE_AGENT_ENDPOINT"] == "http://127.0.0.1:1"
    assert variables["BUILDKITE_AGENT_ACCESS_TOKEN"] == "worthless"
    assert TOKEN not in variables.values()
    assert "https://agent.example.com/v3" not in variables.values()
    assert not routing.keys() & variables.keys()
    assert routing.keys() <= composed(of).variables.keys(), "without one they are the agent's"


def test_variables_of_the_image_are_not_set() -> None:
    assert not {"PATH", "LANG"} & set(composed(job()).variables)


@pytest.mark.parametrize("name", sorted(OUTSIDE))
def test_variable_that_names_the_host_is_left_out(name: str) -> None:
    of_job: dict[str, Any] = {name: "/job"}
    both = composed(job({name: "/host"}, **of_job))
    assert name not in both.variables


def test_shells_own_variables_are_dropped_and_named() -> None:
    result = composed(job(UID="0", SHELLOPTS="xtrace", FINE="1"))
    assert not SHELL_OWN & set(result.variables)
    assert result.dropped == ("SHELLOPTS", "UID")
    assert result.variables["FINE"] == "1"


@pytest.mark.parametrize("name", sorted({"HOME", "TMPDIR", "AWS_REGION"} | AGENT_NAMES - OUTSIDE))
def test_job_variable_never_replaces_airlocks_or_the_agents(name: str) -> None:
    of_job: dict[str, Any] = {name: "from-the-job"}
    assert composed(job(**of_job)).variables.get(name) != "from-the-job"


def test_bootstrap_inside_gets_shorter_deadline_in_its_dialect() -> None:
    three = composed(job({"BUILDKITE_CANCEL_GRACE_PERIOD": "60"})).variables
    assert int(three["BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS"]) < 59
    assert int(three["BUILDKITE_CANCEL_GRACE_PERIOD"]) <= 59
    four = composed(job({"BUILDKITE_CANCEL_SIGNAL_TIMEOUT": "60s"})).variables
    assert four["BUILDKITE_CANCEL_SIGNAL_TIMEOUT"] == "57s"


def test_secrets_are_set_and_added_to_redacted_names() -> None:
    variables = composed(job(DB="from-the-job"), {"DB": Secret("from-the-rule")}).variables
    assert variables["DB"] == "from-the-rule"
    redacted = variables["BUILDKITE_REDACTED_VARS"].split(",")
    assert {"DB", "*_TOKEN"} <= set(redacted)
    own = composed(job({"BUILDKITE_REDACTED_VARS": "MINE"}), {"DB": Secret("x")}).variables
    assert own["BUILDKITE_REDACTED_VARS"] == "MINE,DB"


def test_passwd_and_group_name_the_jobs_uid(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_bytes(passwd(61000, 61000, "/home/a"))
    (tmp_path / "etc/group").write_bytes(group(61000))
    fields = [line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines()]
    assert all(len(field) == 7 for field in fields)
    assert ["airlock", "x", "61000", "61000", "Airlock job", "/home/a", "/bin/sh"] in fields
    assert b"airlock:x:61000:" in (tmp_path / "etc/group").read_bytes()
