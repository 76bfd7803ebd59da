"""How the agent names the files of a job, and which paths cannot be such files.

Source: docs/agent-contract.md#the-environment-files
"""

from collections.abc import Mapping
from pathlib import PurePath

from bootstrap.errors import Refused
from bootstrap.text import printable

# What is before the job's id, and whether random digits follow it. All are made in one directory.
_NAMES = {
    "BUILDKITE_ENV_JSON_FILE": ("job-env-json-", True),
    "BUILDKITE_ENV_FILE": ("job-env-", True),
    "BUILDKITE_AGENT_JOB_TIMEOUT_FILE": ("job-timeout-", False),
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
        if not _is_of(job_id, path.name, *_NAMES[name]):
            raise Refused(
                f"BUILDKITE_JOB_ID is {printable(job_id)!r}, but the agent's file for this job is "
                f"{printable(path.name)!r}",
                hint="No pipeline, step or build may set BUILDKITE_JOB_ID. Remove it "
                "where it is set.",
            )


def _is_of(job_id: str, file: str, before: str, digits: bool) -> bool:  # noqa: FBT001 - a table's
    rest = file.removeprefix(before + job_id)
    if not file.startswith(before + job_id):
        return False
    return rest.isascii() and rest.isdigit() if digits else not rest


def _paths(agent: Mapping[str, str]) -> dict[str, PurePath]:
    return {name: PurePath(agent[name]) for name in _NAMES if agent.get(name)}
