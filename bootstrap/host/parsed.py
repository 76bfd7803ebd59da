"""Checked documents as values, so that a job whose documents did not change need not parse them.

Parsing needs pydantic and PyYAML, whose import takes longer than all that a decision does. What a
document means is therefore kept beside the host's other files in memory, one file per document.
It counts only for the same text, read by the same code, and only if root wrote it. Without it,
whatever the reason, the document is parsed.
"""

import hashlib
import io
import os
import pickle
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from bootstrap import __version__, files

ENTRIES = 256  # documents; beyond that all are forgotten
LARGEST = 256 << 10  # bytes of one that is kept: a policy has at most 64 Ki characters

# Of other packages, what documents consist of. Nothing else is ever created from a file.
_OTHERS = {
    ("datetime", "timedelta"),
    ("ipaddress", "IPv4Address"),
    ("ipaddress", "IPv4Network"),
    ("pathlib", "PosixPath"),
}

T = TypeVar("T")
R = TypeVar("R")


def parsed(
    runtime: Path, kind: type[T], origin: str, content: bytes, parse: Callable[[], R]
) -> T | R:
    """Return what `content` means: the `kind` that is known, or else as `parse` returns it.

    `runtime` is paths.runtime of airlock.toml; if it does not exist yet, nothing is kept.
    """
    name = hashlib.sha256(f"{kind.__name__} {origin}".encode()).hexdigest()[:32]
    path = runtime / "parsed" / name
    key = hashlib.sha256(fingerprint() + name.encode() + content).digest()
    known = _known(path, key)
    if isinstance(known, kind):
        return known
    value = parse()
    if isinstance(value, kind):
        _keep(path, key, value)
    return value


@cache
def fingerprint() -> bytes:
    """Return what changes with Airlock, with Python and with the packages beside them.

    Read once, so that a process that outlives an upgrade keeps what is true of its own code.
    """
    package = Path(__file__).parents[1]
    trees = (package, *(package / name for name in ("host", "grants", "job", "policy")))
    sources = sorted(str(path) for tree in trees for path in tree.glob("*.py"))
    changed = [_changed(path) for path in (*sys.path, *sources)]
    return repr((__version__, sys.version, changed)).encode()


def _changed(path: str) -> tuple[str, int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116 - a hundred of them before each job
    except OSError:
        return path, 0, 0
    return path, status.st_mtime_ns, status.st_size


def _known(path: Path, key: bytes) -> Any:  # noqa: ANN401 - its caller checks the type
    """Return the value at `path`, None if it is of another document or cannot be trusted."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
            return None
        try:
            if file.read(len(key)) != key:
                return None
            return _Values(file).load()
        except Exception:  # noqa: BLE001 - whatever is wrong with it, the document is parsed
            return None


def _keep(path: Path, key: bytes, value: object) -> None:
    """Keep it if that is possible: not a value with a secret in it, which cannot be pickled."""
    with suppress(OSError, TypeError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if sum(1 for _ in path.parent.iterdir()) >= ENTRIES:
            for each in path.parent.iterdir():
                each.unlink()
        content = key + pickle.dumps(value)
        if len(content) <= LARGEST:
            files.write(path, content)


class _Values(pickle.Unpickler):
    """Creates Airlock's plain values and a few others, and calls nothing else that a file names."""

    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__(file)

    def find_class(self, module: str, name: str) -> type:
        ours = module.startswith("bootstrap.")
        found = super().find_class(module, name) if ours or (module, name) in _OTHERS else None
        if not isinstance(found, type) or not (
            (module, name) in _OTHERS or is_dataclass(found) or issubclass(found, Enum)
        ):
            raise pickle.UnpicklingError(f"{module}.{name} is not part of a document")
        return found
