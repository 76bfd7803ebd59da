"""A file to which several processes append lines, each of them whole."""

import errno
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCKED = 5.0  # seconds for other writers: one that was stopped must not stop every job of the host
MOST = 8 << 20  # bytes of lines that wait


class AppendedFile:
    """Appends lines. One that cannot be written raises OSError, and waits for the next `write`.

    A line of which only a part fits on the disk stays there as a line of its own: the next one
    begins on a new line, whichever process writes it. Lines keep their order.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, made if it is missing, for root alone. Raises OSError."""
        self.lost = 0  # lines that did not fit into what may wait
        self._path = path
        self._waiting: deque[bytes] = deque()
        self._mutex = threading.Lock()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Readable, to see how it ends.
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @property
    def waiting(self) -> int:
        """The number of lines that are not in the file yet."""
        return len(self._waiting)

    def write(self, line: bytes) -> None:
        """Append the lines that wait, then this one, which has its newline. Raises OSError."""
        with self._mutex:
            if sum(map(len, self._waiting)) + len(line) > MOST:
                self.lost += 1
            else:
                self._waiting.append(line)
            self._catch_up()

    def catch_up(self) -> None:
        """Append the lines that wait. Raises OSError."""
        with self._mutex:
            self._catch_up()

    def withdraw(self) -> None:
        """Let the last line not wait any longer."""
        with self._mutex:
            if self._waiting:
                self._waiting.pop()

    def flush(self) -> None:
        """There is no buffer."""

    def _catch_up(self) -> None:
        while self._waiting:
            with self._locked():
                line = self._waiting[0] if self._at_line_start() else b"\n" + self._waiting[0]
                # Without its newline a line is whole too: written again, it would be there twice.
                if os.write(self._descriptor, line) < len(line) - 1:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            self._waiting.popleft()

    def _at_line_start(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        return size == 0 or os.pread(self._descriptor, 1, size - 1) == b"\n"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        deadline = time.monotonic() + LOCKED
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        errno.ETIMEDOUT, "another process keeps it locked", str(self._path)
                    ) from None
                time.sleep(0.005)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
