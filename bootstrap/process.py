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


def detach(argv: Sequence[str]) -> None:
    """Start a program that outlives us: in a session of its own, with none of our descriptors.

    Signals mean to it what they mean by default, whatever this process ignores. Raises CannotStart
    if it cannot be started; how it ends nobody hears.
    """
    nothing = subprocess.DEVNULL
    own_session = ["env", "--default-signal", "setsid", "--fork", *argv]
    try:
        subprocess.run(
            own_session, stdin=nothing, stdout=nothing, stderr=nothing,
            env=ENVIRONMENT, cwd="/", timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as failed:
        raise _failed(own_session, str(failed)) from failed


def _failed(argv: Sequence[str], what: str) -> CannotStart:
    return CannotStart(
        f"`{' '.join(argv)[:200]}` failed: {what}",
        hint="Are iproute2, nftables, util-linux and the other programs of "
        "docs/install.md#requirements installed on this host, and does Airlock run as root?",
    )
