"""Only the files that the agent made for this job are read, however its variables were bent."""

import json
import os
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart, Refused, WrongConfiguration
from bootstrap.job.assemble import assemble
from bootstrap.job.read import read
from tests.job.given import JOB_ID, agent_files, job_env, process_env

JSON, SHELL = "BUILDKITE_ENV_JSON_FILE", "BUILDKITE_ENV_FILE"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The agent's own files; beside them is a directory into which jobs may write."""
    (tmp_path / "agent").mkdir()
    (tmp_path / "state").mkdir()
    return agent_files(tmp_path / "agent", job_env())


def planted(directory: Path, name: str = f"job-env-json-{JOB_ID}9", **env: str) -> Path:
    """What an attacker would like to be: the same job with another branch."""
    path = directory / name
    path.write_text(json.dumps(job_env(BUILDKITE_BRANCH="release", **env)))
    path.chmod(0o600)
    return path


def branch(tmp_path: Path, variables: dict[str, str]) -> str:
    env = process_env(**variables)
    return assemble(read(env, writable=(tmp_path / "state",)), env).claims.env["BUILDKITE_BRANCH"]


def test_what_the_agent_made_is_read(tmp_path: Path, files: dict[str, str]) -> None:
    assert branch(tmp_path, files) == "main"
    for name in (JSON, SHELL):
        assert branch(tmp_path, {**files, name: ""}) == "main"


def test_a_well_placed_file_would_be_believed(tmp_path: Path, files: dict[str, str]) -> None:
    """The attacks below show something: without what each lacks, the planted file is read."""
    path = planted(tmp_path / "agent")
    assert branch(tmp_path, {**files, JSON: str(path), SHELL: ""}) == "release"


def test_a_link_to_a_planted_file(tmp_path: Path, files: dict[str, str]) -> None:
    path = planted(tmp_path / "state", "anything")
    link = tmp_path / "agent" / f"job-env-json-{JOB_ID}9"
    link.symlink_to(path)
    with pytest.raises(CannotStart, match="cannot be read"):
        branch(tmp_path, {**files, JSON: str(link), SHELL: ""})


@pytest.mark.parametrize("tree", ["state", "builds", "plugins", "mirrors"])
def test_a_file_where_jobs_may_write(tmp_path: Path, files: dict[str, str], tree: str) -> None:
    deep = tmp_path / tree / "deep"
    deep.mkdir(parents=True)
    paths = {
        "BUILDKITE_BUILD_PATH": str(tmp_path / "builds"),
        "BUILDKITE_PLUGINS_PATH": str(tmp_path / "plugins"),
        "BUILDKITE_GIT_MIRRORS_PATH": str(tmp_path / "mirrors"),
    }
    marker = {"BUILDKITE_AGENT_JOB_TIMEOUT_FILE": str(deep / f"job-timeout-{JOB_ID}")}
    bent = {**files, **paths, **marker, JSON: str(planted(deep)), SHELL: ""}
    with pytest.raises(Refused, match="lies where jobs may write"):
        branch(tmp_path, bent)
    (tmp_path / "link").symlink_to(deep)
    linked = {name: value.replace(str(deep), f"{tmp_path}/link") for name, value in bent.items()}
    with pytest.raises(Refused, match="lies where jobs may write"):
        branch(tmp_path, linked)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of other users")
def test_a_file_of_the_jobs_user(tmp_path: Path, files: dict[str, str]) -> None:
    path = planted(tmp_path / "agent")
    os.chown(path, 23000, 23000)
    with pytest.raises(Refused, match="belongs to uid 23000"):
        branch(tmp_path, {**files, JSON: str(path), SHELL: ""})


def test_a_file_that_others_may_write(tmp_path: Path, files: dict[str, str]) -> None:
    path = planted(tmp_path / "agent")
    path.chmod(0o666)
    with pytest.raises(Refused, match="mode 0666"):
        branch(tmp_path, {**files, JSON: str(path), SHELL: ""})


def test_a_named_pipe_does_not_hold_anything_up(tmp_path: Path, files: dict[str, str]) -> None:
    pipe = tmp_path / "agent" / f"job-env-json-{JOB_ID}9"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(Refused, match="is not a regular file"):
        branch(tmp_path, {**files, JSON: str(pipe), SHELL: ""})


@pytest.mark.parametrize("name", [JSON, SHELL, "BUILDKITE_AGENT_JOB_TIMEOUT_FILE"])
def test_a_variable_with_a_sign_in_its_name(
    tmp_path: Path, files: dict[str, str], name: str
) -> None:
    """`NAME=/dir` as the name of a variable leaves `/dir=value` as the value of NAME."""
    directory = tmp_path / "agent="
    directory.mkdir()
    bent = directory / Path(files[name]).name
    bent.write_bytes(Path(files[JSON]).read_bytes())
    bent.chmod(0o600)
    with pytest.raises(Refused, match="expected a path without ="):
        branch(tmp_path, {**files, name: str(bent)})


@pytest.mark.parametrize("name", [
    "job-env-json-other7", f"job-env-json-{JOB_ID}", f"job-env-json-{JOB_ID}x7",
    f"job-env-{JOB_ID}7", f"job-env-json-{JOB_ID}7.bak", f"xjob-env-json-{JOB_ID}7",
])  # fmt: skip
def test_a_name_that_the_agent_would_not_give(
    tmp_path: Path, files: dict[str, str], name: str
) -> None:
    """Another job's file too, which would be everything that is asked for but this job's."""
    path = planted(tmp_path / "agent", name)
    with pytest.raises(Refused, match="the agent's file for this job is"):
        branch(tmp_path, {**files, JSON: str(path), SHELL: ""})


def test_another_jobs_files_altogether(tmp_path: Path, files: dict[str, str]) -> None:
    """They agree with each other, but not with the one variable that was not bent."""
    (tmp_path / "other").mkdir()
    theirs = agent_files(tmp_path / "other", job_env(BUILDKITE_JOB_ID="0193-other"))
    for name, value in files.items():
        with pytest.raises(Refused, match="are in different directories"):
            branch(tmp_path, {**theirs, name: value})


def test_files_that_disagree(tmp_path: Path, files: dict[str, str]) -> None:
    path = planted(tmp_path / "agent", DEPLOY="yes")
    with pytest.raises(Refused, match="disagree about BUILDKITE_BRANCH, DEPLOY"):
        branch(tmp_path, {**files, JSON: str(path)})


def test_neither_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongConfiguration, match="neither"):
        branch(tmp_path, {SHELL: ""})
