"""What service containers print: bounded files that the job can read, and that its log quotes."""

import os
from contextlib import suppress
from pathlib import Path

BUDGET = 4 << 20  # bytes of all services of a job together: its directory is in memory
_LONGEST = 4096  # bytes of a line in which a text is looked for


class Output:
    """The output of one service, in `directory`/NAME.log, and before that NAME.previous.log.

    Each of the two holds at most `limit` bytes. `awaited` is a text that is looked for in lines.
    """

    def __init__(self, directory: Path, name: str, *, limit: int, awaited: str = "") -> None:
        self.path = directory / f"{name}.log"
        self.previous = directory / f"{name}.previous.log"
        self.found = False  # whether a line had the text
        self._limit = limit
        self._awaited = awaited.encode()
        self._line = b""  # the last one, as far as it has come, while a text is looked for
        self._size = 0
        self._descriptor = self._opened()

    def write(self, piece: bytes | memoryview) -> None:
        """Add what was printed. What cannot be written, as on a full disk, is dropped."""
        if self._awaited and not self.found:
            self._look(bytes(piece))
        for start in range(0, len(piece), self._limit):
            part = piece[start : start + self._limit]
            if self._size + len(part) > self._limit:
                self._rotate()
            with suppress(OSError):
                self._size += os.write(self._descriptor, part)

    def text(self) -> str:
        """Return all that is kept."""
        content = b""
        for path in (self.previous, self.path):
            with suppress(OSError):
                content += path.read_bytes()
        return content.decode(errors="replace")

    def last(self, lines: int) -> list[str]:
        """Return the last lines."""
        return self.text().splitlines()[-lines:]

    def close(self) -> None:
        """Close the file, which stays."""
        os.close(self._descriptor)

    def _look(self, piece: bytes) -> None:
        """A text may come in several pieces, but is never on more than one line."""
        *whole, rest = (self._line + piece).split(b"\n")
        self.found = any(self._awaited in line for line in (*whole, rest))
        self._line = rest[-_LONGEST:]

    def _rotate(self) -> None:
        """Begin a file anew, or this one if there is no space for another."""
        self._size = 0
        try:
            self.path.rename(self.previous)
            fresh = self._opened()
        except OSError:
            os.ftruncate(self._descriptor, 0)
            return
        os.close(self._descriptor)
        self._descriptor = fresh

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o444)
        os.fchmod(descriptor, 0o444)  # whatever the umask is: the job's user reads it
        return descriptor
