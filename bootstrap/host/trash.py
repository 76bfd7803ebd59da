"""Trees are discarded by a rename, which takes no time, and deleted in the background.

A job decides how many files it leaves and how deeply they are nested. So they are renamed into a
directory on the same disk, and a process of low priority, which outlives its starter, deletes them.
"""

import errno
import secrets
from importlib import resources
from pathlib import Path

from bootstrap import process
from bootstrap.errors import CannotStart

PATIENCE = 300  # seconds for a tree that has to be removed at once

# A full disk may have no space for another name; another filesystem has no way to rename.
_IN_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EXDEV}


def trash(state: Path) -> Path:
    """Return the directory of discarded trees, on the filesystem of `state`."""
    return state / "trash"


def discard(state: Path, path: Path) -> bool:
    """Remove `path` and all below it from its place; False if it does not exist.

    Call `empty_in_background` afterwards. Raises CannotStart.
    """
    try:
        trash(state).mkdir(mode=0o700, exist_ok=True)
        path.rename(trash(state) / f"{path.name[:64]}.{secrets.token_hex(8)}")
    except FileNotFoundError:
        return False
    except OSError as failed:
        if failed.errno not in _IN_PLACE:
            raise CannotStart(
                f"{path} could not be removed: {failed.strerror}",
                hint="`airlock gc` tries again; if that fails too, remove it by hand.",
            ) from failed
        remove_tree(path)
    return True


def remove_tree(path: Path) -> None:
    """Delete `path` and all below it before this returns. Raises CannotStart.

    By rm, because a job can nest directories deeper than shutil can follow.
    """
    process.run(["rm", "-rf", "--one-file-system", "--", str(path)], timeout=PATIENCE)


def is_empty(state: Path) -> bool:
    """Say whether every discarded tree has been deleted."""
    return not trash(state).exists() or not any(trash(state).iterdir())


def empty_in_background(state: Path) -> None:
    """Start a process that empties the trash, unless one is running. Raises CannotStart."""
    if not is_empty(state):
        process.detach(_command(state, "--nonblock"))


def empty_now(state: Path) -> None:
    """Empty the trash before this returns, after a process that is at it. Raises CannotStart."""
    if not is_empty(state):
        process.run(_command(state), timeout=4000)


def _command(state: Path, *options: str) -> list[str]:
    script = resources.files("bootstrap.host").joinpath("empty_trash.sh").read_text()
    return ["sh", "-c", script, "sh", str(trash(state)), *options]
