"""The developer's terminal, connected to that of the container (prompt.py)."""

import fcntl
import os
import selectors
import signal
import struct
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from signal import Signals
from typing import TYPE_CHECKING

from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.replay import supervise
from bootstrap.replay.result import Ended
from bootstrap.replay.sandbox import Opened
from bootstrap.sandbox import engine
from bootstrap.sandbox.supervision.signals import Cancellation, translated

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

_BUFFER = 1 << 16  # bytes
_SIZE = struct.Struct("HHHH")  # struct winsize


def require_terminal(terminal: int) -> None:
    """Raise WrongConfiguration unless a developer sits at this descriptor."""
    if not os.isatty(terminal):
        raise WrongConfiguration(
            "a prompt needs a terminal, and standard input is not one",
            hint="Run the replay in a terminal, or leave out --shell and --shell-on-failure.",
        )


def until_end(
    client: "Client", opened: Opened, cancellation: Cancellation, *, terminal: int, out: int
) -> Ended:
    """Open the start gate, connect the developer's terminal, and return how the job ended.

    The terminal is as it was before when this returns or raises. Raises StatusUnknown.
    """
    started = time.monotonic()
    with _resized() as resized, _raw(terminal):
        _pass_size(client, opened, terminal)
        opened.directory.open_start_gate()
        with selectors.DefaultSelector() as selector:
            for readable in (terminal, opened.stream, cancellation.descriptor, resized):
                selector.register(readable, selectors.EVENT_READ)
            while _passed(
                client, opened, cancellation, selector, terminal=terminal, resized=resized, out=out
            ):
                pass
    return supervise.ended(client, opened, cancellation, started)


def _passed(
    client: "Client",
    opened: Opened,
    cancellation: Cancellation,
    selector: selectors.BaseSelector,
    *,
    terminal: int,
    resized: int,
    out: int,
) -> bool:
    """Pass on what has come from one side or the other; False at the end of the container."""
    ready = {key.fileobj for key, _ in selector.select()}
    if opened.stream in ready:
        received = b""
        with suppress(ConnectionError):
            received = opened.stream.recv(_BUFFER)
        if not received:
            return False
        supervise.write(out, received)
    if terminal in ready:
        typed = b""
        with suppress(OSError):  # it was closed
            typed = os.read(terminal, _BUFFER)
        if typed:
            with suppress(ConnectionError):
                opened.stream.sendall(typed)
        else:
            selector.unregister(terminal)
            supervise.signal(client, opened, Signals.SIGKILL)
    if cancellation.descriptor in ready and cancellation.first is not None:
        selector.unregister(cancellation.descriptor)
        supervise.signal(client, opened, translated(cancellation.first))
    if resized in ready:
        os.read(resized, _BUFFER)
        _pass_size(client, opened, terminal)
    return True


def _pass_size(client: "Client", opened: Opened, terminal: int) -> None:
    try:
        size = fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(_SIZE.size))
    except OSError:  # it was closed
        return
    rows, columns, *_ = _SIZE.unpack(size)
    with suppress(CannotStart), engine.explained("resize the job's terminal"):
        client.post(f"/containers/{opened.running.id}/resize", h=rows or 24, w=columns or 80)


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        with suppress(termios.error):  # it was closed
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def _resized() -> Iterator[int]:
    """Yield a descriptor that has bytes after the terminal's size has changed."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def note(_number: int, _frame: object) -> None:
        with suppress(BlockingIOError):
            os.write(writer, b"!")

    before = signal.signal(signal.SIGWINCH, note)
    try:
        yield reader
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(reader)
        os.close(writer)
