"""A recorded job becomes one that runs here: as an agent would pass it, without its host."""

import os
import resource
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import Refused, WrongConfiguration
from bootstrap.log import JobLog
from bootstrap.replay.agent_api import offline
from bootstrap.replay.engine import DEFAULT
from bootstrap.replay.job import job_of, own_shell
from bootstrap.replay.machine import machine, settings
from bootstrap.replay.model import Kind, MissingPiece, RecordedRun, ReplayInput
from bootstrap.replay.options import Options, Shell, Until
from bootstrap.replay.prompt import COMMAND_SHELL, files
from bootstrap.secret import Secret

ENV = {
    "BUILDKITE_JOB_ID": "0190-job",
    "BUILDKITE_BUILD_NUMBER": "42",
    "BUILDKITE_ORGANIZATION_SLUG": "acme",
    "BUILDKITE_PIPELINE_SLUG": "storefront",
    "BUILDKITE_PIPELINE_PROVIDER": "github",
    "BUILDKITE_REPO": "https://git.example.com/storefront.git",
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_COMMIT": "HEAD",
    "BUILDKITE_AGENT_NAME": "agent-1",
    "BUILDKITE_COMMAND": "make",
}
FOUND = ReplayInput(kind=Kind.ENV, source="job-env", env=ENV)
TOKEN = Secret("replayed")
OPTIONS = Options(docker=DEFAULT)


def recorded(agent: Mapping[str, str], spec: Mapping[str, object] | None = None) -> ReplayInput:
    run = RecordedRun(
        schema=2, version="1", started="", image_id=None, decision={}, spec=spec or {},
        versions={}, timings={}, agent=agent, events=(),
    )  # fmt: skip
    return replace(FOUND, run=run)


def job(found: ReplayInput = FOUND, **options: Any) -> Any:
    return job_of(found, replace(OPTIONS, **options), endpoint="http://127.0.0.1:1", token=TOKEN)


def test_job_has_the_api_of_the_replay_and_a_token_that_is_worth_nothing() -> None:
    agent = job().agent
    assert agent.values["BUILDKITE_AGENT_ENDPOINT"] == "http://127.0.0.1:1"
    assert agent.token.reveal() == "replayed"
    assert "BUILDKITE_AGENT_ACCESS_TOKEN" not in agent.values


def test_recorded_settings_of_the_agent_are_used_and_its_endpoint_is_not() -> None:
    settings_of_agent = {
        "BUILDKITE_GIT_CLONE_FLAGS": "-v --depth 1",
        "BUILDKITE_SHELL": "/bin/sh -c",
        "BUILDKITE_AGENT_ENDPOINT": "https://agent.example.com",
        "BUILDKITE_ENV_FILE": "/tmp/job-env-0190-job1",
        "LD_PRELOAD": "/tmp/trap.so",
    }
    found = recorded(settings_of_agent)
    values = job(found).agent.values
    assert values["BUILDKITE_GIT_CLONE_FLAGS"] == "-v --depth 1"
    assert values["BUILDKITE_AGENT_ENDPOINT"] == "http://127.0.0.1:1"
    assert not {"BUILDKITE_ENV_FILE", "LD_PRELOAD"} & values.keys()
    assert own_shell(found) == "/bin/sh -c"


def test_prompt_takes_the_place_of_the_shell_that_runs_commands() -> None:
    assert job(shell=Shell.BEFORE).agent.values["BUILDKITE_SHELL"] == COMMAND_SHELL
    script = files(Shell.BEFORE, "/bin/bash -e -c", Path("/builds/a b"))
    assert script["entry"].startswith(b"when=before\ncheckout='/builds/a b'\n")
    assert b'own_shell() { /bin/bash -e -c "$1"; }' in script["command-shell"]
    assert files(Shell.NEVER, "/bin/bash -e -c", Path("/builds")) == {}


@pytest.mark.parametrize(
    ("options", "phases"),
    [
        ({}, None),
        ({"until": Until.CHECKOUT}, "plugin,checkout"),
        ({"checkout": Path()}, "plugin,command"),
        ({"checkout": Path(), "until": Until.CHECKOUT}, "plugin"),
    ],
)
def test_bootstrap_takes_the_phases_that_are_wanted(
    options: dict[str, Any], phases: str | None
) -> None:
    assert job(**options).claims.env.get("BUILDKITE_BOOTSTRAP_PHASES") == phases


def test_command_is_replaced() -> None:
    assert job(command="make test").claims.env["BUILDKITE_COMMAND"] == "make test"


def test_what_is_missing_is_asked_for_by_name() -> None:
    piece = MissingPiece(name="BUILDKITE_REPO", why="what is checked out", example="--env X=1")
    with pytest.raises(WrongConfiguration, match="job-env does not have BUILDKITE_REPO") as lacks:
        job(replace(FOUND, missing=(piece,)))
    assert "--env X=1" in lacks.value.details[0]


def test_name_that_no_path_can_have_is_refused_as_on_a_host() -> None:
    with pytest.raises(Refused, match="which cannot name a directory"):
        job(replace(FOUND, env={**ENV, "BUILDKITE_PIPELINE_SLUG": "../up"}))


def test_limits_are_the_recorded_ones_else_those_of_a_host() -> None:
    found = recorded({}, {"memory": 1 << 30, "cpus": 1.5, "unknown": 3})
    chosen = settings(found, OPTIONS, "sha256:1")
    assert (chosen.memory, chosen.cpus, chosen.pids) == (1 << 30, 1.5, 4096)
    assert settings(FOUND, OPTIONS, "sha256:1").memory == 8 << 30


@pytest.mark.parametrize(
    ("hard", "files"), [(20_000, 20_000), (1 << 20, 65_536), (resource.RLIM_INFINITY, 65_536)]
)
def test_open_files_are_a_hosts_unless_this_user_has_fewer(
    monkeypatch: pytest.MonkeyPatch, hard: int, files: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))
    assert settings(FOUND, OPTIONS, "sha256:1").open_files == files
    found = recorded({}, {"open_files": 90_000})
    assert settings(found, OPTIONS, "sha256:1").open_files == 90_000


def test_artifacts_of_earlier_jobs_have_to_be_a_directory(tmp_path: Path) -> None:
    missing = replace(OPTIONS, artifacts=tmp_path / "none")
    with pytest.raises(WrongConfiguration, match=r"--artifacts .*none: there is no such directory"):
        offline(FOUND, missing, JobLog(lambda _: None))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "spec",
    [{"memory": 0}, {"pids": -1}, {"pids": 0}, {"cpus": 0}, {"cpus": float("nan")}, {"tmp": 1.5},
     {"cpus": float("inf")}, {"open_files": True}, {"memory": "many"}],
    ids=str,
)  # fmt: skip
def test_recorded_limit_that_limits_nothing_is_refused(spec: dict[str, object]) -> None:
    (name,) = spec
    with pytest.raises(WrongConfiguration, match=f" limits {name} to "):
        settings(recorded({}, spec), OPTIONS, "sha256:1")


def test_recorded_limits_are_at_most_this_machines_or_a_hosts() -> None:
    chosen = settings(recorded({}, {"memory": 1 << 60, "cpus": 1000}), OPTIONS, "sha256:1")
    there_is = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert chosen.memory == max(8 << 30, there_is)
    assert chosen.cpus == max(4, os.cpu_count() or 1)


def test_agent_is_found_on_path_or_named(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    with pytest.raises(WrongConfiguration, match="there is no buildkite-agent on PATH"):
        machine(OPTIONS, env)
    with pytest.raises(WrongConfiguration, match="there is no program at /none"):
        machine(replace(OPTIONS, agent=Path("/none")), env)
    program = compiled(tmp_path, "buildkite-agent version 3.138.1, build 1", "-static")
    found = machine(OPTIONS, env)
    assert (found.agent, found.agent_version) == (program, "3.138.1")


def compiled(directory: Path, prints: str, *options: str) -> Path:
    program, source = directory / "buildkite-agent", directory / "program.c"
    source.write_text(f'#include <stdio.h>\nint main() {{ return puts("{prints}") < 0; }}\n')
    subprocess.run(["cc", *options, "-o", program, source], check=True)
    return program


@pytest.mark.parametrize(
    ("prints", "options", "why"),
    [
        ("buildkite-agent version 3.138.1", (), "it is linked to libraries"),
        ("something else", ("-static",), "`--version` does not print one"),
    ],
)
def test_agent_that_is_another_program_is_refused(
    tmp_path: Path, prints: str, options: tuple[str, ...], why: str
) -> None:
    program = compiled(tmp_path, prints, *options)
    with pytest.raises(WrongConfiguration, match=why):
        machine(replace(OPTIONS, agent=program), {"HOME": str(tmp_path)})
    program.write_text("#!/bin/sh\necho buildkite-agent version 3.138.1\n")  # a shim
    with pytest.raises(WrongConfiguration, match="a script or something else"):
        machine(replace(OPTIONS, agent=program), {"HOME": str(tmp_path)})
