"""The one way to run a program and wait for it."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from bootstrap.errors import CannotStart

# What every program of ours sees. Built, never inherited: the job controls our own environment.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def run(
    argv: Sequence[str], *, stdin: str | None = None, timeout: float = 10.0, cwd: Path = Path("/")
) -> str:
    """Return what `argv` prints on stdout.

    Raises CannotStart with command, status and stderr if it cannot be started, fails or takes
    more than `timeout` seconds.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as missing:
        raise _failed(argv, f"{missing.filename} is not installed") from missing
    except subprocess.TimeoutExpired as late:
        raise _failed(argv, f"no end after {timeout:.0f} s") from late
    if done.returncode != 0:
        raise _failed(argv, f"exit status {done.returncode}: {done.stderr.strip()[:500]}")
    return done.stdout


def _failed(argv: Sequence[str], what: str) -> CannotStart:
    return CannotStart(
        f"`{' '.join(argv)[:200]}` failed: {what}",
        hint="Airlock needs root, nftables and iproute2; run the command by hand on this host.",
    )
