"""Trees are given up by a rename, which takes no time, and deleted behind everybody's back.

A job chooses how many files it leaves and how deeply they are nested. So nobody who waits for
something else deletes them: they are renamed into a directory beside them, and a process with the
least claim to processor and disk empties it, which outlives whoever started it.
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
    """Where trees wait for their end: on the same filesystem, so that a rename suffices."""
    return state / "trash"


def discard(state: Path, path: Path) -> bool:
    """Give up `path` and all below it; False if there was nothing. Raises CannotStart.

    Call `empty_later` afterwards.
    """
    try:
        trash(state).mkdir(mode=0o700, exist_ok=True)
        path.rename(trash(state) / f"{path.name[:64]}.{secrets.token_hex(8)}")
    except FileNotFoundError:
        return False
    except OSError as failed:
        if failed.errno not in _IN_PLACE:
            raise CannotStart(
                f"{path} could not be given up: {failed.strerror}",
                hint="Remove it by hand; `airlock gc` tries again.",
            ) from failed
        remove_tree(path)
    return True


def remove_tree(path: Path) -> None:
    """Remove `path` and all below it before this returns. Raises CannotStart.

    By rm, because a job may have nested directories deeper than Python's own can follow.
    """
    process.run(["rm", "-rf", "--one-file-system", "--", str(path)], timeout=PATIENCE)


def is_empty(state: Path) -> bool:
    """Say whether everything that was given up is gone."""
    return not trash(state).exists() or not any(trash(state).iterdir())


def empty_later(state: Path) -> None:
    """Have a process of its own empty the trash, unless one is at it. Raises CannotStart."""
    if not is_empty(state):
        process.detach(_emptying(state, "--nonblock"))


def empty_now(state: Path) -> None:
    """Empty the trash before this returns, together with whoever is at it. Raises CannotStart."""
    if not is_empty(state):
        process.run(_emptying(state), timeout=4000)


def _emptying(state: Path, *how: str) -> list[str]:
    script = resources.files("bootstrap.host").joinpath("empty_trash.sh").read_text()
    return ["sh", "-c", script, "sh", str(trash(state)), *how]
