"""Work in a process of its own, whose memory goes with it: only the result comes back.

Using an object copies its page in the process that uses it (reference counts). What takes much
memory for a moment only is done apart from the process that stays for as long as the job does.
The process leaves nothing behind that belongs to a job, and is killed when the one that began it
ends.
"""

import ctypes
import os
import pickle
import select
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import Any, Generic, Never, TypeVar

from bootstrap.errors import AirlockError, CannotStart
from bootstrap.metrics import report
from bootstrap.secret import Secret

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

_LIBC = ctypes.PyDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
LIMIT = 300.0  # seconds: each call to AWS is bounded itself, and gives up long before
_MOST = 1 << 16  # bytes to read at once


class Apart(Generic[T]):
    """A call in a process of its own, begun at once.

    What it returns or raises has to be made of values: it is copied from process to process.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._reader, writer = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _run(work, writer, parent)
        except OSError:
            os.close(self._reader)
            raise
        finally:
            os.close(writer)
        self._ended = False
        self._lock = threading.Lock()

    def result(self) -> T:
        """Wait for the call's end; return what it returned or raise what it raised. Only once.

        Raises CannotStart if it was killed, or takes longer than `LIMIT`, and is killed for that.
        """
        received, arrival = bytearray(), select.poll()
        arrival.register(self._reader, select.POLLIN)
        deadline = time.monotonic() + LIMIT
        while arrival.poll(max(0.0, deadline - time.monotonic()) * 1000):
            if not (piece := os.read(self._reader, _MOST)):
                break
            received += piece
        else:
            received.clear()
        self.close()
        if not received:
            raise CannotStart("a process of Airlock's was killed", hint="Retry the job.")
        returned, found = pickle.loads(received)  # noqa: S301 - from a process of ours
        if not returned:
            raise found
        result: T = found
        return result

    def close(self) -> None:
        """Kill the process, unless it has ended."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._reader)


def _run(work: Callable[[], object], writer: int, parent: int) -> Never:
    """Run the process. Nothing of it may return into the caller's code."""
    try:
        _become_apart(writer, parent)
        answer = _answer(work)
        while answer:
            answer = answer[os.write(writer, answer) :]
    finally:
        os._exit(0)


def _become_apart(writer: int, parent: int) -> None:
    """Leave the agent's process group, and all descriptors but one."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
                   signal.SIGUSR2, signal.SIGIO):  # fmt: skip
        signal.signal(number, signal.SIG_IGN)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, writer)
    os.closerange(writer + 1, 65536)
    report.again()


def _answer(work: Callable[[], object]) -> bytes:
    try:
        return _packed((1, work()))
    except BaseException as failed:  # noqa: BLE001 - raised in the process that waits
        return _packed((0, traced(failed)))


def traced(failed: E) -> E:
    """Return a failure that keeps its traceback, as a note, when it is passed to a process."""
    failed.add_note("".join(traceback.format_exception(failed)))
    return failed


def _packed(answer: object) -> bytes:
    """Return it as bytes; a failure that cannot be copied becomes one that names it."""
    try:
        return _pickled(answer)
    except Exception as failed:  # noqa: BLE001 - of whatever it consists
        copy = RuntimeError(f"{type(failed).__name__}: {failed}, in {answer!r}")
        return _pickled((0, traced(copy)))


def _pickled(answer: object) -> bytes:
    buffer = BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(answer)
    return buffer.getvalue()


class _Pickler(pickle.Pickler):
    """Passes on what nothing else may copy, through a pipe that two processes of ours share."""

    def reducer_override(self, value: Any) -> Any:  # noqa: ANN401 - of any type
        match value:
            case Secret():
                return Secret, (value.reveal(),)
            case AirlockError():
                return _error, (type(value), value.problem, value.hint, value.details)
            case _:
                return NotImplemented


def _error(kind: type[AirlockError], problem: str, hint: str, details: Any) -> AirlockError:  # noqa: ANN401
    return kind(problem, hint=hint, details=details)
