"""Files below one directory, under names that a job chose."""

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from bootstrap.agent_api.model import MalformedError

MAX_PARTS = 32  # of a path
MAX_NAME = 255  # bytes
CHUNK = 1 << 20
_TAKEN = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
AGAIN = "again"  # below it is what would replace another file
MAX_AGAIN = 10_000
# Without these, git does not take a directory for a repository, whose settings can run programs.
_OF_GIT = frozenset({".git", "head"})


def own_directory(path: Path) -> Path:
    """Create a directory, its parents too, or return the one that is there. Raises OSError.

    A link to one is refused: a repository, or an earlier job, may have put it there.
    """
    refuse_link(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def refuse_link(path: Path) -> None:
    """Raise OSError if there is a symbolic link."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a symbolic link", str(path))


def parts_of(path: str) -> tuple[str, ...]:
    """Return names for a path that stay below any directory. Raises MalformedError.

    What a path may have and a name may not is written as a percent-encoded character.
    """
    parts = tuple(_name(part) for part in path.split("/") if part not in {"", "."})
    if (
        not parts
        or len(parts) > MAX_PARTS
        or any(len(os.fsencode(one)) > MAX_NAME for one in parts)
    ):
        raise MalformedError(f"a path has 1 to {MAX_PARTS} names of up to {MAX_NAME} bytes")
    return parts


def _name(part: str) -> str:
    if part == "..":
        return "%2E%2E"
    if part.lower() in _OF_GIT:
        return f"%{ord(part[0]):X}{part[1:]}"
    return "".join(
        char if char.isprintable() else quote(char, errors="surrogatepass") for char in part
    )


class Files:
    """Creates and opens files; nothing is replaced, and no symbolic link is followed."""

    def __init__(self, directory: Path) -> None:
        self.directory = own_directory(directory)
        self._mutex = threading.Lock()
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._root = os.open(directory, flags)

    def close(self) -> None:
        """Close the directory; the files stay, and later calls raise OSError."""
        with self._mutex:
            root, self._root = self._root, -1  # its number may be another's from now on
        if root >= 0:
            os.close(root)

    def add(self, path: str, source: BinaryIO, size: int) -> tuple[tuple[str, ...], str]:
        """Create a file of the next `size` bytes; return its names, and the content's SHA-256.

        If the path is taken, the file is below AGAIN. Raises OSError, and MalformedError.
        """
        names, descriptor = self._created(parts_of(path))
        try:
            with os.fdopen(descriptor, "wb") as file:
                return names, _copied(source, file, size)
        except BaseException:
            self._remove(names)
            raise

    def _created(self, parts: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for number in range(1, MAX_AGAIN):
            names = parts if number == 1 else (AGAIN, str(number), *parts)
            try:
                with self._directory(names[:-1], create=True) as directory:
                    return names, os.open(names[-1], flags, 0o666, dir_fd=directory)
            except OSError as taken:
                if taken.errno not in _TAKEN:
                    raise
        raise MalformedError(f"{MAX_AGAIN} files have this path")

    def _remove(self, names: tuple[str, ...]) -> None:
        with suppress(OSError), self._directory(names[:-1]) as directory:
            os.unlink(names[-1], dir_fd=directory)

    def found(self) -> Iterator[tuple[str, ...]]:
        """Yield the names of every file below the directory, in order; links are not followed."""
        for current, directories, names in os.walk(self.directory):
            directories.sort()
            for name in sorted(names):
                path = Path(current, name)
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path.relative_to(self.directory).parts

    def opened(self, names: tuple[str, ...]) -> BufferedReader:
        """Open a file. Raises OSError."""
        with self._directory(names[:-1]) as directory:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            return os.fdopen(os.open(names[-1], flags, dir_fd=directory), "rb")

    @contextmanager
    def _directory(self, names: tuple[str, ...], *, create: bool = False) -> Iterator[int]:
        with self._mutex:
            current = os.dup(self._root)
        try:
            for name in names:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=current)
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                following = os.open(name, flags, dir_fd=current)
                os.close(current)
                current = following
            yield current
        finally:
            os.close(current)


def _copied(source: BinaryIO, target: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    while size:
        chunk = source.read(min(CHUNK, size))
        if not chunk:
            raise MalformedError("the content is shorter than announced")
        size -= len(chunk)
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()
