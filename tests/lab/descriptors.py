"""A process without free descriptors, and what its threads do meanwhile."""

import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONG_ENOUGH = 0.5  # seconds in which a thread that never waits would take all of a processor


@contextmanager
def none_free() -> Iterator[None]:
    """Let this process open nothing until this closes. What is open stays open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def share_of_processor(thread: str) -> float:
    """Return how much of one processor the thread of this name takes for a moment."""
    (found,) = [one for one in threading.enumerate() if one.name == thread]
    assert found.ident
    clock = time.pthread_getcpuclockid(found.ident)
    began, used = time.monotonic(), time.clock_gettime(clock)
    threading.Event().wait(LONG_ENOUGH)
    return (time.clock_gettime(clock) - used) / (time.monotonic() - began)
