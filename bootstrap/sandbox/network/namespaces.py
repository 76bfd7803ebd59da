"""Work in the network namespace of a container: in a thread, so nothing of its image takes part."""

import ctypes
import os
from collections.abc import Callable
from typing import TypeVar

from bootstrap.concurrent import Begun
from bootstrap.errors import CannotStart
from bootstrap.libc import LIBC

CLONE_NEWNET = 0x40000000

T = TypeVar("T")


def in_network_of(pid: int, work: Callable[[], T]) -> T:
    """Run `work` in a thread in the network namespace of `pid`. Raises what it raises."""

    def inside() -> T:
        enter_network_of(pid)
        return work()

    return Begun(inside, "namespace").result()


def enter_network_of(pid: int) -> None:
    """Move the calling thread into the network namespace of `pid`. Raises CannotStart, OSError."""
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if LIBC.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise CannotStart(
                f"cannot enter the container's network namespace: {os.strerror(number)}",
                hint="Run Airlock as root on the host, not in a container.",
            )
    finally:
        os.close(descriptor)
