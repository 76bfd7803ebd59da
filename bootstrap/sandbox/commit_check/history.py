"""Caches of repositories' histories for commit-on-branch. `host.storage` bounds them.

One directory per pipeline and repository, however its URL is spelled. Only the container of the
check reads or writes its files.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bootstrap.host.trees import locked_tree
from bootstrap.job.model import Claims
from bootstrap.job.repository import name_of
from bootstrap.sandbox.workspace import prepare_trees

_DIRECTORY, _PART = "ancestry", "history"


def path_of(state: Path, claims: Claims) -> Path:
    """Return the path of the cache for the job's pipeline and repository; it may not exist."""
    return state / _DIRECTORY / _key(claims)


@contextmanager
def locked_cache(
    state: Path, path: Path, *, uid: int, note: Callable[[str], object]
) -> Iterator[Path]:
    """Lock the cache at `path`, and yield its directory, which belongs to `uid`.

    Waits while another check uses it. `note` gets a line if its files were discarded. Raises
    CannotStart.
    """
    with locked_tree(path, wait=True):
        prepare_trees(state, path, (_PART,), uid=uid, note=note)
        yield path / _PART


def _key(claims: Claims) -> str:
    """Name the cache: one per pipeline, so that none can write to another's."""
    parties = repr(
        (claims.organization, claims.pipeline, name_of(claims.repository) or claims.repository)
    )
    return hashlib.sha256(parties.encode("utf-8", "surrogateescape")).hexdigest()[:32]
