"""The one way to run a program and wait for it.

Every program has a session of its own: the agent signals its process group to cancel a job, and
must not end the programs that Airlock needs to protect the job, or to clean up after it.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bootstrap.errors import CannotStart

# The environment of every program that Airlock runs. Never inherited: the job controls ours.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a program ended, and what it printed."""

    status: int  # negative: the signal that ended it
    output: str
    errors: str


def run(
    argv: Sequence[str], *, stdin: str | None = None, timeout: float = 10.0, cwd: Path = Path("/")
) -> str:
    """Return what `argv` prints on stdout.

    Raises CannotStart as `outcome`, and with command, status and stderr if the program fails.
    """
    ended = outcome(argv, stdin=stdin, timeout=timeout, cwd=cwd)
    if ended.status != 0:
        raise _failed(argv, f"exit status {ended.status}: {ended.errors.strip()[:500]}")
    return ended.output


def outcome(
    argv: Sequence[str], *, stdin: str | None = None, timeout: float = 10.0, cwd: Path = Path("/")
) -> Outcome:
    """Return how `argv` ends, whatever its status.

    Raises CannotStart: with the package to install if the program is missing, else with command and
    reason if it cannot be started or takes more than `timeout` seconds. If it takes longer, or this
    is interrupted, the program and what it has started are killed.
    """
    try:
        with _started(argv, cwd, takes_input=stdin is not None) as program:
            output, errors = program.communicate(stdin, timeout=timeout)
    except OSError as not_started:
        raise _not_started(argv, not_started) from not_started
    except subprocess.TimeoutExpired as late:
        raise _failed(argv, f"it did not end within {timeout:.0f} s") from late
    return Outcome(status=program.returncode, output=output, errors=errors)


def was_late(failed: CannotStart) -> bool:
    """Say whether `run` has raised this because the program took longer than its timeout."""
    return isinstance(failed.__cause__, subprocess.TimeoutExpired)


@contextmanager
def _started(
    argv: Sequence[str], cwd: Path, *, takes_input: bool
) -> Iterator["subprocess.Popen[str]"]:
    """Start a program in its own session; kill its process group if this closes with an error."""
    with subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE if takes_input else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        cwd=cwd,
        start_new_session=True,
    ) as program:
        try:
            yield program
        except BaseException:
            if program.returncode is None:  # not waited for yet, so the number is still its own
                with suppress(ProcessLookupError):
                    os.killpg(program.pid, signal.SIGKILL)
            raise


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
            env=ENVIRONMENT, cwd="/", timeout=10, check=True, start_new_session=True,
        )  # fmt: skip
    except OSError as not_started:
        raise _not_started(own_session, not_started) from not_started
    except subprocess.SubprocessError as failed:
        raise _failed(own_session, str(failed)) from failed


# Debian package -> those of its programs that Airlock runs
_PACKAGES = {
    "coreutils": ("chown", "du", "env", "rm", "timeout"),
    "dash": ("sh",),
    "findutils": ("find",),
    "nftables": ("nft",),
    "openssh-client": ("ssh-add", "ssh-agent"),
    "util-linux": ("mount", "nsenter", "prlimit", "setpriv", "setsid", "unshare"),
}


def missing() -> dict[str, str]:
    """Return those programs that Airlock runs and this host lacks, each with its Debian package."""
    places = [Path(place) for place in ENVIRONMENT["PATH"].split(":")]
    return {
        program: package
        for package, programs in _PACKAGES.items()
        for program in programs
        if not any(os.access(place / program, os.X_OK) for place in places)
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
