"""Watches a job's service containers, in one thread: their output, their ends, and the job's end.

The thread kills them as soon as the job has ended, whatever else Airlock does at that moment.
"""

import os
import selectors
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from signal import Signals
from typing import TYPE_CHECKING, Any

from bootstrap.sandbox.companions.output import Output
from bootstrap.sandbox.leases import first_process
from bootstrap.sandbox.limits import Limits, Used
from bootstrap.sandbox.supervision.frames import Frames

if TYPE_CHECKING:
    import socket

# Seconds for the last output of killed services. The agent may be about to kill Airlock, which has
# to clear the job after that; who clears it waits for the ends of all processes.
DRAIN = 0.5
# With a pause after each look, output is copied at 6 MB a second at most: a service that prints
# more waits, and takes no more of the host's processors than that.
_BUFFER = 1 << 16  # bytes
_PAUSE = 0.01  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A service container that runs: the pidfd of its first process, and what it prints.

    `outcome` asks the engine how it ended: the exit status, and whether it ran out of memory; None
    if that is not known.
    """

    name: str
    process: int
    stream: "socket.socket"
    output: Output
    limits: Limits
    outcome: Callable[[], tuple[int, bool] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How one service ended: by itself while the job ran, or with the job (`early` is False).

    `code` and `out_of_memory` are None where that is not known. `slowed` is for how many seconds it
    printed as much as is copied, and waited.
    """

    early: bool
    code: int | None = None
    out_of_memory: bool | None = None
    used: Used = field(default_factory=Used)
    slowed: float = 0.0


class Watch:
    """Watches until `close`. `job` is the pidfd of the job's first process, which stays open."""

    def __init__(self, job: int) -> None:
        self._job = job
        self._services: dict[str, Started] = {}
        self._endings: dict[str, Ending] = {}
        self._early: dict[str, Used] = {}  # services that have ended before the job
        self._full: Counter[str] = Counter()  # how often there was more to copy
        self._asking: list[threading.Thread] = []  # the engine how these ended
        self._events = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._lock = threading.Lock()
        self._closing: float | None = None  # time.monotonic() at which the thread ends at last
        self._events.register(self._woken, selectors.EVENT_READ, self._nothing)
        self._events.register(job, selectors.EVENT_READ, self._job_ended)
        self._thread = threading.Thread(target=self._run, name="services", daemon=True)
        self._thread.start()

    def add(self, service: Started) -> None:
        """Watch this one too. Its descriptors, and its file, are closed by `close`."""
        service.stream.settimeout(0.0)
        with self._lock:
            self._services[service.name] = service
            frames = Frames()
            self._events.register(
                service.stream, selectors.EVENT_READ, lambda: self._copy(service, frames)
            )
            self._events.register(
                service.process, selectors.EVENT_READ, lambda: self._ended(service)
            )

    def ending(self, name: str) -> Ending | None:
        """Return how a service ended; None while it runs."""
        return self._endings.get(name)

    def close(self) -> dict[str, Ending]:
        """Kill all services, wait DRAIN for the end of their output; return how each ended."""
        self._kill_all()
        self._closing = time.monotonic() + DRAIN
        os.write(self._wake, b".")
        for thread in (self._thread, *self._asking):
            thread.join(max(0.0, self._closing + 0.2 - time.monotonic()))
        if not self._thread.is_alive():  # else it still uses them
            self._close_all()
        return {name: self._found(name) for name in self._services}

    def _found(self, name: str) -> Ending:
        early = self._early.get(name)
        unknown = Ending(early=early is not None, used=early or Used())
        slowed = round(self._full[name] * _PAUSE, 1)
        return replace(self._endings.get(name, unknown), slowed=slowed)

    def _close_all(self) -> None:
        for service in self._services.values():
            service.stream.close()
            service.output.close()
            service.limits.close()
            os.close(service.process)
        self._events.close()
        os.close(self._woken)
        os.close(self._wake)

    def _run(self) -> None:
        while not self._is_done():
            for key, _ in self._events.select(self._patience()):
                step: Callable[[], None] = key.data
                try:
                    step()
                except Exception:  # noqa: BLE001 - of one service, and never of the job
                    self._forget(key.fileobj)
            if self._closing is None:
                time.sleep(_PAUSE)

    def _patience(self) -> float | None:
        return None if self._closing is None else max(0.0, self._closing - time.monotonic())

    def _is_done(self) -> bool:
        if self._closing is None:
            return False
        watched: Iterable[selectors.SelectorKey] = self._events.get_map().values()
        streams = [key for key in watched if not isinstance(key.fileobj, int)]
        return not streams or time.monotonic() > self._closing

    def _nothing(self) -> None:
        os.read(self._woken, 64)

    def _job_ended(self) -> None:
        self._forget(self._job)
        self._kill_all()

    def _kill_all(self) -> None:
        """Look what each has used up before that cannot be read any more."""
        with self._lock:
            known = {*self._endings, *self._early}
            running = [one for one in self._services.values() if one.name not in known]
        for service in running:
            used = service.limits.used()
            self._endings.setdefault(service.name, Ending(early=False, used=used))
            first_process.send(service.process, Signals.SIGKILL)

    def _copy(self, service: Started, frames: Frames) -> None:
        buffer = bytearray(_BUFFER)
        with suppress(BlockingIOError):
            count = service.stream.recv_into(buffer)
            if not count:
                self._forget(service.stream)
            self._full[service.name] += count == _BUFFER and self._closing is None
            for piece in frames.payload(memoryview(buffer)[:count]):
                service.output.write(piece)

    def _ended(self, service: Started) -> None:
        """Ask how it ended, unless it was killed with the job.

        In a thread, since an engine that hangs must not keep this one from the job's end.
        """
        self._forget(service.process)
        if service.name in self._endings or first_process.has_ended(self._job):
            self._endings.setdefault(service.name, Ending(early=False))
            return
        self._early[service.name] = service.limits.used()
        asking = threading.Thread(target=self._ask, args=(service,), name="outcome", daemon=True)
        self._asking.append(asking)
        asking.start()

    def _ask(self, service: Started) -> None:
        code, out_of_memory = service.outcome() or (None, None)
        self._endings[service.name] = Ending(
            early=True, code=code, out_of_memory=out_of_memory, used=self._early[service.name]
        )

    def _forget(self, watched: Any) -> None:  # noqa: ANN401 - what the selector has
        with suppress(KeyError):
            self._events.unregister(watched)
