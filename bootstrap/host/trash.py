"""Trees are discarded by a rename, which takes no time, and deleted in the background.

A job decides how many files it leaves and how deeply they are nested. So they are renamed into a
directory on the same disk, and a process of low priority, which outlives its starter, deletes them.
A tree that cannot be renamed into it, because the disk is full or it is on another one, is renamed
where it is.
"""

import errno
import os
import secrets
from pathlib import Path

from bootstrap import packaged, process
from bootstrap.errors import CannotStart

PATIENCE = 300  # seconds for a tree that has to be removed at once
LEVELS = 5  # of directories, which Python deletes itself
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DISCARDED = ".discarded."  # how the names of trees begin that were renamed where they are

# A full disk may have no space for another name; another filesystem has no way to rename.
_IN_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EXDEV}


def trash(state: Path) -> Path:
    """Return the directory of discarded trees, on the filesystem of `state`."""
    return state / "trash"


def discard(state: Path, path: Path) -> bool:
    """Remove `path` and all below it from its place; False if it does not exist.

    Call `empty_in_background` afterwards. Raises CannotStart.
    """
    unique = secrets.token_hex(8)
    try:
        try:
            trash(state).mkdir(mode=0o700, exist_ok=True)
            path.rename(trash(state) / f"{path.name[:64]}.{unique}")
        except OSError as failed:
            if failed.errno not in _IN_PLACE:
                raise
            path.rename(path.with_name(f"{_DISCARDED}{unique}"))
    except FileNotFoundError:
        return False
    except OSError as failed:
        raise CannotStart(
            f"{path} could not be removed: {failed.strerror}",
            hint="`airlock gc` tries again; if that fails too, remove it by hand.",
        ) from failed
    return True


def is_discarded(path: Path) -> bool:
    """Say whether `path`, in a directory of trees, waits there for its deletion."""
    return path.name.startswith(_DISCARDED)


def discarded(state: Path) -> tuple[Path, ...]:
    """Return the discarded trees that are not deleted yet, without a look into any of them.

    What is in a tree is a job's: it may be millions of names, and any name.
    """
    others = [path for path in state.glob("*") if path != trash(state)]
    # Workspaces and what Airlock creates in them belong to root: no job can name one.
    places = [
        (trash(state), "*"),
        *((path, f"{before}{_DISCARDED}*") for path in others for before in ("", "[!.]*/")),
    ]
    return tuple(path for place, pattern in places for path in place.glob(pattern))


def remove_tree(path: Path) -> None:
    """Delete `path` and all below it before this returns. Raises CannotStart.

    What is deeper than LEVELS is left to rm: a job can make it deeper than Python can follow.
    """
    try:
        _empty(os.open(path, _DIRECTORY), path.stat().st_dev, LEVELS)
        path.rmdir()
    except OSError:
        process.run(["rm", "-rf", "--one-file-system", "--", str(path)], timeout=PATIENCE)


def _empty(directory: int, device: int, levels: int) -> None:
    """Delete what is in the directory, and close it. Raises OSError.

    Follows no link, and does not enter another filesystem.
    """
    try:
        if not levels or os.fstat(directory).st_dev != device:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        with os.scandir(directory) as found:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        for name, is_directory in entries:
            if is_directory:
                below = os.open(name, _DIRECTORY, dir_fd=directory)
                _empty(below, device, levels - 1)
                os.rmdir(name, dir_fd=directory)
            else:
                os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)


def is_empty(state: Path) -> bool:
    """Say whether every discarded tree has been deleted."""
    return not discarded(state)


def empty_in_background(state: Path) -> None:
    """Start a process that empties the trash, unless one is running. Raises CannotStart."""
    if not is_empty(state):
        process.detach(_command(state, "--nonblock"))


def empty_now(state: Path) -> None:
    """Empty the trash before this returns, after a process that is at it. Raises CannotStart."""
    if not is_empty(state):
        process.run(_command(state), timeout=4000)


def _command(state: Path, *options: str) -> list[str]:
    script = packaged.text("bootstrap.host", "empty_trash.sh")
    return ["sh", "-c", script, "sh", str(state), *options]
