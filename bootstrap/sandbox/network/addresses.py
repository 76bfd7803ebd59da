"""Which container has which address: one file per job, which every Airlock of this host reads.

The engine gives an address to the next container as soon as one has ended, and that is before the
first job has been cleared. So a record counts only while its container runs.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bootstrap import files
from bootstrap.sandbox.model import Running

_FILE = "address"  # in the job directory


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressRecord:
    """The address of one container, and the port of its credential listener if it has one."""

    token: str
    address: str
    port: int | None
    pid: int  # the first process of the container that has it, the job's or its holder, and its
    namespace: int  # network namespace: another process that gets this pid later has another one


def record_of(directory: Path, running: Running, port: int | None) -> AddressRecord:
    """Return the record of a running container. Raises FileNotFoundError if it has ended."""
    return AddressRecord(
        token=directory.name,
        address=running.address,
        port=port,
        pid=running.holder or running.pid,
        namespace=namespace(running.holder or running.pid),
    )


def write(directory: Path, record: AddressRecord) -> None:
    """Write a record into its job directory. Readers see all of it or nothing."""
    files.write(directory / _FILE, json.dumps(asdict(record)).encode())


def read(directory: Path) -> AddressRecord | None:
    """Return the record in a job directory; None if it has none, or one of another version.

    An unknown record must not keep other jobs from starting.
    """
    try:
        return AddressRecord(**json.loads((directory / _FILE).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def remove(directory: Path) -> None:
    """Remove the record from a job directory, if it has one."""
    with suppress(FileNotFoundError):
        (directory / _FILE).unlink()


def is_running(record: AddressRecord) -> bool:
    """Say whether the container still has processes, and so its address."""
    try:
        try:
            return namespace(record.pid) == record.namespace
        except PermissionError:  # of a process that ends in this moment: then not a second time
            return namespace(record.pid) == record.namespace
    except (FileNotFoundError, ProcessLookupError):
        return False


def in_use(jobs: Path) -> tuple[AddressRecord, ...]:
    """Return the records of all running containers; `jobs` is the parent of all job directories."""
    found = (read(path.parent) for path in sorted(jobs.glob(f"*/{_FILE}")))
    return tuple(record for record in found if record and is_running(record))


def namespace(pid: int) -> int:
    """Return the inode number of a process's network namespace. Raises OSError."""
    return Path(f"/proc/{pid}/ns/net").stat().st_ino
