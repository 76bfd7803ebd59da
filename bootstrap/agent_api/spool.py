"""Bodies that wait: for the rest of them, for their call, or for their client.

All clients together can make this process keep no more than the back end's storage allows.
"""

import io
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

IN_MEMORY = 1 << 18  # bytes of a body that are kept in memory though there is a directory


@dataclass(frozen=True, kw_only=True, slots=True)
class Storage:
    """How much may be kept, and where: in memory, or beyond IN_MEMORY in `directory`."""

    directory: Path | None
    total: int  # bytes of all bodies together
    upload: int = 0  # bytes of one artifact's content


class FullError(OSError):
    """All bodies together need more than there may be."""


class Spool:
    """Creates bodies, and counts their bytes."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._mutex = threading.Lock()
        self.kept = 0  # bytes of all bodies

    def body(self) -> "Body":
        """Return an empty body."""
        return Body(self, self.storage.directory)

    def add(self, count: int) -> None:
        """Count bytes. Raises FullError, and counts nothing then."""
        with self._mutex:
            if self.kept + count > self.storage.total:
                raise FullError
            self.kept += count

    def subtract(self, count: int) -> None:
        """Count bytes no longer."""
        with self._mutex:
            self.kept -= count


class Body:
    """Bytes in memory, or beyond IN_MEMORY in a file without a name. Used by one thread at a time.

    Closing it may happen in any thread, and more than once.
    """

    def __init__(self, spool: Spool, directory: Path | None) -> None:
        self._spool = spool
        self._directory = directory
        self._mutex = threading.Lock()
        self._file: BinaryIO = io.BytesIO()
        self._is_open = True
        self.size = 0  # bytes

    def append(self, chunk: bytes) -> None:
        """Add bytes at the end. Raises FullError, another OSError, or ValueError once closed."""
        self._spool.add(len(chunk))
        with self._mutex:
            if not self._is_open:
                self._spool.subtract(len(chunk))
                raise ValueError("the body is closed")
            self.size += len(chunk)
            if self._directory and isinstance(self._file, io.BytesIO) and self.size > IN_MEMORY:
                self._move(self._directory)
            self._file.write(chunk)

    def _move(self, directory: Path) -> None:
        file = cast("BinaryIO", tempfile.TemporaryFile(dir=directory))  # noqa: SIM115 - see close
        file.write(cast("io.BytesIO", self._file).getbuffer())
        self._file = file

    def opened(self) -> BinaryIO:
        """Return the whole content at its beginning; it is closed by `close`."""
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Free what it needs."""
        with self._mutex:
            if self._is_open:
                self._is_open = False
                self._spool.subtract(self.size)
                self._file.close()
