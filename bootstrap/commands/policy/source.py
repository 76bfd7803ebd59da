"""What the policy commands share: reading policies and writing files."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from bootstrap import files
from bootstrap.errors import WrongConfiguration
from bootstrap.forms import SsmStore, Store
from bootstrap.host import config
from bootstrap.policy.catalogue import Catalogue
from bootstrap.policy.stores import whole
from bootstrap.progress import working
from bootstrap.text import counted

Output = Callable[[str], None]  # takes one line


class Form(StrEnum):
    """How a command prints what it finds."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    SARIF = "sarif"


def catalogue(directory: Path | None, config_path: Path) -> Catalogue:
    """Return all policies; test cases are not read. Raises WrongConfiguration, CannotStart."""
    if directory is not None:
        with working(f"reading {directory}"):
            return whole.folder(directory, with_cases=False).catalogue
    host = config.load(config_path)
    with working(f"reading {host.policy.store}"):
        return whole.store(host)


def readable(read: Catalogue, source: Path | None) -> Catalogue:
    """Return the policies if all could be read: an answer that leaves some out would be wrong.

    Raises WrongConfiguration with every mistake, or if there is no policy at all.
    """
    require_policies(read, source)
    details = tuple(detail for document in read.unreadable for detail in document.details)
    if details:
        raise WrongConfiguration(
            f"{source or 'the store in airlock.toml'} has "
            f"{counted(len(read.unreadable), 'document')} with mistakes",
            hint="Correct them first; this command needs every document.",
            details=details,
        )
    return read


def complete(read: Catalogue, source: Path | None, *, allow_empty: bool) -> None:
    """Raise WrongConfiguration with every mistake, or if there is no policy and that is no wish."""
    if not read.unreadable and not read.policies and not allow_empty:
        raise WrongConfiguration(
            f"{source or 'the store in airlock.toml'} holds no policies, so nothing was compared",
            hint="Policies are files named <pipeline slug>.yaml, directly in the directory. "
            "--allow-empty compares with no policies at all, as before the first one.",
        )
    if read.unreadable:
        readable(read, source)


def require_policies(read: Catalogue, source: Path | None, *, done: str = "checked") -> None:
    """Raise WrongConfiguration if there is no policy, not even one with mistakes.

    `done` is what would have been done with them.
    """
    if not read.policies and not read.unreadable:
        raise WrongConfiguration(
            f"{source or 'the store in airlock.toml'} holds no policies, so nothing was {done}",
            hint="Policies are files named <pipeline slug>.yaml, directly in the directory.",
        )


def save(path: Path, content: bytes, *, parents: bool = False) -> None:
    """Write a file whole or not at all. Raises WrongConfiguration if it cannot be written."""
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, content, 0o644)
    except (OSError, ValueError) as unwritable:  # ValueError: the path has no name, as / and .
        why = unwritable.strerror if isinstance(unwritable, OSError) else "it names no file"
        raise WrongConfiguration(
            f"{path} cannot be written: {why}",
            hint="Choose a path that you can write to.",
        ) from unwritable


def save_all(contents: Mapping[Path, bytes]) -> None:
    """Write new files, or leave none: some of them would look like all. Raises as `save`."""
    try:
        for path, content in contents.items():
            save(path, content, parents=True)
    except BaseException:
        with suppress(OSError):
            for path in contents:
                path.unlink(missing_ok=True)
        raise


def ssm_path(store: Store) -> str:
    """Return the path of a store in SSM. Raises WrongConfiguration for any other store."""
    if not isinstance(store, SsmStore):
        raise WrongConfiguration(
            f"policy.store in airlock.toml is {store}, which is not in SSM",
            hint="push and pull work on stores such as ssm:/buildkite/pipelines. Copy policies to "
            "a directory on the hosts with the tool that deploys the hosts.",
        )
    return store.path
