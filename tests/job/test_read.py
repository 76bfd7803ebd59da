"""Only the files that the agent made for this job are read, whatever the job sets."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart, Refused, WrongConfiguration
from bootstrap.job.assemble import assemble
from bootstrap.job.read import read
from tests.job.given import JOB_ID, agent_files, job_env, process_env
from tests.lab.engine import eventually

JSON, SHELL = "BUILDKITE_ENV_JSON_FILE", "BUILDKITE_ENV_FILE"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The agent's own files; beside them is a directory into which jobs may write."""
    (tmp_path / "agent").mkdir()
    (tmp_path / "state").mkdir()
    return agent_files(tmp_path / "agent", job_env())


def planted(directory: Path, name: str = f"job-env-json-{JOB_ID}9", **env: str) -> Path:
    """Write what an attacker wants to be read: the same job with another branch."""
    path = directory / name
    path.write_text(json.dumps(job_env(BUILDKITE_BRANCH="release", **env)))
    path.chmod(0o600)
    return path


def branch(tmp_path: Path, variables: dict[str, str]) -> str:
    env = process_env(**variables)
    return assemble(read(env, writable=(tmp_path / "state",)), env).claims.env["BUILDKITE_BRANCH"]


def test_files_of_the_agent_are_read(tmp_path: Path, files: dict[str, str]) -> None:
    assert branch(tmp_path, files) == "main"
    for name in (JSON, SHELL):
        assert branch(tmp_path, {**files, name: ""}) == "main"


def test_a_planted_file_with_all_properties_is_read(tmp_path: Path, files: dict[str, str]) -> None:
    """The attacks below show something: without what each lacks, the planted file is read."""
    path = planted(tmp_path / "agent")
    assert branch(tmp_path, {**files, JSON: str(path), SHELL: ""}) == "release"


def test_a_link_to_a_planted_file_is_not_followed(tmp_path: Path, files: dict[str, str]) -> None:
    path = planted(tmp_path / "state", "anything")
    link = tmp_path / "agent" / f"job-env-json-{JOB_ID}9"
    link.symlink_to(path)
    with pytest.raises(CannotStart, match="cannot be read"):
        branch(tmp_path, {**files, JSON: str(link), SHELL: ""})


@pytest.mark.parametrize("tree", ["state", "builds", "plugins", "mirrors"])
def test_a_file_where_jobs_may_write_is_refused(
    tmp_path: Path, files: dict[str, str], tree: str
) -> None:
    deep = tmp_path / tree / "deep"
    deep.mkdir(parents=True)
    paths = {
        "BUILDKITE_BUILD_PATH": str(tmp_path / "builds"),
        "BUILDKITE_PLUGINS_PATH": str(tmp_path / "plugins"),
        "BUILDKITE_GIT_MIRRORS_PATH": str(tmp_path / "mirrors"),
    }
    marker = {"BUILDKITE_AGENT_JOB_TIMEOUT_FILE": str(deep / f"job-timeout-{JOB_ID}")}
    forged = {**files, **paths, **marker, JSON: str(planted(deep)), SHELL: ""}
    with pytest.raises(Refused, match="is in a directory that jobs may write to"):
        branch(tmp_path, forged)
    (tmp_path / "link").symlink_to(deep)
    linked = {name: value.replace(str(deep), f"{tmp_path}/link") for name, value in forged.items()}
    with pytest.raises(Refused, match="is in a directory that jobs may write to"):
        branch(tmp_path, linked)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of other users")
def test_a_file_of_the_jobs_user_is_refused(tmp_path: Path, files: dict[str, str]) -> None:
    path = planted(tmp_path / "agent")
    os.chown(path, 23000, 23000)
    with pytest.raises(Refused, match="belongs to uid 23000"):
        branch(tmp_path, {**files, JSON: str(path), SHELL: ""})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of other users")
def test_only_files_of_the_agents_user_are_read(tmp_path: Path, files: dict[str, str]) -> None:
    """Not even root's: the agent's user could name one that it must not read."""
    for path in (files[JSON], files[SHELL]):
        os.chown(path, 2000, 2000)
    assert read(files, owner=2000)["BUILDKITE_BRANCH"] == "main"
    os.chown(files[SHELL], 0, 0)
    with pytest.raises(Refused, match="belongs to uid 0 with mode 0600"):
        read(files, owner=2000)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path, files: dict[str, str]) -> None:
    path = planted(tmp_path / "agent")
    path.chmod(0o666)
    with pytest.raises(Refused, match="mode 0666"):
        branch(tmp_path, {**files, JSON: str(path), SHELL: ""})


def test_a_named_pipe_is_refused_without_blocking(tmp_path: Path, files: dict[str, str]) -> None:
    pipe = tmp_path / "agent" / f"job-env-json-{JOB_ID}9"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(Refused, match="is not a regular file"):
        branch(tmp_path, {**files, JSON: str(pipe), SHELL: ""})


def test_a_named_pipe_is_not_even_opened(tmp_path: Path, files: dict[str, str]) -> None:
    """Whoever waits in it for a reader goes on waiting: the agent's user may name anyone's pipe.

    Opening it would let whoever waits go on.
    """
    pipe = tmp_path / "agent" / f"job-env-json-{JOB_ID}9"
    os.mkfifo(pipe, 0o600)
    with subprocess.Popen(["sh", "-c", f"exec echo >{pipe}"]) as writer:
        try:
            sleeps_in = Path(f"/proc/{writer.pid}/wchan")
            eventually(lambda: sleeps_in.read_text() == "wait_for_partner", "it waits for a reader")
            with pytest.raises(Refused, match="is not a regular file"):
                branch(tmp_path, {**files, JSON: str(pipe), SHELL: ""})
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(0.5)
            os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))  # without the protection
            writer.wait(20)
        finally:
            writer.kill()


@pytest.mark.parametrize("name", [JSON, SHELL, "BUILDKITE_AGENT_JOB_TIMEOUT_FILE"])
def test_a_path_with_an_equals_sign_is_refused(
    tmp_path: Path, files: dict[str, str], name: str
) -> None:
    """`NAME=/dir` as the name of a variable leaves `/dir=value` as the value of NAME."""
    directory = tmp_path / "agent="
    directory.mkdir()
    forged = directory / Path(files[name]).name
    forged.write_bytes(Path(files[JSON]).read_bytes())
    forged.chmod(0o600)
    with pytest.raises(Refused, match="expected a path without ="):
        branch(tmp_path, {**files, name: str(forged)})


@pytest.mark.parametrize("name", [
    "job-env-json-other7", f"job-env-json-{JOB_ID}", f"job-env-json-{JOB_ID}x7",
    f"job-env-{JOB_ID}7", f"job-env-json-{JOB_ID}7.bak", f"xjob-env-json-{JOB_ID}7",
])  # fmt: skip
def test_a_file_name_that_the_agent_does_not_use_is_refused(
    tmp_path: Path, files: dict[str, str], name: str
) -> None:
    """Also the file of another job, which fulfils every other condition."""
    path = planted(tmp_path / "agent", name)
    with pytest.raises(Refused, match="the agent's file for this job is"):
        branch(tmp_path, {**files, JSON: str(path), SHELL: ""})


def test_the_files_of_another_job_are_refused(tmp_path: Path, files: dict[str, str]) -> None:
    """They agree with each other, but not with the one variable that was not forged."""
    (tmp_path / "other").mkdir()
    other = agent_files(tmp_path / "other", job_env(BUILDKITE_JOB_ID="0193-other"))
    for name, value in files.items():
        with pytest.raises(Refused, match="are in different directories"):
            branch(tmp_path, {**other, name: value})


def test_files_that_disagree_are_refused(tmp_path: Path, files: dict[str, str]) -> None:
    path = planted(tmp_path / "agent", DEPLOY="yes")
    with pytest.raises(Refused, match="disagree about BUILDKITE_BRANCH, DEPLOY"):
        branch(tmp_path, {**files, JSON: str(path)})


def test_an_environment_that_names_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongConfiguration, match="neither"):
        branch(tmp_path, {SHELL: ""})
