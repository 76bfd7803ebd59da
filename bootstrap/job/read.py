"""The environment files that the agent wrote for this job: the only reader."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from bootstrap.buildkite.agent_files import check_paths
from bootstrap.buildkite.env_files import MAX_FILE, parse_json, parse_shell
from bootstrap.errors import CannotStart, Refused, WrongConfiguration
from bootstrap.text import printable

_FILES: dict[str, Callable[[bytes], dict[str, str]]] = {
    "BUILDKITE_ENV_JSON_FILE": parse_json,  # agent >= 3.82
    "BUILDKITE_ENV_FILE": parse_shell,
}


def read(
    process_env: Mapping[str, str], *, owner: int | None = None, writable: Iterable[Path] = ()
) -> dict[str, str]:
    """Return the environment of the job that the agent started this process for.

    `owner` is the user that the agent runs as; the default is this process's own. `writable` are
    the directories into which jobs of this host may write: no file below them is accepted.
    Raises Refused if the files are not what the agent made for this job, CannotStart as the parsers
    do and if a file cannot be read, WrongConfiguration if no file is named.
    """
    check_paths(process_env)
    owner = os.geteuid() if owner is None else owner
    trees = (*writable, *(Path(p) for p in map(process_env.get, _JOB_WRITES) if p))
    environments = {
        name: parse(_bytes(Path(path), owner, trees))
        for name, parse in _FILES.items()
        if (path := process_env.get(name))
    }
    if not environments:
        raise WrongConfiguration(
            f"neither {' nor '.join(_FILES)} is set",
            hint="`airlock bootstrap` is started by buildkite-agent, as its bootstrap-script.",
        )
    env, *others = environments.values()
    for other in others:
        _check_equal(env, other)
    return env


_JOB_WRITES = ("BUILDKITE_BUILD_PATH", "BUILDKITE_PLUGINS_PATH", "BUILDKITE_GIT_MIRRORS_PATH")


def _check_equal(one: Mapping[str, str], other: Mapping[str, str]) -> None:
    differing = sorted(n for n in one.keys() | other.keys() if one.get(n) != other.get(n))
    if differing:
        raise Refused(
            f"{' and '.join(_FILES)} disagree about {printable(', '.join(differing), limit=200)}",
            hint="The agent writes the same job into both. If a hook on this host appends to one, "
            "set such variables in the pipeline or in a hook inside the sandbox instead.",
        )


def _bytes(path: Path, owner: int, trees: Iterable[Path]) -> bytes:
    try:
        data = _read(path, owner, trees)
    except (OSError, ValueError) as unreadable:
        raise CannotStart(
            f"the job's environment file {printable(str(path))} cannot be read: {unreadable}",
            hint="The agent writes it for its own user: Airlock has to be root, or that user.",
        ) from unreadable
    if len(data) > MAX_FILE:
        raise CannotStart(
            f"the job's environment file {printable(str(path))} has over {MAX_FILE} bytes",
            hint="Move large values of the build's environment into meta-data or artifacts.",
        )
    return data


def _read(path: Path, owner: int, trees: Iterable[Path]) -> bytes:
    """Read a file that no job can have created: owned by the agent's user, and not a link."""
    directory = path.parent.resolve(strict=True)
    if any(directory.is_relative_to(tree.resolve()) for tree in trees):
        raise _untrusted(path, "is in a directory that jobs may write to")
    # PATH: what is no such file must not be opened. That alone has an effect on a device (it starts
    # a watchdog) and on a named pipe (whoever writes to it is let go on, and then fails).
    found = os.open(directory / path.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _check(path, os.fstat(found), owner)
        with open(f"/proc/self/fd/{found}", "rb") as file:  # noqa: PTH123 - the file that was checked
            return file.read(MAX_FILE + 1)
    finally:
        os.close(found)


def _check(path: Path, status: os.stat_result, owner: int) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not stat.S_ISREG(status.st_mode):
        raise _untrusted(path, "is not a regular file")
    if status.st_uid != owner or mode & 0o022:
        raise _untrusted(path, f"belongs to uid {status.st_uid} with mode {mode:04o}")


def _untrusted(path: Path, what: str) -> Refused:
    return Refused(
        f"the job's environment file {printable(str(path))} {what}",
        hint="Expected a file that the agent made for its own user alone, outside of all build "
        "directories. Set job-context-dir, or the agent's TMPDIR, to a directory of the agent's.",
    )
