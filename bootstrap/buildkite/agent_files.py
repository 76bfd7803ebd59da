"""How the agent names the files of a job, and which paths cannot be such files.

Source: docs/agent-contract.md#the-environment-files
"""

import re
from collections.abc import Mapping
from pathlib import PurePath

from bootstrap.errors import Refused
from bootstrap.text import printable

# Random digits follow the job's id in two of them. All are made in one directory.
_NAMES = {
    "BUILDKITE_ENV_JSON_FILE": r"job-env-json-{}[0-9]+",
    "BUILDKITE_ENV_FILE": r"job-env-{}[0-9]+",
    "BUILDKITE_AGENT_JOB_TIMEOUT_FILE": r"job-timeout-{}",
}


def check_paths(agent: Mapping[str, str]) -> None:
    """Refuse paths that the agent has not set itself. Call before any of them is opened.

    A variable whose name contains = can replace one of the agent's, and always leaves a = in its
    value. Without = these are the agent's own files, and their content shows every other such
    name. Raises Refused.
    """
    paths = _paths(agent)
    for name, path in paths.items():
        if "=" in str(path):
            raise Refused(
                f"{name} is {printable(str(path))!r}: expected a path without =",
                hint="A variable whose name contains = sets it. If the directory is the agent's "
                "own, set job-context-dir or TMPDIR to one without =.",
            )
    if len({path.parent for path in paths.values()}) > 1:
        raise Refused(
            f"{', '.join(paths)} are in different directories",
            hint="The agent makes all of a job's files in one directory: one of these variables "
            "was overwritten.",
        )


def check_names(job_id: str, agent: Mapping[str, str]) -> None:
    """Refuse files of another job, whatever the environment says. Raises Refused."""
    for name, path in _paths(agent).items():
        if not re.fullmatch(_NAMES[name].format(re.escape(job_id)), path.name, re.ASCII):
            raise Refused(
                f"BUILDKITE_JOB_ID is {printable(job_id)!r}, but the agent's file for this job is "
                f"{printable(path.name)!r}",
                hint="No pipeline, step or build may set BUILDKITE_JOB_ID. Remove it "
                "where it is set.",
            )


def _paths(agent: Mapping[str, str]) -> dict[str, PurePath]:
    return {name: PurePath(agent[name]) for name in _NAMES if agent.get(name)}
