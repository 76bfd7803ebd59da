"""A limit of pseudo-terminals for each container: the kernel counts them for the whole machine.

Without it, a job that opens /dev/ptmx often enough leaves none for other jobs, whose commands run
on a terminal. Docker has no setting for it, so the container's devpts is reconfigured from outside
before the job runs (fspick(2), Linux 5.2).
"""

import ctypes
import os
from pathlib import Path

from bootstrap.errors import CannotStart
from bootstrap.libc import LIBC

LIMIT = 256  # terminals of one container
_SYSCTL = Path("/proc/sys/kernel/pty")
# The same numbers on every architecture, as for all system calls since Linux 5.1.
_FSCONFIG, _FSPICK = 431, 433
_SET_STRING, _RECONFIGURE = 1, 7
_HERE = -100  # AT_FDCWD


def limit(pid: int, slots: int) -> None:
    """Limit the container of process `pid` to LIMIT terminals; the machine gets as many per slot.

    Does nothing where a runtime has terminals of its own, as gVisor has. Raises CannotStart.
    """
    try:
        _raise_limit_of_machine(slots)
        options = _options(pid)
        if options is not None:
            _reconfigure(pid, options)
    except OSError as failed:
        raise _cannot(failed.strerror or str(failed)) from failed


def _raise_limit_of_machine(slots: int) -> None:
    """Keep the machine's `reserve`, which containers cannot use."""
    wanted = int((_SYSCTL / "reserve").read_text()) + slots * LIMIT
    if int((_SYSCTL / "max").read_text()) < wanted:
        (_SYSCTL / "max").write_text(str(wanted))


def _options(pid: int) -> list[str] | None:
    """Return the options of the container's own devpts, as proc(5) shows them in mountinfo."""
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        mount, _, filesystem = line.partition(" - ")
        kind, _, options = filesystem.split(" ")
        if mount.split(" ")[4] == "/dev/pts" and kind == "devpts":
            major, _, minor = mount.split(" ")[2].partition(":")
            return _checked(pid, os.makedev(int(major), int(minor)), options.split(","))
    return None


def _checked(pid: int, device: int, options: list[str]) -> list[str]:
    """An image can make the path a link, and a container can have the host's devpts."""
    if device == Path("/dev/pts").stat().st_dev or device != _path(pid).stat().st_dev:
        raise _cannot("its /dev/pts is shared with the host, or not a mount of its own")
    return options


def _path(pid: int) -> Path:
    return Path(f"/proc/{pid}/root/dev/pts")


def _reconfigure(pid: int, options: list[str]) -> None:
    """Set all options: one that is not named falls back to the kernel's default."""
    current = dict(option.split("=", 1) for option in options if "=" in option)
    descriptor = _call(_FSPICK, _HERE, ctypes.c_char_p(bytes(_path(pid))), 0)
    try:
        for name, value in {**current, "max": str(LIMIT)}.items():
            key, text = ctypes.c_char_p(name.encode()), ctypes.c_char_p(value.encode())
            _call(_FSCONFIG, descriptor, _SET_STRING, key, text, 0)
        _call(_FSCONFIG, descriptor, _RECONFIGURE, None, None, 0)
    finally:
        os.close(descriptor)
    if f"max={LIMIT}" not in (_options(pid) or []):
        raise _cannot("the kernel ignored the limit")


def _call(number: int, *arguments: object) -> int:
    result = int(LIBC.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _cannot(why: str) -> CannotStart:
    return CannotStart(
        f"the container's terminals cannot be limited: {why}",
        hint="Expected Linux 5.9 or newer, and an image without its own /dev.",
    )
