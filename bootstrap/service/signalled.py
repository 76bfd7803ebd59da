"""The service's signals as events of its loop."""

import selectors
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from bootstrap.service.children import SIGNALS


@contextmanager
def signalled(
    selector: selectors.BaseSelector, received: Callable[[frozenset[int]], object]
) -> Iterator[None]:
    """Register an event after which `received` is called with the numbers of the signals."""
    reader, writer = socket.socketpair()
    reader.settimeout(0)
    writer.settimeout(0)
    for number in SIGNALS:
        signal.signal(number, _nothing)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    selector.register(
        reader, selectors.EVENT_READ, lambda _: received(frozenset(reader.recv(4096)))
    )
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        selector.unregister(reader)
        reader.close()
        writer.close()


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Let the signal interrupt the loop's waiting, and no more."""
