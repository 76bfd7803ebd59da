"""Forks processes that share what the service has loaded, and none of its descriptors."""

import os
import resource
import signal
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress

from bootstrap.libc import LIBC

_PR_SET_NAME = 15
# What the service's own handlers are for; a child that needs others sets them.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def fork(action: Callable[[], object], keep: Iterable[int]) -> int:
    """Run `action` in a new process and return its pid. Raises OSError if there can be none.

    The process has a session of its own, default signal handlers, and of the service's descriptors
    only 0, 1, 2 and those in `keep`. When `action` returns it ends with status 0.
    """
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _become_child(keep)
        action()
        status = 0
    except BaseException:  # noqa: BLE001 - nothing of a child may return into the service's loop
        with suppress(BaseException):
            traceback.print_exc()
    finally:
        os._exit(status)


def be_named(name: str) -> None:
    """Name this process for ps(1), as what it does for the service."""
    LIBC.prctl(_PR_SET_NAME, f"airlock:{name}".encode(), 0, 0, 0)


def _become_child(keep: Iterable[int]) -> None:
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()
    close_others(keep)


def close_others(keep: Iterable[int]) -> None:
    """Close every descriptor above 2 that is not in `keep`."""
    first = 3
    for descriptor in sorted(keep):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
