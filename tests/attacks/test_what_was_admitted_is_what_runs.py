"""A rule may name one command. A step's other attributes must not make it run another one.

Every attack also runs under a rule that grants the variable, where it has to succeed.
"""

import json

import pytest

from tests.lab.lab import ROLE, Fleet

pytestmark = pytest.mark.lab

COMMAND = "git --version; python3 -c 'pass'; echo honest"
EXECUTED = "$(echo STOLEN >&2)"


def rules(allow: str) -> str:
    return (
        f'  - name: only\n    when: {{command: "{COMMAND}"}}\n'
        f"    allow: {{role: '{ROLE}'{allow}}}\n"
    )


def ran(fleet: Fleet, env: dict[str, str]) -> tuple[str, str]:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env(COMMAND, **env))
        return fleet.control.finished(job, 60)[0], job.log.decode()


def test_code_running_variables_are_removed_unless_granted(fleet: Fleet) -> None:
    """All at once, under the rule and under one that grants them; the honest job runs too."""
    everything = {
        "BASH_ENV": EXECUTED,
        "GIT_TRACE": "2",
        "PYTHONVERBOSE": "1",
        "NODE_OPTIONS": "--import data:text/javascript,1",
    }
    fleet.policy(rules(""))
    status, honest = ran(fleet, {"MODE": "live"})
    assert status == "0", honest
    assert "\nhonest" in honest
    status, log = ran(fleet, everything)
    assert status == "0", log
    assert "\nhonest" in log
    assert "STOLEN" not in log
    assert "trace: built-in" not in log
    assert "import _frozen_importlib" not in log
    for name in everything:
        assert name in log, f"the log does not name {name}"
    fleet.policy(rules(", env: ['*']"))
    status, log = ran(fleet, everything)
    assert "STOLEN" in log
    assert "trace: built-in" in log
    assert "import _frozen_importlib" in log


def test_phases_variable_cannot_skip_command_unless_granted(fleet: Fleet) -> None:
    """A deploy that is recorded as passed, and did not run."""
    phases = {"BUILDKITE_BOOTSTRAP_PHASES": "checkout"}
    fleet.policy(rules(""))
    status, log = ran(fleet, phases)
    assert (status, "\nhonest" in log) == ("0", True), log
    fleet.policy(rules(", env: BUILDKITE_BOOTSTRAP_PHASES"))
    status, log = ran(fleet, phases)
    assert (status, "\nhonest" in log) == ("0", False), log


def test_variable_that_replaces_agents_environment_file_is_refused(fleet: Fleet) -> None:
    """The agent sets its variables after the job's, but not after names that contain =."""
    planted = fleet.base / "planted="
    planted.mkdir()
    honest = fleet.env("echo honest")
    evil = {**honest, "BUILDKITE_COMMAND": "echo STOLEN"}
    for prefix in ("job-env-json-", "job-env-"):
        file = planted / f"{prefix}{honest['BUILDKITE_JOB_ID']}1"
        file.write_text(json.dumps(evil))
        file.chmod(0o600)
    job_id = honest["BUILDKITE_JOB_ID"]
    bent = {
        f"BUILDKITE_ENV_JSON_FILE={fleet.base}/planted": f"/job-env-json-{job_id}1",
        f"BUILDKITE_ENV_FILE={fleet.base}/planted": f"/job-env-{job_id}1",
        f"BUILDKITE_AGENT_JOB_TIMEOUT_FILE={fleet.base}/planted": f"/job-timeout-{job_id}",
    }
    with fleet.agent():
        job = fleet.control.enqueue({**honest, **bent})
        assert fleet.control.finished(job, 60) == ("77", "", ""), job.log.decode()
        assert b"STOLEN" not in job.log
        assert b"honest" not in job.log
        after = fleet.control.enqueue(fleet.env("echo honest"))
        assert fleet.control.finished(after, 60)[0] == "0", after.log.decode()


def test_artifact_paths_outside_checkout_are_removed_unless_granted(fleet: Fleet) -> None:
    """It needs no other command: `artifact_paths` is an attribute of every step."""
    outside = {"BUILDKITE_ARTIFACT_PATHS": "README.md;/airlock/env"}
    honest = {"BUILDKITE_ARTIFACT_PATHS": "README.md"}

    def uploaded(env: dict[str, str]) -> list[str]:
        with fleet.agent():
            job = fleet.control.enqueue(fleet.env(COMMAND, **env))
            assert fleet.control.finished(job, 60)[0] == "0", job.log.decode()
        return sorted(str(artifact["path"]).rsplit("/", 1)[-1] for artifact in job.artifacts)

    fleet.policy(rules(""))
    assert uploaded(honest) == ["README.md"]
    assert uploaded(outside) == []
    # One path below the checkout, unless the agent splits it elsewhere.
    joined = {
        "BUILDKITE_ARTIFACT_PATHS": "README.md|/airlock/env",
        "BUILDKITE_AGENT_ARTIFACT_DELIMITER": "|",
    }
    assert uploaded(joined) == []
    fleet.policy(rules(", env: BUILDKITE_AGENT_ARTIFACT_DELIMITER"))
    assert "env" in uploaded(joined)
    fleet.policy(rules(", env: BUILDKITE_ARTIFACT_PATHS"))
    assert "env" in uploaded(outside)
