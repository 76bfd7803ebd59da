"""Every job that is known has a record of its own, also one that ends before a decision."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bootstrap.replay.inputs.read import read_input
from tests.job.given import JOB_ID
from tests.test_cli import Done, airlock, as_agent, configured

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="airlock bootstrap needs root")
COMMANDS = pytest.mark.parametrize("command", ["bootstrap", "admit"])


def run(command: str, tmp_path: Path, *, policy: str | None = None, **env: str) -> Done:
    config = configured(tmp_path)
    if policy is not None:
        (tmp_path / "policies/storefront.yaml").write_text(policy)
    return airlock(command, "--config", str(config), env=as_agent(tmp_path, **env))


def record(tmp_path: Path) -> dict[str, Any]:
    (path,) = (tmp_path / "state/records").iterdir()
    assert path.name == f"{JOB_ID}.0.json"
    assert path.stat().st_mode & 0o777 == 0o600
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def kinds(of: dict[str, Any]) -> list[str]:
    return [event["event"] for event in of["events"]]


@COMMANDS
def test_a_refused_job_has_a_record_by_the_hook_too(tmp_path: Path, command: str) -> None:
    assert run(command, tmp_path, BUILDKITE_PULL_REQUEST="7").returncode == 77
    found = record(tmp_path)
    assert kinds(found)[0] == "denied"
    assert found["env"]["BUILDKITE_PULL_REQUEST"] == "7"
    ended = read_input(str(next((tmp_path / "state/records").iterdir())), {}).ended
    assert ended is not None
    assert (ended.code, ended.whose) == (77, "airlock")
    assert "pull-request" in ended.problem


@COMMANDS
def test_a_job_whose_policy_cannot_be_read_has_one(tmp_path: Path, command: str) -> None:
    assert run(command, tmp_path, policy="rules: [").returncode == 78
    found = record(tmp_path)
    assert kinds(found) == ["failed"]
    assert found["events"][0]["exit_code"] == 78


@COMMANDS
def test_a_job_that_no_decision_can_be_about_has_one(tmp_path: Path, command: str) -> None:
    done = run(command, tmp_path, BUILDKITE_BRANCH="", NPM_TOKEN="npm-secret", NOTE="npm-secret")
    assert done.returncode == 77
    assert "the job lacks BUILDKITE_BRANCH" in done.stdout
    found = record(tmp_path)
    assert kinds(found) == ["failed"]
    assert (found["pipeline"], found["env"]["NPM_TOKEN"]) == ("storefront", None)
    assert found["masked"] == ["NOTE"]
    assert "npm-secret" not in json.dumps(found)


@pytest.mark.parametrize("job", ["../evil", "another-jobs-id", "", "a" * 300])
@COMMANDS
def test_an_id_that_is_not_that_of_the_files_names_no_record(
    tmp_path: Path, command: str, job: str
) -> None:
    env = as_agent(tmp_path)
    for name in ("BUILDKITE_ENV_JSON_FILE", "BUILDKITE_ENV_FILE"):
        path = Path(env[name])
        text = path.read_text().replace(f'"{JOB_ID}"', json.dumps(job))
        path.write_text(text)
    done = airlock(command, "--config", str(configured(tmp_path)), env=env)
    assert done.returncode == 77
    assert not (tmp_path / "state/records").exists()
    assert '"event": "failed"' in (tmp_path / "records.jsonl").read_text()


def test_a_job_that_the_hook_refuses_for_its_loader_variables_has_one(tmp_path: Path) -> None:
    assert run("admit", tmp_path, LD_PRELOAD="/evil.so").returncode == 77
    found = record(tmp_path)
    assert kinds(found) == ["failed"]
    assert "LD_PRELOAD" in found["events"][0]["problem"]


def test_a_job_that_is_admitted_by_the_hook_has_none_yet(tmp_path: Path) -> None:
    assert run("admit", tmp_path).returncode == 0
    assert not (tmp_path / "state/records").exists()


def test_what_a_replay_needs_of_the_agent_is_in_it(tmp_path: Path) -> None:
    config = configured(tmp_path)
    env = as_agent(tmp_path, BUILDKITE_PULL_REQUEST="7")
    env |= {"BUILDKITE_SHELL": "/bin/bash -e -c", "BUILDKITE_GIT_CLEAN_FLAGS": "-ffxdq"}
    airlock("bootstrap", "--config", str(config), env=env)
    found = record(tmp_path)["agent_env"]
    assert (found["BUILDKITE_SHELL"], found["BUILDKITE_GIT_CLEAN_FLAGS"]) == (
        "/bin/bash -e -c", "-ffxdq",
    )  # fmt: skip
    assert "BUILDKITE_AGENT_ACCESS_TOKEN" not in found


def test_the_grant_of_an_admitted_job_is_in_it(tmp_path: Path) -> None:
    policy = (
        "pipeline: storefront\nrepository: git@github.com:acme/storefront.git\nrules:\n"
        "  - {name: all, allow: {image: 'job:2', limits: {memory: 1GiB}}}\n"
    )
    assert run("bootstrap", tmp_path, policy=policy).returncode == 125, "there is no engine"
    found = record(tmp_path)
    assert kinds(found) == ["admitted", "failed"]
    grant = found["events"][0]["grant"]
    assert grant["image"] == "job:2"
    assert grant["limits"] == {"memory": 1 << 30, "cpus": None, "pids": None}


@COMMANDS
def test_a_secret_is_in_no_place_of_record_and_trail(tmp_path: Path, command: str) -> None:
    """A pipeline has put it where its author needed it; the condition makes each place a reason."""
    secret = "Pl4nted-value"
    policy = (
        "pipeline: storefront\nrepository: git@github.com:acme/storefront.git\nrules:\n"
        "  - {name: r, allow: {}, when: {command: x, plugin: y, agent-tag: {note: z}, "
        "env: {NOTE: a, NPM_TOKEN: b}}}\n"
    )
    done = run(
        command, tmp_path, policy=policy, NPM_TOKEN=secret, BUILDKITE_COMMAND=f"curl -u x:{secret}",
        BUILDKITE_PLUGINS=json.dumps([{"./p": {"a": f'"{secret}"'}}]), NOTE=f"a{secret}b",
        BUILDKITE_MESSAGE=f"with {secret}", BUILDKITE_LABEL=secret, SPREAD=f"{secret}{secret}",
        BUILDKITE_AGENT_META_DATA_NOTE=f"{secret}-tag", URL=f"https://u:{secret}@h.example.com/",
    )  # fmt: skip
    assert done.returncode == 77, done.stdout
    found = record(tmp_path)
    assert secret not in json.dumps(found)
    assert secret not in (tmp_path / "records.jsonl").read_text()
    assert found["env"]["BUILDKITE_COMMAND"] == "curl -u x:***"
    assert set(found["masked"]) == {
        "BUILDKITE_COMMAND", "BUILDKITE_PLUGINS", "NOTE", "BUILDKITE_MESSAGE", "BUILDKITE_LABEL",
        "SPREAD", "BUILDKITE_AGENT_META_DATA_NOTE",
    }  # fmt: skip
    got = {reason["subject"]: reason["got"] for reason in found["events"][0]["reasons"]}
    assert got["command"] == "curl -u x:***"
