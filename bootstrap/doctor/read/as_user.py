"""A program as an agent's user starts it.

The agent's user may write its configuration, and so choose which program that is. It is never
started as root.
"""

import errno
import os
import pwd
from collections.abc import Sequence
from pathlib import Path

from bootstrap import process
from bootstrap.errors import WrongConfiguration


def outcome(user: str, argv: Sequence[str], *, timeout: float) -> process.Outcome:
    """Return how the program ends, as `process.outcome`.

    Raises WrongConfiguration if there is no such user, PermissionError if this is not root.
    """
    if os.geteuid() != 0:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), f"start a program of {user}")
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise WrongConfiguration(
            f"service.agents names {user}, and this host has no such user",
            hint="List the users that the agents of this host run as.",
        ) from None
    as_user = (
        "setpriv", f"--reuid={found.pw_uid}", f"--regid={found.pw_gid}", "--init-groups",
        "--no-new-privs", "--inh-caps=-all", "--",
    )  # fmt: skip
    return process.outcome([*as_user, *argv], timeout=timeout, cwd=Path("/"))
