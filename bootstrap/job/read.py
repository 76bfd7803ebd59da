"""The only reader of what the agent left on disk for this job."""

from collections.abc import Callable, Mapping
from pathlib import Path

from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.job.assemble import assemble
from bootstrap.job.envfile import MAX_FILE, parse_json, parse_shell
from bootstrap.job.model import Job

_FILES: dict[str, Callable[[bytes], dict[str, str]]] = {
    "BUILDKITE_ENV_JSON_FILE": parse_json,  # agent >= 3.82
    "BUILDKITE_ENV_FILE": parse_shell,
}


def read(process_env: Mapping[str, str]) -> Job:
    """Return the job that the agent started this process for.

    Raises Refused, WrongConfiguration or CannotStart as `assemble` and the parsers do, and if no
    environment file can be read.
    """
    for name, parse in _FILES.items():
        if path := process_env.get(name):
            return assemble(parse(_bytes(Path(path))), process_env)
    raise WrongConfiguration(
        f"neither {' nor '.join(_FILES)} is set",
        hint="`airlock bootstrap` is started by buildkite-agent, as its bootstrap-script.",
    )


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as unreadable:
        raise CannotStart(
            f"the job's environment file {path} cannot be read: {unreadable}",
            hint="The agent writes it for its own user: Airlock has to run as that user or root.",
        ) from unreadable
    if len(data) > MAX_FILE:
        raise CannotStart(
            f"the job's environment file {path} has over {MAX_FILE} bytes",
            hint="Move large values of the build's environment into meta-data or artifacts.",
        )
    return data
