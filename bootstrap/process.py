"""The one way to run a program and wait for it."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from bootstrap.errors import CannotStart

# The environment of every program that Airlock runs. Never inherited: the job controls ours.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def run(
    argv: Sequence[str], *, stdin: str | None = None, timeout: float = 10.0, cwd: Path = Path("/")
) -> str:
    """Return what `argv` prints on stdout.

    Raises CannotStart: with the package to install if the program is missing, else with command,
    status and stderr if it cannot be started, fails or takes more than `timeout` seconds.
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
    except OSError as not_started:
        raise _not_started(argv, not_started) from not_started
    except subprocess.TimeoutExpired as late:
        raise _failed(argv, f"it did not end within {timeout:.0f} s") from late
    if done.returncode != 0:
        raise _failed(argv, f"exit status {done.returncode}: {done.stderr.strip()[:500]}")
    return done.stdout


def detach(argv: Sequence[str]) -> None:
    """Start a program that outlives this process: in its own session, without its descriptors.

    Its signals have their default effect, whatever this process ignores. Raises CannotStart if it
    cannot be started; how it ends is not reported.
    """
    devnull = subprocess.DEVNULL
    own_session = ["env", "--default-signal", "setsid", "--fork", *argv]
    try:
        subprocess.run(
            own_session, stdin=devnull, stdout=devnull, stderr=devnull,
            env=ENVIRONMENT, cwd="/", timeout=10, check=True,
        )  # fmt: skip
    except OSError as not_started:
        raise _not_started(own_session, not_started) from not_started
    except subprocess.SubprocessError as failed:
        raise _failed(own_session, str(failed)) from failed


# Debian package -> those of its programs that Airlock runs
_PACKAGES = {
    "coreutils": ("chown", "du", "env", "rm", "stat", "timeout"),
    "dash": ("sh",),
    "findutils": ("find",),
    "iproute2": ("ip",),
    "nftables": ("nft",),
    "openssh-client": ("ssh-add", "ssh-agent"),
    "util-linux": ("mount", "nsenter", "prlimit", "setpriv", "setsid", "unshare"),
}


def _not_started(argv: Sequence[str], why: OSError) -> CannotStart:
    program = argv[0]
    if not isinstance(why, FileNotFoundError) or why.filename != program:  # or `cwd` is missing
        return _failed(argv, str(why))
    package = next((p for p, programs in _PACKAGES.items() if program in programs), program)
    return CannotStart(
        f"{program} is not installed: it is not in {ENVIRONMENT['PATH']}",
        hint=f"Install {package} on this host (that is the package's name in Debian).",
    )


def _failed(argv: Sequence[str], what: str) -> CannotStart:
    return CannotStart(
        f"`{' '.join(argv)[:200]}` failed: {what}",
        hint=f"Is Airlock running as root, and does {Path(argv[0]).name} work on this host when "
        "run by hand?",
    )
