"""Ranges of uids and gids that users of this host may give to processes (subuid(5), subgid(5)).

Rootless engines and Docker's userns-remap use them. With one of a job's uid, such a process could
read what the job may read, and trace its processes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootstrap.errors import WrongConfiguration

FILES = (Path("/etc/subuid"), Path("/etc/subgid"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """One line of such a file."""

    user: str
    numbers: range
    file: Path


def ranges(file: Path) -> Iterator[Range]:
    """Yield the ranges; lines that the kernel's helpers would not understand give nothing away."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        match line.split(":"):
            case [user, *_] if user.startswith("#"):
                continue
            case [user, first, count] if first.isdecimal() and count.isdecimal():
                yield Range(
                    user=user, numbers=range(int(first), int(first) + int(count)), file=file
                )


def refuse_overlap(reserved: range, files: Sequence[Path] = FILES) -> None:
    """Raise WrongConfiguration if a range has one of the numbers that are reserved for jobs."""
    for found in (one for file in files for one in ranges(file)):
        first = max(reserved.start, found.numbers.start)
        if first < min(reserved.stop, found.numbers.stop):
            raise WrongConfiguration(
                f"{found.file} gives {found.user} the numbers {found.numbers.start} to "
                f"{found.numbers.stop - 1}; those from {first} on are reserved for jobs",
                hint="Set sandbox.first-uid in airlock.toml so that it, the sandbox.slots numbers "
                "from it on, and the one before it are in no range of /etc/subuid and /etc/subgid.",
            )
