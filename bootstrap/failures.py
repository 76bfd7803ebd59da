"""How a command reports that it failed: lines for people, or one line of JSON for programs."""

import errno
import itertools
import json
import traceback
from collections.abc import Sequence
from pathlib import Path

from bootstrap.errors import AirlockError, InternalError
from bootstrap.text import on_terminal

_PACKAGE = Path(__file__).parent
_FRAMES = 3
# Why output cannot be written. Other errors that name no file are those of sockets and processes.
_OF_OUTPUT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def is_json_wanted(argv: Sequence[str]) -> bool:
    """Return whether the arguments ask for JSON, whatever else is wrong with them."""
    follows = itertools.pairwise(argv)
    return bool({"--json", "--format=json"} & set(argv)) or ("--format", "json") in follows


def shown(message: str, *, hint: str, status: int, details: Sequence[str] = ()) -> str:
    """Return the error as one line of JSON: {"error": {"message", "hint", "exit", "details"}}."""
    error = {"message": message, "hint": hint, "exit": status, "details": list(details)}
    return json.dumps({"error": error})


def of(error: AirlockError, *, as_json: bool) -> str:
    """Return what to print on standard error, with its line ends."""
    if as_json:
        status, details = error.exit_code, error.details
        return f"{shown(error.problem, hint=error.hint, status=status, details=details)}\n"
    lines = (f"airlock: {error.problem}", *error.details, error.hint)
    return "".join(f"{on_terminal(line)}\n" for line in lines)


def unwritten(failed: OSError) -> InternalError:
    """Return the error for output that could not be written, or for a file that nobody expected."""
    if failed.filename is not None:
        return InternalError(str(failed), hint="Check the file and its permissions.")
    if failed.errno not in _OF_OUTPUT:
        return InternalError(str(failed), hint="Run it again; please report it if that fails too.")
    return InternalError(
        f"standard output cannot be written: {failed.strerror}",
        hint="What was printed is not complete. Run it again where there is space.",
    )


def bug(unexpected: Exception) -> InternalError:
    """Return the error for an exception that no command expects, with where it was raised.

    Its message may contain what a file contains, and so does a traceback: neither is printed.
    """
    frames = [
        f"{Path(frame.filename).relative_to(_PACKAGE.parent)}:{frame.lineno}, in {frame.name}"
        for frame in traceback.extract_tb(unexpected.__traceback__)
        if Path(frame.filename).is_relative_to(_PACKAGE)
    ]
    return InternalError(
        f"a bug of Airlock: {type(unexpected).__name__}, and nothing that this says can be trusted",
        hint="Please report it, with these lines and the input if it is not confidential.",
        details=tuple(frames[-_FRAMES:]),
    )
