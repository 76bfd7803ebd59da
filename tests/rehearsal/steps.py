"""Running the parts of the rehearsal so that none of them outlives it, and what it needs."""

import fcntl
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

NEEDED = 9 << 30  # bytes; measured: two copies of the host, its disk, and Debian's packages
_ENDING = 15.0  # seconds for a part that the terminal has interrupted too
# A part is killed with this process, and its namespaces with it.
BOUND = ("setpriv", "--pdeathsig", "KILL", "--")


class CannotRehearse(Exception):
    """This machine lacks something, or a part has failed; the text says what to do."""


def require(directory: Path) -> None:
    """Raise CannotRehearse unless this machine has what the rehearsal needs."""
    if os.geteuid() != 0:
        raise CannotRehearse("expected root, for chroot, namespaces and a network link; use sudo")
    if platform.machine() != "x86_64":
        raise CannotRehearse(f"expected an x86_64 machine, this is {platform.machine()}")
    if not Path("/dev/net/tun").exists():
        raise CannotRehearse(
            "there is no /dev/net/tun, to which QEMU's link is attached; `modprobe tun`, or in a "
            "container `mkdir -p /dev/net && mknod /dev/net/tun c 10 200`"
        )
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "true"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode != 0:
        raise CannotRehearse(
            f"namespaces cannot be made here ({tried.stderr.strip()}); a container needs "
            "--privileged"
        )
    free = shutil.disk_usage(directory).free
    if free < NEEDED:
        raise CannotRehearse(
            f"{free / (1 << 30):.1f} GiB are free at {directory}, expected {NEEDED >> 30} GiB"
        )


@contextmanager
def alone(directory: Path) -> Iterator[int]:
    """Hold the directory until this closes; parts that have the descriptor hold it as well.

    Raises CannotRehearse if another rehearsal holds it.
    """
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotRehearse(f"another rehearsal runs in {directory}; wait for it") from None
        yield lock
    finally:
        os.close(lock)


def run(command: Sequence[str], *, lock: int | None = None, what: str, quiet: bool = False) -> None:
    """Run a part that prints its own errors. Raises CannotRehearse with `what` if it fails.

    Interrupted, it waits until the part has ended, and kills it if it does not.
    """
    held = () if lock is None else (lock,)
    output = subprocess.DEVNULL if quiet else None
    with subprocess.Popen(command, stdout=output, pass_fds=held) as part:
        try:
            status = part.wait()
        except KeyboardInterrupt:
            with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                part.wait(_ENDING)
            part.kill()
            raise
    if status != 0:
        raise CannotRehearse(what)
