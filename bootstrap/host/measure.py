"""The size of a tree, counted for a limited time: a job decides how many files it has."""

from dataclasses import dataclass
from pathlib import Path

from bootstrap import process

# Blocks, so that sparse files count as what they use, and hard links once.
_SCRIPT = """{ timeout "$1" find "$2" -xdev -printf '%b %n %i\\n' 2>/dev/null; echo "end $?"; } |
awk '$1 == "end" { ended = $2; next } $2 > 1 && seen[$3]++ { next } { blocks += $1 }
  END { printf "%.0f %d", blocks * 512, ended }'"""
_LATE = 124  # timeout(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Bytes on disk; not `complete` if the time was too short to count all of them."""

    bytes: int
    complete: bool = True

    def __str__(self) -> str:
        return shown(self.bytes) if self.complete else f"{shown(self.bytes)} or more"


def tree_size(path: Path, seconds: float) -> Size:
    """Return the size of all below `path` on its filesystem, after `seconds` at most.

    0 if it does not exist. Raises CannotStart if it cannot be counted.
    """
    arguments = ["sh", "-c", _SCRIPT, "sh", f"{seconds:g}", str(path)]
    blocks, status = process.run(arguments, timeout=seconds + 10).split()
    return Size(bytes=int(blocks), complete=int(status) != _LATE)


def shown(byte_count: int) -> str:
    """Return a number of bytes in the largest unit that leaves no less than one."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if byte_count >= 1 << shift:
            return f"{byte_count / (1 << shift):.1f} {unit}"
    return f"{byte_count} bytes"
