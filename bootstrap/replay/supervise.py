"""From the start gate to the end of a replayed job: its output, and what the developer sends it."""

import os
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from signal import Signals
from typing import TYPE_CHECKING

from bootstrap.errors import CannotStart, StatusUnknown
from bootstrap.log import JobLog
from bootstrap.replay.interruption import HINT, Interruption
from bootstrap.replay.result import Ended
from bootstrap.replay.sandbox import Opened
from bootstrap.sandbox import engine
from bootstrap.sandbox.model import SandboxGrace
from bootstrap.sandbox.supervision.frames import Frames
from bootstrap.sandbox.supervision.signals import Cancellation, translated

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

_BUFFER = 1 << 16  # bytes
_ENDING = 30.0  # seconds for the engine to report the end of a container whose output has ended

Observe = Callable[[bytes, float], object]  # a piece of output, and time.monotonic()


def until_end(
    client: "Client",
    opened: Opened,
    cancellation: Interruption,
    grace: SandboxGrace,
    *,
    out: int,
    observe: Observe,
    log: JobLog,
) -> Ended:
    """Open the start gate, copy the output, and return how the job ended.

    A first signal cancels the job, a second one kills it; `log` says so. `observe` is called with
    the output too. Raises StatusUnknown if the engine does not report it.
    """
    started = time.monotonic()
    opened.directory.open_start_gate()
    _copy(client, opened, cancellation, grace, out=out, observe=observe, log=log)
    return ended(client, opened, cancellation, started)


def ended(client: "Client", opened: Opened, cancellation: Cancellation, started: float) -> Ended:
    """Return how a container ended whose output has ended. Raises StatusUnknown."""
    try:
        found = engine.outcome(client, opened.running.id, timeout=_ENDING)
    except CannotStart as failed:
        raise _unknown(failed.problem) from failed
    if found is None:
        raise _unknown("its container was removed by another program")
    code, out_of_memory = found
    return Ended(
        code=code, out_of_memory=out_of_memory, cancelled=cancellation.first,
        seconds=time.monotonic() - started,
    )  # fmt: skip


def _copy(
    client: "Client",
    opened: Opened,
    cancellation: Interruption,
    grace: SandboxGrace,
    *,
    out: int,
    observe: Observe,
    log: JobLog,
) -> None:
    frames, deadline = Frames(), None
    with selectors.DefaultSelector() as selector:
        selector.register(opened.stream, selectors.EVENT_READ)
        selector.register(cancellation.descriptor, selectors.EVENT_READ)
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = {key.fileobj for key, _ in selector.select(left)}
            if deadline is not None and not ready:
                signal(client, opened, Signals.SIGKILL)
                deadline = None
            if cancellation.descriptor in ready:
                _cancelled(client, opened, cancellation, log)
                deadline = time.monotonic() + grace.kill_after
            if opened.stream in ready and not _copied(opened.stream, frames, out, observe):
                return


def _cancelled(client: "Client", opened: Opened, cancellation: Interruption, log: JobLog) -> None:
    os.read(cancellation.descriptor, _BUFFER)
    if cancellation.insisted or cancellation.first is None:
        signal(client, opened, Signals.SIGKILL)
        return
    log.note(HINT)
    signal(client, opened, translated(cancellation.first))


def _copied(stream: socket.socket, frames: Frames, out: int, observe: Observe) -> bool:
    """Copy what has come; False at the end."""
    try:
        received = stream.recv(_BUFFER)
    except ConnectionError:
        return False
    for piece in frames.payload(memoryview(received)):
        observe(bytes(piece), time.monotonic())
        write(out, piece)
    return bool(received)


def write(out: int, content: bytes | memoryview) -> None:
    """Write all of it. Raises BrokenPipeError if nobody reads it any more."""
    left = memoryview(content)
    while left:
        left = left[os.write(out, left) :]


def signal(client: "Client", opened: Opened, number: Signals) -> None:
    """Send a signal to the job, unless it has ended."""
    with suppress(CannotStart), engine.explained("signal the job"):
        client.post(f"/containers/{opened.running.id}/kill", signal=number.name)


def _unknown(why: str) -> StatusUnknown:
    return StatusUnknown(
        f"the job ran, and how it ended is not known: {why}",
        hint="Replay it again. If that repeats, `journalctl -u docker` may have the reason.",
    )
