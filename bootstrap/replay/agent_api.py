"""The agent API of a replayed job: the offline back end, on the listener in the job's network."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from socket import socket

from bootstrap.agent_api.model import OwnIds, RefusedCall
from bootstrap.agent_api.offline.backend import Offline
from bootstrap.agent_api.offline.files import own_directory
from bootstrap.agent_api.serve import serving
from bootstrap.errors import WrongConfiguration
from bootstrap.log import JobLog
from bootstrap.replay.model import ReplayInput
from bootstrap.replay.network import API_URL
from bootstrap.replay.options import Options
from bootstrap.secret import Secret
from bootstrap.text import printable

Serve = Callable[[socket, Secret], AbstractContextManager[None]]


def directory(found: ReplayInput, options: Options) -> Path:
    """Return where the artifacts, annotations and pipelines of this job go."""
    return options.output / found.env["BUILDKITE_JOB_ID"]


def offline(found: ReplayInput, options: Options, log: JobLog) -> Serve:
    """Return what serves the API at a listener, for a job with a token. Nothing is forwarded.

    Raises WrongConfiguration without the directory of what earlier jobs uploaded.
    """
    if options.artifacts is not None and not options.artifacts.is_dir():
        raise WrongConfiguration(
            printable(f"--artifacts {options.artifacts}: there is no such directory"),
            hint="Name a directory with the artifacts of earlier jobs, such as one that "
            "`buildkite-agent artifact download` has filled, or airlock-replay/JOB/artifacts.",
        )
    return partial(_served, found, options, log)


@contextmanager
def _served(
    found: ReplayInput, options: Options, log: JobLog, listener: socket, token: Secret
) -> Iterator[None]:
    own = own_ids(found.env)
    backend = _backend(found, options, own, log)
    with (
        closing(backend),
        serving(listener, backend, job_id=own.job, token=token, refused=partial(_refused, log)),
    ):
        yield


def _backend(found: ReplayInput, options: Options, own: OwnIds, log: JobLog) -> Offline:
    """Return the back end. Raises WrongConfiguration if there can be no such directory."""
    try:
        own_directory(options.output)
        return Offline(
            directory(found, options), own, base_url=API_URL, env=found.env,
            show=partial(_show, log), secrets=options.secrets, oidc_stub=options.oidc_stub,
            meta_data=options.meta_data, provided=options.artifacts,
        )  # fmt: skip
    except OSError as refused:
        raise WrongConfiguration(
            f"nothing can be written to {refused.filename}: {refused.strerror}",
            hint="Remove it, or name another directory with --output. A replay writes through no "
            "symbolic link, which may be a repository's.",
        ) from refused


def own_ids(env: Mapping[str, str]) -> OwnIds:
    """Return what Buildkite called this job, its build and its step."""
    return OwnIds(
        job=env["BUILDKITE_JOB_ID"],
        build=env.get("BUILDKITE_BUILD_ID", ""),
        step=env.get("BUILDKITE_STEP_ID", ""),
    )


def _show(log: JobLog, text: str) -> None:
    for line in text.splitlines():
        log.note(line)


def _refused(log: JobLog, call: RefusedCall) -> None:
    log.note(f"the agent API refused {call.method} {call.path}: {call.why}")
