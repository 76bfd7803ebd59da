"""How the agent names the files that it makes for a job, and what cannot be one.

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

    A variable whose name holds an = can take the place of one of the agent's, and always leaves
    that sign in its value. Without it these are the agent's own files, and what they hold shows
    every other such name. Raises Refused.
    """
    paths = _paths(agent)
    for name, path in paths.items():
        if "=" in str(path):
            raise Refused(
                f"{name} is {printable(str(path))!r}: expected a path without =",
                hint="Something sets it by a variable whose name holds an =. If it is the agent's "
                "own directory, set job-context-dir or TMPDIR to one without that sign.",
            )
    if len({path.parent for path in paths.values()}) > 1:
        raise Refused(
            f"{', '.join(paths)} are in different directories",
            hint="The agent makes all of a job's files in one: something set one of the variables.",
        )


def check_names(job_id: str, agent: Mapping[str, str]) -> None:
    """Refuse files of another job, whatever the environment says. Raises Refused."""
    for name, path in _paths(agent).items():
        if not re.fullmatch(_NAMES[name].format(re.escape(job_id)), path.name, re.ASCII):
            raise Refused(
                f"BUILDKITE_JOB_ID is {printable(job_id)!r}, but the agent's file for this job is "
                f"{printable(path.name)!r}",
                hint="Something sets BUILDKITE_JOB_ID; no pipeline, step or build may.",
            )


def _paths(agent: Mapping[str, str]) -> dict[str, PurePath]:
    return {name: PurePath(agent[name]) for name in _NAMES if agent.get(name)}
