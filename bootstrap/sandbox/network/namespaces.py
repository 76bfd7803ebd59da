"""Work in the network namespace of a container: in a thread, so nothing of its image takes part."""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from bootstrap.errors import CannotStart

CLONE_NEWNET = 0x40000000

T = TypeVar("T")


def in_network_of(pid: int, work: Callable[[], T]) -> T:
    """Run `work` in a thread in the network namespace of `pid`. Raises what it raises."""
    results: list[T] = []
    failures: list[BaseException] = []

    def enter() -> None:
        try:
            enter_network_of(pid)
            results.append(work())
        except BaseException as failure:  # noqa: BLE001 - raised in the caller's thread
            failures.append(failure)

    thread = threading.Thread(target=enter, name="namespace", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def enter_network_of(pid: int) -> None:
    """Move the calling thread into the network namespace of `pid`. Raises CannotStart, OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise CannotStart(
                f"cannot enter the container's network namespace: {os.strerror(number)}",
                hint="Run Airlock as root on the host, not in a container.",
            )
    finally:
        os.close(descriptor)
