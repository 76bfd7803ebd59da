"""Pseudo-terminals are counted for the whole machine: each container gets a share of its own.

Without one, a job that opens /dev/ptmx often enough leaves none for the commands of other jobs,
which the bootstrap runs on a terminal. Docker has no setting for it, so the container's devpts is
reconfigured from outside, before anything of the job runs (fspick(2), Linux 5.2).
"""

import ctypes
import os
from pathlib import Path

from bootstrap.errors import CannotStart

SHARE = 256  # terminals of one container
_SYSCTL = Path("/proc/sys/kernel/pty")
# The same numbers on every architecture, as for all system calls since Linux 5.1.
_FSCONFIG, _FSPICK = 431, 433
_SET_STRING, _RECONFIGURE = 1, 7
_HERE = -100  # AT_FDCWD


def limit(pid: int, slots: int) -> None:
    """Give the container of process `pid` its share, and the machine enough for all slots.

    A runtime with terminals of its own, such as gVisor's, has none to share. Raises CannotStart.
    """
    try:
        _raise_machines_limit(slots)
        if _options(pid) is not None:
            _reconfigure(pid)
    except OSError as failed:
        raise _cannot(failed.strerror or str(failed)) from failed


def _raise_machines_limit(slots: int) -> None:
    """`reserve` of the machine's terminals are never a container's."""
    wanted = int((_SYSCTL / "reserve").read_text()) + slots * SHARE
    if int((_SYSCTL / "max").read_text()) < wanted:
        (_SYSCTL / "max").write_text(str(wanted))


def _options(pid: int) -> list[str] | None:
    """Return the options of the container's own devpts, as proc(5) shows them in mountinfo."""
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        place, _, what = line.partition(" - ")
        kind, _, options = what.split(" ")
        if place.split(" ")[4] == "/dev/pts" and kind == "devpts":
            major, _, minor = place.split(" ")[2].partition(":")
            return _checked(pid, os.makedev(int(major), int(minor)), options.split(","))
    return None


def _checked(pid: int, device: int, options: list[str]) -> list[str]:
    """The image may lead the path elsewhere, and a container may have been given the host's."""
    if device == Path("/dev/pts").stat().st_dev or device != _path(pid).stat().st_dev:
        raise _cannot("its /dev/pts is not its own")
    return options


def _path(pid: int) -> Path:
    return Path(f"/proc/{pid}/root/dev/pts")


def _reconfigure(pid: int) -> None:
    """What is not named again falls back to the kernel's default, so everything is."""
    options = _options(pid) or []
    kept = dict(option.split("=", 1) for option in options if "=" in option)
    descriptor = _call(_FSPICK, _HERE, ctypes.c_char_p(bytes(_path(pid))), 0)
    try:
        for name, value in {**kept, "max": str(SHARE)}.items():
            key, text = ctypes.c_char_p(name.encode()), ctypes.c_char_p(value.encode())
            _call(_FSCONFIG, descriptor, _SET_STRING, key, text, 0)
        _call(_FSCONFIG, descriptor, _RECONFIGURE, None, None, 0)
    finally:
        os.close(descriptor)
    if f"max={SHARE}" not in (_options(pid) or []):
        raise _cannot("the kernel did not take the limit")


def _call(number: int, *arguments: object) -> int:
    result = int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _cannot(why: str) -> CannotStart:
    return CannotStart(
        f"the container's terminals cannot be limited: {why}",
        hint="Airlock needs Linux 5.3 or newer, and an image without a /dev of its own.",
    )
