"""The environment that Buildkite's backend sends with a job."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any


def job_env(
    command: str,
    *,
    repository: str = "http://127.0.0.1:9/nothing.git",
    commit: str = "HEAD",
    agent: str = "agent-1",
    plugins: Sequence[Any] = (),
    overrides: Mapping[str, str | None] | None = None,
) -> dict[str, str]:
    """Return a complete job environment of a build on main that a user started.

    `overrides` replace, add or (None) remove names; neither names nor values are checked.
    """
    env: dict[str, str | None] = {
        **_PIPELINE,
        **_BUILD,
        **_identities(),
        "BUILDKITE_REPO": repository,
        "BUILDKITE_COMMIT": commit,
        "BUILDKITE_COMMAND": command,
        "BUILDKITE_SCRIPT_PATH": command,
        "BUILDKITE_AGENT_NAME": agent,
        "BUILDKITE_PLUGINS": json.dumps(list(plugins)) if plugins else None,
        **(overrides or {}),
    }
    return {name: value for name, value in env.items() if value is not None}


_PIPELINE = {
    "CI": "true",
    "BUILDKITE": "true",
    "BUILDKITE_ORGANIZATION_ID": "0190e0a0-0000-4000-8000-0000000000a1",
    "BUILDKITE_ORGANIZATION_SLUG": "acme",
    "BUILDKITE_PIPELINE_ID": "0190e0a0-0000-4000-8000-0000000000b1",
    "BUILDKITE_PIPELINE_NAME": "Storefront",
    "BUILDKITE_PIPELINE_SLUG": "storefront",
    "BUILDKITE_PIPELINE_PROVIDER": "github",
    "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main",
    "BUILDKITE_PIPELINE_TEAMS": "platform",
    "BUILDKITE_PROJECT_PROVIDER": "github",
    "BUILDKITE_PROJECT_SLUG": "acme/storefront",
    "BUILDKITE_CLUSTER_ID": "0190e0a0-0000-4000-8000-0000000000c1",
    "BUILDKITE_CLUSTER_NAME": "fleet",
    "BUILDKITE_COMPUTE_TYPE": "self-hosted",
}

_BUILD = {
    "BUILDKITE_BUILD_NUMBER": "42",
    "BUILDKITE_BUILD_URL": "https://buildkite.example.com/acme/storefront/builds/42",
    "BUILDKITE_BUILD_CREATOR": "Ada",
    "BUILDKITE_BUILD_CREATOR_EMAIL": "ada@example.com",
    "BUILDKITE_BUILD_CREATOR_TEAMS": "platform:everyone",
    "BUILDKITE_BUILD_AUTHOR": "Ada",
    "BUILDKITE_BUILD_AUTHOR_EMAIL": "ada@example.com",
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_TAG": "",
    "BUILDKITE_MESSAGE": "Ship it\n\nAll of it.",
    "BUILDKITE_SOURCE": "ui",
    "BUILDKITE_PULL_REQUEST": "false",
    "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "",
    "BUILDKITE_PULL_REQUEST_REPO": "",
    "BUILDKITE_REBUILT_FROM_BUILD_ID": "",
    "BUILDKITE_REBUILT_FROM_BUILD_NUMBER": "",
    "BUILDKITE_TRIGGERED_FROM_BUILD_ID": "",
    "BUILDKITE_TRIGGERED_FROM_BUILD_NUMBER": "",
    "BUILDKITE_TRIGGERED_FROM_BUILD_PIPELINE_SLUG": "",
    "BUILDKITE_STEP_KEY": "deploy",
    "BUILDKITE_LABEL": ":rocket: Deploy",
    "BUILDKITE_GROUP_ID": "",
    "BUILDKITE_GROUP_KEY": "",
    "BUILDKITE_GROUP_LABEL": "",
    "BUILDKITE_ARTIFACT_PATHS": "",
    "BUILDKITE_RETRY_COUNT": "0",
    "BUILDKITE_RETRY_TYPE": "",
    "BUILDKITE_TIMEOUT": "false",
    "BUILDKITE_AGENT_META_DATA_QUEUE": "default",
}


def _identities() -> dict[str, str]:
    """Return random ids: every job is of a build of its own unless a test overrides that."""
    names = ("BUILDKITE_JOB_ID", "BUILDKITE_BUILD_ID", "BUILDKITE_STEP_ID", "BUILDKITE_AGENT_ID")
    return {name: str(uuid.uuid4()) for name in names}
