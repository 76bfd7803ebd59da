"""Where a replay puts what its job has made: artifacts, annotations, pipelines, a checkout."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bootstrap.errors import WrongConfiguration

ARTIFACTS = "artifacts"


@contextmanager
def directory(path: Path) -> Iterator[None]:
    """Create it, and remove what is empty of it at the end.

    Replays of the same job may share it. Raises WrongConfiguration if nothing can be created there.
    """
    created = [one for one in (path, *path.parents) if not os.path.lexists(one)]
    ignored = path.parent / ".gitignore"
    try:
        descriptor = _shared(path)
        if path.parent in created:  # in a working copy, it is no change of the developer's
            ignored.write_text("*\n")
    except OSError as refused:
        raise WrongConfiguration(
            f"the job's artifacts cannot go to {path}: {refused.strerror}",
            hint="Name another directory with --output, or replay from a directory of your own.",
        ) from refused
    try:
        yield
    finally:
        with suppress(OSError):  # it is not empty, or another replay uses it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for empty in dict.fromkeys((path / ARTIFACTS, path, *created)):
                if empty == path.parent and list(empty.iterdir()) == [ignored]:
                    ignored.unlink()
                if empty.exists():
                    empty.rmdir()
        os.close(descriptor)


def _shared(path: Path) -> int:
    """Create a directory, and return a descriptor that keeps others from removing it."""
    while True:
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            (path / ARTIFACTS).mkdir(exist_ok=True)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:  # another replay has just removed it
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def listed(path: Path) -> str:
    """Return what is there, as one line; "" if that is nothing. Raises OSError."""
    if not path.is_dir():
        return ""
    return ", ".join(f"{one.name}/" if one.is_dir() else one.name for one in sorted(path.iterdir()))
