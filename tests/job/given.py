"""What an agent passes, for tests that need no agent."""

import json
from pathlib import Path

JOB_ID = "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
TOKEN = "bkaj_the-jobs-own-token"


def job_env(**overrides: str) -> dict[str, str]:
    """Return Buildkite's environment of a build of main that was started in the UI."""
    standard = {
        "CI": "true",
        "BUILDKITE_JOB_ID": JOB_ID,
        "BUILDKITE_BUILD_ID": "0193a1b2-0000-7000-8000-000000000000",
        "BUILDKITE_BUILD_NUMBER": "42",
        "BUILDKITE_BUILD_CREATOR": "Ada",
        "BUILDKITE_BUILD_CREATOR_EMAIL": "ada@example.com",
        "BUILDKITE_BUILD_CREATOR_TEAMS": "platform:everyone",
        "BUILDKITE_ORGANIZATION_SLUG": "acme",
        "BUILDKITE_PIPELINE_SLUG": "storefront",
        "BUILDKITE_PIPELINE_PROVIDER": "github",
        "BUILDKITE_REPO": "git@github.com:acme/storefront.git",
        "BUILDKITE_BRANCH": "main",
        "BUILDKITE_COMMIT": "3c44caebd2fcfca65b567fe290a1e31485d54f5b",
        "BUILDKITE_PULL_REQUEST": "false",
        "BUILDKITE_SOURCE": "ui",
        "BUILDKITE_STEP_KEY": "deploy",
        "BUILDKITE_AGENT_NAME": "agent-1",
        "BUILDKITE_AGENT_META_DATA_QUEUE": "deploy",
        "BUILDKITE_COMMAND": "make deploy",
    }
    return {**standard, **overrides}


def without(env: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in env.items() if name not in names}


def process_env(**overrides: str) -> dict[str, str]:
    """Return the agent's part of the process environment."""
    standard = {
        "BUILDKITE_AGENT_ACCESS_TOKEN": TOKEN,
        "BUILDKITE_AGENT_ENDPOINT": "https://agent.example.com/v3",
        "BUILDKITE_AGENT_JOB_TIMEOUT_FILE": f"/tmp/job-timeout-{JOB_ID}",
        "BUILDKITE_AGENT_PID": "4711",
        "BUILDKITE_BIN_PATH": "/usr/bin",
        "BUILDKITE_BUILD_PATH": "/var/lib/buildkite-agent/builds",
        "BUILDKITE_CANCEL_GRACE_PERIOD": "10",
        "BUILDKITE_CONFIG_PATH": "/etc/buildkite-agent/buildkite-agent.cfg",
        "BUILDKITE_ENV_FILE": f"/tmp/job-env-{JOB_ID}123",
        "BUILDKITE_HOOKS_PATH": "/etc/buildkite-agent/hooks",
        "BUILDKITE_PLUGINS_PATH": "/var/lib/buildkite-agent/plugins",
        "BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS": "-1",
    }
    return {**standard, **overrides}


def agent_files(directory: Path, env: dict[str, str]) -> dict[str, str]:
    """Write the job's files as an agent does, and return the variables that name them."""
    job_id = env["BUILDKITE_JOB_ID"]
    as_json, as_shell = (directory / f"job-env-{kind}{job_id}7" for kind in ("json-", ""))
    as_json.write_text(json.dumps(env))
    as_shell.write_text("".join(f"{name}={json.dumps(value)}\n" for name, value in env.items()))
    for file in (as_json, as_shell):
        file.chmod(0o600)
    return {
        "BUILDKITE_ENV_JSON_FILE": str(as_json),
        "BUILDKITE_ENV_FILE": str(as_shell),
        "BUILDKITE_AGENT_JOB_TIMEOUT_FILE": str(directory / f"job-timeout-{job_id}"),
    }


def plugins(*short: str) -> dict[str, str]:
    """Return what Buildkite sends for plugins that a pipeline names in short."""
    return {"BUILDKITE_PLUGINS": json.dumps([{_written_out(name): None} for name in short])}


def _written_out(short: str) -> str:
    name, mark, version = short.partition("#")
    owner = "" if "/" in name else "buildkite-plugins/"
    return f"github.com/{owner}{name}-buildkite-plugin{mark}{version}"
