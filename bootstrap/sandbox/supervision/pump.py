"""The log: bytes from the container to the agent, unchanged and in order."""

import math
import mmap
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from bootstrap.sandbox.supervision.frames import Frames

_BUFFER = 1 << 18  # bytes; more than a socket's buffer holds
_PIECES = 1024  # IOV_MAX: the kernel takes no more at once
_LOOK = 0.2  # seconds between two looks at how much time is left
_SETTLE = 2.0  # seconds to tell the end of the container from a broken connection


class Pump:
    """Copies the container's output to a descriptor, in a thread of its own.

    A slow reader blocks this thread, never the loop that waits for signals. `broken` becomes
    readable if writing to `out` failed: the agent is gone or has no space. `again` attaches anew
    after the connection to the engine broke. `began` is called before the first byte is copied, in
    that thread.
    """

    def __init__(
        self,
        stream: socket.socket,
        out: int,
        again: Callable[[], socket.socket],
        began: Callable[[], object] = lambda: None,
    ) -> None:
        self.broken, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.problems: list[str] = []  # each a reason why a part of the log may be missing
        self._stream = stream
        self._out = out
        self._again = again
        self._began: Callable[[], object] | None = began
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        """Start copying."""
        self._thread.start()

    def hangup(self) -> select.epoll:
        """Return what becomes readable once nobody reads `out` any more: the agent is gone.

        A job that prints nothing would otherwise go on without it. A file has no reader.
        """
        watch = select.epoll()
        with suppress(PermissionError):
            watch.register(self._out, 0)  # an error or a hangup is reported all the same
        return watch

    def finish(self, patience: float, left: Callable[[], float] = lambda: math.inf) -> bool:
        """After the container's end, wait `patience` seconds for the rest; False if it is late.

        Waits only while `left` returns a number of seconds above 0, which may shrink meanwhile.
        """
        self._stopping.set()
        began = time.monotonic()
        deadline = began + patience
        while self._thread.is_alive():
            until_end = min(deadline - time.monotonic(), left())
            if until_end <= 0:
                self.problems.append(
                    f"the end of the log may be missing: within {time.monotonic() - began:.0f} s "
                    "Docker has not passed it on, or the agent has not read it"
                )
                return False
            self._thread.join(min(until_end, _LOOK))
        return True

    def close(self) -> None:
        """Close the stream and the pipe; call after `finish`."""
        self._stopping.set()
        self._stream.close()
        os.close(self.broken)

    def _run(self) -> None:
        try:
            while not self._copy() and not self._stopping.wait(_SETTLE):
                self._reattach()
        except OSError:  # EPIPE, EIO: the agent is gone or cannot write
            os.write(self._writer, b"!")
        finally:
            os.close(self._writer)

    def _reattach(self) -> None:
        """Attach anew: with live-restore a container outlives its engine, which then returns."""
        try:
            self._stream.close()
            self._stream = self._again()
            self.problems.append("the connection to Docker broke: a part of the log may be missing")
        except Exception:  # noqa: BLE001 - retried until the container ends
            self._stopping.wait(0.5)

    def _copy(self) -> bool:
        """Copy until the stream ends; True if the container has ended, so all is copied."""
        # Of a mapping, only what is used takes memory: most jobs print little at once.
        frames = Frames()
        buffer = memoryview(mmap.mmap(-1, _BUFFER, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        while count := self._receive(buffer):
            self._write(frames.payload(buffer[:count]))
        return self._stopping.is_set()

    def _receive(self, into: memoryview) -> int:
        try:
            return self._stream.recv_into(into)
        except ConnectionError:
            return 0

    def _write(self, pieces: list[memoryview]) -> None:
        """Write all of them, many at once: a container may print a line at a time."""
        if self._began and pieces:
            self._began()
            self._began = None
        first = 0
        while first < len(pieces):
            written = os.writev(self._out, pieces[first : first + _PIECES])
            while first < len(pieces) and written >= len(pieces[first]):
                written -= len(pieces[first])
                first += 1
            if written:
                pieces[first] = pieces[first][written:]
